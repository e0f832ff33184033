"""The command `python -m api_server.tariffs --check`: what is in force, and every hole."""

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import date, timedelta

from api_server.tariffs import files
from api_server.tariffs.rates import FOREVER, Rate
from edge_agent.shared import environment, logs

WRONG_SETTINGS = 78  # EX_CONFIG of sysexits.h
AHEAD = timedelta(days=365)  # how far holes are looked for

log = logging.getLogger("api_server.tariffs")


def main(arguments: Sequence[str]) -> int:
    """Print what the rates say; 0, or 78 if GRID_AREA or TARIFF_FILE is wrong."""
    parser = argparse.ArgumentParser(prog="python -m api_server.tariffs", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", required=True, help="print what is in force and every hole"
    )
    parser.parse_args(arguments)
    logs.set_up("INFO")
    values, problems = environment.read(files.SETTINGS, os.environ)
    problems += files.problems()
    for problem in problems:
        print(f"problem: {problem}")  # noqa: T201 - a result
        logs.event(log, logging.ERROR, "wrong_setting", problem)
    if problems:
        return WRONG_SETTINGS
    grid = files.grid(values["grid_area"]) if values["grid_area"] else None
    for line in _report(grid, values["tariff_file"], date.today()):
        print(line)  # noqa: T201
    return 0


def _report(grid: files.Grid | None, contract: files.Contract | None, today: date) -> Iterator[str]:
    own = contract or files.no_contract()
    schedules = [*(grid.schedules() if grid else ()), *own.schedules()]
    yield f"in force on {today}, EUR including VAT:"
    for schedule in schedules:
        rate = schedule.on(today)
        if rate:
            source = f" ({rate.source})" if rate.source else ""
            yield f"  {schedule.name}: {rate.eur:f} per {schedule.unit}, {_span(rate)}{source}"
    if not grid:
        yield "  GRID_AREA is not set: what the grid costs is left out"
    if not contract:
        yield "  TARIFF_FILE is not set: no price, levy or fixed fee is known"
    first = min((rate.first for one in schedules for rate in one.rates), default=today)
    end = max(first, today) + AHEAD
    found = [
        (schedule.name, *hole)
        for schedule in (grid.schedules() if grid else ())
        for hole in schedule.holes(first, end)
    ]
    found += own.holes(first, end)
    yield f"holes from {first} to {end}:" if found else f"no hole from {first} to {end}"
    for name, start, stop in found:
        yield f"  {name}: {start} to {stop}"


def _span(rate: Rate) -> str:
    return f"{rate.first} to {rate.end}" if rate.end != FOREVER else f"from {rate.first}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
