"""What a spool needs beside its work: damaged files are salvaged, a nearly full one is thinned.

Of the oldest readings one a minute stays, the last. Lifetime counters keep the energies exact; only
the shape between two kept readings is lost. Inverter readings go before meter readings (the
capacity tariff needs those). When that is not enough, the same again with one per quarter, then
per hour.
"""

import logging
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from time import monotonic
from typing import Any

from edge_agent.shared.logs import event
from edge_agent.shared.samples import parse_time
from edge_agent.spool.errors import SpoolError
from edge_agent.spool.file import SpoolFile
from edge_agent.spool.row import Row
from edge_agent.spool.salvage import salvage

WARN_AT, WARN_AGAIN_BELOW = 0.80, 0.75
NEARLY_FULL, ENOUGH_ROOM = 0.90, 0.85
INTERVALS_S = (60, 900, 3600)
ROWS_PER_STEP = 500  # one transaction, small enough for the reserve

log = logging.getLogger(__name__)


class Maintenance:
    """Does it in steps, for a little time with each reading."""

    def __init__(self, file: SpoolFile):
        self._file = file
        self._opening = 0  # of the file: the one that the work belongs to
        self._work: Iterator[bool] | None = None
        self._idle = self._warned = False

    def run(self, seconds: float) -> bool:
        """Salvage and thin for so long at most; whether there is more to do."""
        file = self._file
        if not file.reserve.kept:
            file.reserve.keep()
        same = file.db and file.openings == self._opening
        if self._idle and same and file.fill < WARN_AGAIN_BELOW:
            return False
        with suppress(SpoolError):  # the next reading tries again, and tells if it is not stored
            file.run(self._steps, monotonic() + seconds, urgent=True)
        return not self._idle

    def _steps(self, file: SpoolFile, until: float) -> None:
        self._warn(file.measure())
        if file.openings != self._opening:
            self._opening, self._work, self._idle = file.openings, None, False
        work, self._work = self._work or _work(file), None  # after an error it begins again
        for goes_on in work:
            if not goes_on or monotonic() > until:
                self._work, self._idle = work, False
                return
        self._idle = True

    def _warn(self, fill: float) -> None:
        if fill >= WARN_AT and not self._warned:
            msg = f"the spool is {fill:.0%} full; from {NEARLY_FULL:.0%} on it is thinned"
            event(log, logging.WARNING, "spool_filling", msg)
        self._warned = fill >= (WARN_AGAIN_BELOW if self._warned else WARN_AT)


def _work(file: SpoolFile) -> Iterator[bool]:
    """A piece of maintenance with each step, until none is left; False: only with more room."""
    salvaging = salvage(file)
    while True:
        if file.fill >= NEARLY_FULL:
            yield from _thin(file)
        if file.fill >= NEARLY_FULL:
            yield False
        elif next(salvaging, None) is None:
            return
        else:
            yield True


def _thin(file: SpoolFile) -> Iterator[bool]:
    """Thin one stretch per step until there is enough room."""
    for interval_s in INTERVALS_S:
        if file.fill < NEARLY_FULL:
            return
        before = file.counters["thinned"]
        for meter in (False, True):
            start = 0
            while file.fill >= ENOUGH_ROOM:
                rows = file.rows("id >= ? ORDER BY id LIMIT ?", start, ROWS_PER_STEP)
                if not rows:
                    break
                ids, start = _superfluous(rows, interval_s, meter)
                with file.transaction():
                    file.counters["thinned"] += file.delete(ids)
                file.measure()
                yield True
        if count := file.counters["thinned"] - before:
            msg = f"the spool is nearly full: removed {count} readings, kept one per {interval_s} s"
            fields = {"thinned": count, "interval_s": interval_s}
            event(log, logging.WARNING, "spool_thinned", msg, **fields)


def _superfluous(rows: list[Row], interval_s: int, meter: bool) -> tuple[list[int], int]:
    """The ids that can go, and where the next stretch begins: with the last interval."""
    ours = [row for row in rows if row.good and (b'"import_power_w"' in row.payload) == meter]
    intervals = [(row.id, _interval(row, interval_s)) for row in ours]
    ids = [id_ for (id_, one), (_, following) in pairwise(intervals) if one == following]
    if len(rows) == ROWS_PER_STEP and ours and ours[-1].id > rows[0].id:
        return ids, ours[-1].id
    return ids, rows[-1].id + 1


def _interval(row: Row, interval_s: int) -> Any:
    try:
        seconds = row.boot_s if row.held else parse_time(row.ts).timestamp()
    except ValueError:
        return row.id  # its time is none: keep it
    return row.boot_id, int(seconds // interval_s)
