"""A program as a process of ours: started, waited for, read, stopped by its process id."""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[3]
PORTS_HELD = 100  # of the latest; the older ones have their server, or need none any more

_held: deque[int] = deque()  # file descriptors, closed when the process ends


class ServerFailed(Exception):
    """A program did not start, or ended when it should not have; the text has its last lines."""


def free_port() -> int:
    """A loopback port that nobody has, outside the range outgoing connections take.

    It stays bound here, so that nobody else is given it before the server listens there: that
    needs SO_REUSEADDR, which servers set and this search for a free one does not.
    """
    while True:
        port = random.randrange(20000, 32000)
        holder = socket.socket()
        try:
            holder.bind(("127.0.0.1", port))
        except OSError:
            holder.close()
            continue
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _held.append(holder.detach())
        if len(_held) > PORTS_HELD:
            os.close(_held.popleft())
        return port


def _everybody_enters(folder: Path) -> bool:
    return all(part.stat().st_mode & 0o001 for part in (folder, *folder.parents))


@contextmanager
def open_folder(prefix: str) -> Iterator[Path]:
    """A temporary folder that other users can enter, with a short path; removed at the end."""
    place = Path(tempfile.gettempdir()).resolve()
    if os.geteuid() == 0 and not _everybody_enters(place):
        place = Path("/tmp")  # a TMPDIR of root's own, where PostgreSQL's user could not go
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Return as soon as the condition holds; fail with `what` when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise ServerFailed(f"{what}: not within {seconds:g} s")
        time.sleep(0.02)


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The given settings and what every program needs, but no setting of the caller's shell."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "TZ")
    return {name: os.environ[name] for name in kept if name in os.environ} | dict(settings)


def run(command: Sequence[str | Path], seconds: float = 60, **options: object) -> str:
    """Run a command to its end and return its output; fail with what it said."""
    done = subprocess.run(  # type: ignore[call-overload]
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        **options,
    )
    if done.returncode:
        raise ServerFailed(f"{command[0]} ended with {done.returncode}: {done.stdout}")
    return done.stdout


def children(pid: int) -> list[int]:
    """The processes that a process has started and that have not been reaped."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def alive(pid: int) -> bool:
    """True while the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Server:
    """One program and its log file; what it is and when it is ready is said by the subclass."""

    name = "server"
    code = ROOT  # the checkout that it runs in
    start_s = 30.0
    stop_s = 20.0
    stop_signal = signal.SIGTERM
    orphan_signal = signal.SIGKILL  # what the kernel sends when the process that started it dies

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log_file = self.folder / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """The program and its arguments."""
        raise NotImplementedError

    def settings(self) -> dict[str, str]:
        """Its environment, beside what every program needs."""
        return {}

    def user_options(self) -> list[str]:
        """What tells setpriv to run it as another user; none: as we are."""
        return []

    def ready(self) -> bool:
        """True when it answers."""
        return True

    def start(self) -> "Server":
        """Start it and return when it is ready; fail with its last lines when it ends instead."""
        self.launch()
        self.finish_start()
        return self

    def finish_start(self) -> None:
        """Wait until what was launched is ready, as `start` does."""
        try:
            wait_until(self._ready_or_dead, self.start_s, f"{self.name} to start")
        except ServerFailed as error:
            self.kill()
            raise ServerFailed(f"{error}\n{self.last_lines()}") from None

    def launch(self) -> None:
        """Start it without waiting for it."""
        orphan_signal = self.orphan_signal.name[3:]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", orphan_signal, *self.user_options(), *self.command()],
                cwd=self.code,
                env=environment(self.settings()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in the terminal is for whoever started us, who stops us in order.
                start_new_session=True,
            )

    def _ready_or_dead(self) -> bool:
        if not self.running:
            raise ServerFailed(f"{self.name} ended with {self.returncode}")
        return self.ready()

    @property
    def running(self) -> bool:
        """True while its process lives."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process is not None, f"{self.name} was not started"
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        """What it ended with; None while it runs."""
        return self.process.poll() if self.process else None

    def stop(self) -> int | None:
        """Ask it to end, wait, and return what it ended with; nothing if it does not run."""
        if not self.running:
            return self.returncode
        self.ask_to_stop()
        try:
            return self.process.wait(self.stop_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailed(f"{self.name} did not stop\n{self.last_lines()}") from None

    def ask_to_stop(self) -> None:
        """Tell it to end, and do not wait."""
        if self.running:
            self.resume()
            self.process.send_signal(self.stop_signal)

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """Freeze it: it holds its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Stop it and start it again."""
        self.stop()
        self.start()

    def log(self) -> str:
        """Everything it has written to stdout and stderr since its first start."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def last_lines(self, count: int = 20) -> str:
        """The end of its log."""
        return "\n".join(self.log().splitlines()[-count:])

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
