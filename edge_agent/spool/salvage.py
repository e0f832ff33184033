"""Saves what can be read of a damaged spool file into the fresh one, a few pages at a time.

The damaged file keeps its content under a new name for good; once all that can be read is taken
over, it is renamed again. After a power cut the work begins again: what was taken over is known by
its id, and what was sent meanwhile the server knows.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from edge_agent.shared.logs import event
from edge_agent.spool.file import SpoolFile
from edge_agent.spool.pages import Pages
from edge_agent.spool.row import DAMAGED, Row
from edge_agent.spool.tables import COUNTERS, LARGEST_ID, boot_crc, counters_from_text

PAGES_PER_STEP = 64  # a small part of even the smallest spool

log = logging.getLogger(__name__)


def salvage(file: SpoolFile) -> Iterator[bool]:
    """Take over the rows of every damaged file beside this one, some pages per step."""
    for bad in sorted(file.path.parent.glob(f"{file.path.name}.corrupt-*")):
        if bad.name.endswith(("-wal", "-shm")):
            continue
        try:
            pages = Pages(bad)
        except OSError as error:
            event(log, logging.ERROR, "spool_salvage_failed", f"cannot open {bad}: {error}")
            continue
        with closing(pages):
            yield from _Salvage(file, bad).run(pages)
        os.rename(bad, bad.with_name(bad.name.replace(".corrupt-", ".salvaged-")))


class _Salvage:
    """Of one damaged file: its records, told apart by their shape, and how many there were."""

    def __init__(self, file: SpoolFile, bad: Path):
        self._file, self._bad = file, bad
        self._counters: dict[str, Any] | None = None
        self._last_id = self._saved = 0
        self._ids: list[int] = []  # the least and the largest
        self._damaged: list[Row] = []
        self._aside: list[tuple[Row, str]] = []

    def run(self, pages: Pages) -> Iterator[bool]:
        """Take over the pages, and at the end count what is lost."""
        numbers, some = pages.numbers(), [0]
        while some:
            with self._file.transaction():
                some = list(islice(numbers, PAGES_PER_STEP))
                for number in some:
                    for rowid, columns in pages.records(number):
                        self._sort(rowid, columns)
                if not some:
                    self._finish()
            self._file.measure()
            yield True

    def _sort(self, rowid: int | None, columns: list[Any]) -> None:
        """Put one record where it belongs; what belongs nowhere is another table's."""
        match columns:
            case [None, ts, boot_id, int() | float() as boot_s, held, note, crc, payload]:
                id_ = rowid if rowid and 0 < rowid < LARGEST_ID else None
                self._take(Row(id_, ts, boot_id, float(boot_s), held, note, crc, payload))
            case [None, str() as reason, *values] if len(values) == len(Row._fields):
                self._aside.append((Row(*values), reason))
            case [str() as boot_id, int() as began, int() as crc] if rowid is None:
                if crc == boot_crc(boot_id, began):
                    self._file.put_boots({boot_id: began})
            case ["samples", int() as last_id] if rowid is not None and last_id < LARGEST_ID:
                self._last_id = last_id
            case ["counters", str() as text] if rowid is None:
                self._counters = counters_from_text(text)

    def _take(self, row: Row) -> None:
        if not row.good:
            self._damaged.append(row)
            return
        self._saved += 1
        self._file.put(row)
        if row.id:
            self._ids = [min([row.id, *self._ids]), max([row.id, *self._ids])]

    def _finish(self) -> None:
        lost = max(0, self._expected() - self._saved - len(self._damaged))
        for row, reason in (*self._aside, *((row, DAMAGED) for row in self._damaged)):
            self._file.put_aside(row, reason)
        ours, theirs = self._file.counters, self._counters or COUNTERS
        for name in ("thinned", "dropped", "lost"):
            ours[name] += theirs[name]
        ours["lost"] += lost
        self._file.saw(theirs["newest_ts"])
        msg = f"{self._saved} readings saved from {self._bad.name}, {lost} lost"
        fields = {"saved": self._saved, "damaged": len(self._damaged), "lost": lost}
        event(log, logging.WARNING, "spool_salvaged", msg, **fields)

    def _expected(self) -> int:
        """How many readings waited in the file."""
        if self._counters:
            return self._counters["pending"] + max(0, self._last_id - self._counters["last_id"])
        # Ids are dense but for what was set aside or thinned.
        last_id = self._last_id or max(self._ids, default=0)
        return last_id + 1 - min(self._ids) - len(self._aside) if self._ids else 0
