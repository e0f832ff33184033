"""Killed at every step of a send: no message is lost, and which moments double one."""

import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg2
import pytest

from api_server.alerts.sending import Channel
from api_server.data import alerts
from tests.api_server.alerts.running import House, Process
from tests.simulators.message_sink import MessageSink
from tests.support.servers.process import wait_until

pytestmark = pytest.mark.slow

KILLS_OF_A_STEP = 34  # of six
IN_TIME_S = 30
Kill = Callable[[], None]


class Sends:
    """One new alert after the other, and what waits for a moment in the send of its message."""

    def __init__(self, house: House, sink: MessageSink, env: dict[str, str]):
        self._house, self._sink = house, sink
        self._url = env["DATABASE_URL"]
        self._channel = Channel(1, env["ALERT_URLS"]).key
        self.begun = 0

    def begin(self) -> None:
        """Let something be wrong."""
        self._close()
        self._worsen()

    def is_done(self) -> bool:
        """Whether all that was wrong is written, and its messages were taken."""
        opened = len(self._house.execute("SELECT 1 FROM alerts")) == self.begun
        return opened and not self._waiting()

    def told(self) -> list[int]:
        """How often each alert was told, in order."""
        counts = Counter(re.findall(r"counts (\d+) lost", " ".join(self._sink.messages)))
        return [counts[str(number)] for number in range(1, self.begun + 1)]

    def looking(self, kill: Kill) -> None:
        """In the transaction that writes the alert and its message."""
        self._close()
        with self._holding("LOCK TABLE alerts IN SHARE ROW EXCLUSIVE MODE"):
            self._worsen()
            self._wait_for_lock()
            kill()

    def written(self, kill: Kill) -> None:
        """The message is in the database, and nobody has begun to send it."""
        with self._holding("SELECT") as cursor:
            wait_until(lambda: self._seize_channel(cursor), IN_TIME_S, "the channel's lock")
            self.begin()
            wait_until(self._waiting, IN_TIME_S, "the message")
            kill()

    def connected(self, kill: Kill) -> None:
        """The service has a connection, and never reads the request."""

        def pause(reached: threading.Event, killed: threading.Event) -> bool:
            reached.set()
            return not killed.wait(IN_TIME_S)

        self._at_the_service("on_connect", pause, kill)
        self._sink.on_connect = lambda: True

    def taken(self, kill: Kill) -> None:
        """The service has the message, and has not answered."""

        def pause(reached: threading.Event, killed: threading.Event) -> None:
            reached.set()
            killed.wait(IN_TIME_S)

        self._at_the_service("on_message", pause, kill)
        self._sink.on_message = lambda: None

    def answered(self, kill: Kill) -> None:
        """The service has answered, and the database has not noted it."""
        with self._holding("SELECT") as cursor:
            self._sink.on_message = lambda: cursor.execute(
                "SELECT FROM alert_messages WHERE waiting <> '{}' FOR UPDATE"
            )
            self.begin()
            self._wait_for_lock()
            kill()
            # Until the server has noticed, the note could still succeed.
            wait_until(lambda: not self._locked_out(), IN_TIME_S, "the end of its session")
            self._sink.on_message = lambda: None

    def noted(self, kill: Kill) -> None:
        """The database has noted that it was taken."""
        self.begin()
        wait_until(self.is_done, IN_TIME_S, "the note")
        kill()

    def _close(self) -> None:
        self._house.execute("UPDATE alerts SET closed_ts = now() WHERE closed_ts IS NULL")

    def _worsen(self) -> None:
        self.begun += 1
        self._house.report(lost=self.begun)

    def _at_the_service(self, hook: str, pause: Callable, kill: Kill) -> None:
        reached, killed = threading.Event(), threading.Event()
        setattr(self._sink, hook, lambda: pause(reached, killed))
        self.begin()
        assert reached.wait(IN_TIME_S)
        kill()
        killed.set()

    def _seize_channel(self, cursor: psycopg2.extensions.cursor) -> bool:
        """Take the lock of who sends, from the session that has it."""
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND"
            " (classid::bigint << 32) + objid::bigint = hashtextextended(%s, 0)",
            (self._channel,),
        )
        return alerts.lock(cursor, self._channel, True)

    @contextmanager
    def _holding(self, statement: str) -> Iterator[psycopg2.extensions.cursor]:
        connection = psycopg2.connect(self._url)
        try:
            cursor = connection.cursor()
            cursor.execute(statement)
            yield cursor
        finally:
            connection.close()

    def _wait_for_lock(self) -> None:
        wait_until(self._locked_out, IN_TIME_S, "a wait for what is locked")

    def _locked_out(self) -> list[tuple]:
        return self._house.execute("SELECT 1 FROM pg_locks WHERE NOT granted")

    def _waiting(self) -> list[tuple]:
        return self._house.execute("SELECT 1 FROM alert_messages WHERE waiting <> '{}'")


DOUBLED = ("taken", "answered")  # the window: between a request that was taken and its note
STEPS = ("looking", "written", "connected", *DOUBLED, "noted")


@pytest.mark.parametrize("kills", [1, pytest.param(KILLS_OF_A_STEP, marks=pytest.mark.full)])
def test_a_kill_loses_no_message_and_doubles_it_in_one_window_only(
    env, settings, house, sink, tmp_path, kills
):
    env = {**env, "DATABASE_URL": settings["DATABASE_URL"]}  # whose sessions the test may end
    sends = Sends(house, sink, env)
    killed_in = STEPS * kills
    for step in killed_in:
        with Process(env, tmp_path) as process:
            wait_until(lambda p=process: "alerts_working" in p.log, 2 * IN_TIME_S, "the process")
            wait_until(sends.is_done, IN_TIME_S, "what the one before left")

            def kill(process: Process = process) -> None:
                os.kill(process.process.pid, signal.SIGKILL)
                process.process.wait()

            getattr(sends, step)(kill)
    with Process(env, tmp_path):
        wait_until(sends.is_done, IN_TIME_S, "what the last one left")
    told = dict.fromkeys(STEPS, 0)
    for step, times in zip(killed_in, sends.told(), strict=True):
        told[step] += times
    print(f"{len(killed_in)} kills; told per kill in each step: {told}")
    assert told == {step: kills * (2 if step in DOUBLED else 1) for step in STEPS}
