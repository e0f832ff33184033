"""The commands: run the agent, or look at its settings, its device, its spool."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from enum import IntEnum
from threading import Event
from typing import Any

from edge_agent import __version__, config
from edge_agent.shared import logs
from edge_agent.shared.environment import InvalidSettings
from edge_agent.shared.loops import LoopFailed
from edge_agent.spool.errors import SpoolError, SpoolLocked

log = logging.getLogger("edge_agent")


class Exit(IntEnum):
    """Exit codes, where possible as in sysexits.h."""

    OK = 0
    FAILED = 1  # a thread ended or hangs, or worse; a new start may help
    NO_SAMPLE = 69
    NO_SPOOL = 73
    BUSY = 75  # another agent works on this spool
    WRONG_SETTINGS = 78
    INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for; returns the exit code."""
    chosen = _parse(arguments)
    logs.set_up("INFO")
    try:
        return chosen.command()
    except InvalidSettings as error:
        _log_problems(error.problems)
        return Exit.WRONG_SETTINGS
    except (SpoolError, LoopFailed) as error:
        code = _exit_code(error)
        logs.event(log, logging.ERROR, "failed", str(error), exit_code=int(code))
        return code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except Exception as error:
        log.critical("crashed: %s", error, exc_info=True, extra={"event": "crashed"})
        return Exit.FAILED


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m edge_agent",
        description="Read one device, spool its samples, upload them. Settings: the environment.",
    )
    parser.set_defaults(command=run)
    parser.add_argument("--version", action="version", version=f"sunspool {__version__}")
    group = parser.add_mutually_exclusive_group()
    for option, command, text in (
        ("--check", check, "print the settings, secrets masked, and all that is wrong with them"),
        ("--once", once, "read the device once and print the sample; nothing is spooled"),
        ("--spool", show_spool, "print what waits in the spool and what the server refused"),
        ("--spool-retry", retry, "bring the samples that were set aside back into the queue"),
        ("--pair", pair, "get a token from a HomeWizard meter: somebody presses its button"),
    ):
        group.add_argument(option, action="store_const", dest="command", const=command, help=text)
    return parser.parse_args(arguments)


def run() -> int:
    """Run the agent in the foreground until SIGTERM or SIGINT."""
    settings = _settings()
    from edge_agent import agent

    agent.run(settings)
    return Exit.OK


def check() -> int:
    """Print the settings and every problem with them; touches no network."""
    shown, problems = config.check(os.environ)
    for name, value in shown.items():
        print(f"{name}={'' if value is None else value}")  # noqa: T201 - a result
    for problem in problems:
        print(f"problem: {problem}")  # noqa: T201
    if problems:
        _log_problems(problems)
        return Exit.WRONG_SETTINGS
    from edge_agent.left_behind import LeftBehind

    settings = config.load(os.environ)
    if warning := LeftBehind(settings.spool_path, settings.device_id).warning:
        print(f"warning: {warning}")  # noqa: T201
    return Exit.OK


def once() -> int:
    """Read the device and print the sample, unless an agent is reading it: it bears one client."""
    settings = _settings()
    from edge_agent.clock import Clock
    from edge_agent.sources import NothingNew, SourceError, open_source
    from edge_agent.spool.folder import lock

    lock(settings.spool_path, create=False)
    source = open_source(settings, Clock().reading_time, Event())
    try:
        _print(source.read()[0])
    except (NothingNew, SourceError) as error:
        logs.event(log, logging.WARNING, "poll_failed", f"no sample: {error}", cause=str(error))
        return Exit.NO_SAMPLE
    finally:
        source.close()
    return Exit.OK


def show_spool() -> int:
    """Print what the spool holds, also beside a running agent."""
    from edge_agent.spool.status import read_status

    path, _ = config.spool(os.environ)
    _print(read_status(path))
    return Exit.OK


def retry() -> int:
    """Bring the set-aside samples back, or have the running agent do it."""
    from edge_agent.spool.status import retry_set_aside

    count = retry_set_aside(*config.spool(os.environ))
    _print({"retried": count, "asked_running_agent": count is None})
    return Exit.OK


def pair() -> int:
    """Get a token from the meter."""
    from edge_agent.sources.p1.pair import pair

    return pair(os.environ, sys.stdout)


def _settings() -> config.Settings:
    settings = config.load(os.environ)
    logs.set_up(settings.log_level, settings.secrets)
    return settings


def _print(result: Any) -> None:
    print(json.dumps(result))  # noqa: T201 - a result


def _log_problems(problems: Sequence[str]) -> None:
    for problem in problems:
        logs.event(log, logging.ERROR, "wrong_settings", problem)


def _exit_code(error: SpoolError | LoopFailed) -> Exit:
    if isinstance(error, LoopFailed):
        return Exit.FAILED
    return Exit.BUSY if isinstance(error, SpoolLocked) else Exit.NO_SPOOL
