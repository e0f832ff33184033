"""Saves what can be read of a damaged spool file into the fresh one, a few pages at a time.

The damaged file keeps its content under a new name for good; once all that can be read is taken
over, it is renamed again. After a power cut the work begins again: what was taken over is known by
its id, and what was sent meanwhile the server knows.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from edge_agent.shared.logs import event
from edge_agent.spool.errors import named_errors
from edge_agent.spool.file import SpoolFile
from edge_agent.spool.pages import Pages
from edge_agent.spool.row import DAMAGED, Row
from edge_agent.spool.tables import LARGEST_ID, boot_crc, counters_from_text
from edge_agent.spool.thinning import NEARLY_FULL

PAGES_PER_STEP = 64  # a small part of even the smallest spool

log = logging.getLogger(__name__)


def salvage(file: SpoolFile, known: dict[str, dict[str, Any]]) -> Iterator[bool]:
    """Take over the rows of every damaged file beside this one, some pages per step.

    `known` are the counters of those that were in use until they failed.
    """
    for bad in sorted(file.path.parent.glob(f"{file.path.name}.corrupt-*")):
        if bad.name.endswith(("-wal", "-shm")):
            continue
        try:
            pages = Pages(bad)
        except OSError as error:
            event(log, logging.ERROR, "spool_salvage_failed", f"cannot open {bad}: {error}")
            continue
        with closing(pages):
            yield from _Job(file, bad, pages, known.get(bad.name)).run()
        with named_errors(bad):
            os.rename(bad, bad.with_name(bad.name.replace(".corrupt-", ".salvaged-")))


class _Job:
    """One damaged file: its records, told apart by their shape, and how many there were."""

    def __init__(self, file: SpoolFile, bad: Path, pages: Pages, counters: dict[str, Any] | None):
        self._file, self._bad, self._pages = file, bad, pages
        self._counters, self._found_counters = counters, None
        self._saved = self._damaged = self._last_id = 0
        self._ids: list[int] = []  # the least and the largest
        self._aside: list[tuple[Row, str]] = []

    def run(self) -> Iterator[bool]:
        """Take over the pages, and at the end count what is lost."""
        count, some = self._pages.count, PAGES_PER_STEP
        for first in range(1, count + 1, some):
            while self._file.fill >= NEARLY_FULL:
                yield True
            with self._file.transaction():
                for number in range(first, min(first + some, count + 1)):
                    for rowid, columns in self._pages.records(number):
                        self._sort(rowid, columns)
                if first + some > count and self._file.meta("salvaged") != self._bad.name:
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
                self._found_counters = counters_from_text(text)
            case [str() as key, str() as value] if rowid is None and self._file.meta(key) is None:
                self._file.put_meta(key, value)

    def _take(self, row: Row) -> None:
        if not row.good:
            self._damaged += 1
            self._aside.append((row, DAMAGED))
            return
        self._saved += 1
        self._file.put(row)
        if row.id:
            self._ids = [min([row.id, *self._ids]), max([row.id, *self._ids])]

    def _finish(self) -> None:
        counters = self._counters or self._found_counters
        lost = max(0, self._expected(counters) - self._saved - self._damaged)
        for row, reason in self._aside:
            self._file.put_aside(row, reason)
        ours, theirs = self._file.counters, counters or {}
        for name in ("thinned", "dropped", "lost"):
            ours[name] += theirs.get(name, 0)
        ours["lost"] += lost
        self._file.saw(theirs.get("newest_ts"))
        self._file.put_meta("salvaged", self._bad.name)
        msg = f"{self._saved} readings saved from {self._bad.name}, {lost} lost"
        fields = {"saved": self._saved, "damaged": self._damaged, "lost": lost}
        event(log, logging.WARNING, "spool_salvaged", msg, **fields, exact=counters is not None)

    def _expected(self, counters: dict[str, Any] | None) -> int:
        """How many readings waited in the file."""
        if counters:
            return counters["pending"] + max(0, self._last_id - counters["last_id"])
        # Ids are dense but for what was set aside or thinned.
        last_id = self._last_id or max(self._ids, default=0)
        refused = len(self._aside) - self._damaged
        return last_id + 1 - min(self._ids) - refused if self._ids else 0
