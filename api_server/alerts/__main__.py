"""The command `python -m api_server.alerts`: watch devices, or look once, or try the channels."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import IntEnum

from api_server import config
from api_server.alerts import loop
from api_server.alerts.facts import Gatherer
from api_server.alerts.look import Look
from api_server.alerts.rules import Limits
from api_server.alerts.sending import Channel, Sender
from api_server.alerts.texts import Texts
from api_server.config import Settings
from api_server.data import alerts
from api_server.data.agents import Agents
from api_server.data.cache import Cache
from api_server.data.database import DatabaseUnavailable, Store
from edge_agent.shared import logs
from edge_agent.shared.environment import InvalidSettings
from edge_agent.shared.loops import LoopFailed

log = logging.getLogger("api_server.alerts")


class Exit(IntEnum):
    """Exit codes, where possible as in sysexits.h."""

    OK = 0
    FAILED = 1
    BUSY = 75  # another process looks
    WRONG_SETTINGS = 78


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments ask for; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m api_server.alerts",
        description="Say what is wrong with devices, once. Settings: the environment.",
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--once", action="store_true", help="look once, send what waits, and end")
    group.add_argument("--test", action="store_true", help="send a test message to every channel")
    chosen = parser.parse_args(arguments)
    logs.set_up("INFO")
    try:
        settings = config.load(os.environ)
        _hide_secrets(settings)
        channels = [Channel(number, url) for number, url in enumerate(settings.alert_urls, 1)]
        if chosen.test:
            return _test(settings, channels)
        store = Store(settings.database_url)
        look = make_look(settings, store, channels)
        if chosen.once:
            return _once(store, look, channels)
        loop.run(settings, store, look, channels)
    except InvalidSettings as error:
        for problem in error.problems:
            logs.event(log, logging.ERROR, "wrong_setting", problem)
        return Exit.WRONG_SETTINGS
    except (DatabaseUnavailable, LoopFailed) as error:
        logs.event(log, logging.ERROR, "failed", str(error))
        return Exit.FAILED
    return Exit.OK


def _hide_secrets(settings: Settings) -> None:
    for url in (*settings.alert_urls, settings.alert_heartbeat_url or ""):
        logs.mask(url)


def make_look(settings: Settings, store: Store, channels: list[Channel]) -> Look:
    """What looks at the devices of these settings, for messages to these channels."""
    cache = Cache(settings.redis_url, settings.cache_ttl_s, settings.database_name)
    return Look(
        store,
        Gatherer(store, cache, Agents(store, cache), settings),
        Texts(settings.alert_lang, settings.site_timezone),
        [channel.key for channel in channels],
        Limits(settings.alert_silence_s),
        timedelta(hours=settings.alert_repeat_h),
    )


def _test(settings: Settings, channels: list[Channel]) -> int:
    title, text = Texts(settings.alert_lang, settings.site_timezone).test
    failed = False
    if not channels:
        print("ALERT_URLS names no channel")  # noqa: T201 - a result
        return Exit.FAILED
    for channel in channels:
        cause = channel.send(title, text)
        failed = failed or cause is not None
        print(f"{channel.name}: {cause or 'sent'}")  # noqa: T201 - a result
    return Exit.FAILED if failed else Exit.OK


def _once(store: Store, look: Look, channels: list[Channel]) -> int:
    if not store.run(alerts.take_lock):
        logs.event(log, logging.ERROR, "busy", "another process looks at the devices already")
        return Exit.BUSY
    for text in look.run(datetime.now(UTC), judge_silence=True):
        logs.event(log, logging.INFO, "alert", text)
    for channel in channels:
        Sender(store, channel, lambda: True).tick()
    return Exit.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
