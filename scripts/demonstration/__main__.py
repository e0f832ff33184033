"""Runs the demo until its time is over or it is told to stop; leaves nothing behind."""

import argparse
import signal
import sys
import webbrowser
from pathlib import Path

from scripts.demonstration.house import House
from scripts.demonstration.past import Past
from scripts.demonstration.screen import watch
from scripts.demonstration.workplace import KeepRefused, workplace
from tests.support.servers import ServerFailed

STOPPED_BY_SIGNAL = 130


def main() -> int:
    """Run the demo; 0 if samples of every device came back through the API in its time."""
    options = _options()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        with workplace(options.keep) as folder, House(folder) as house, Past(house):
            if options.open:
                webbrowser.open(house.page)
            watch(house, options.seconds)
        if options.keep:
            print(f"The data is kept in {options.keep}")
    except (KeyboardInterrupt, BrokenPipeError):  # the latter: whoever read our lines has gone
        _say("stopped")
        return STOPPED_BY_SIGNAL
    except (ServerFailed, KeepRefused) as error:
        _say(str(error))
        return 1
    return 0


def _interrupt(*_: object) -> None:
    """End the demo in order, and let nothing interrupt that."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(f"demo: {text}", file=sys.stderr)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="A simulated house through the whole path, on real sockets.",
    )
    parser.add_argument("--seconds", type=_seconds, help="end by itself after so long")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the data in DIR")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    return parser.parse_args()


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 1e9:
        raise ValueError
    return seconds


if __name__ == "__main__":
    raise SystemExit(main())
