"""Saves what can be read of a damaged spool file into the fresh one, a few pages at a time.

The damaged file keeps its content under a new name for good; once all that can be read is taken
over, it is renamed again. How far the work is stands in the fresh file, in the same transaction
as the rows, so it goes on where a power cut ended it.
"""

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from edge_agent.shared.logs import event
from edge_agent.spool.counters import LARGEST_ID, counters_from_text
from edge_agent.spool.errors import named_errors
from edge_agent.spool.file import SpoolFile
from edge_agent.spool.folder import log_of, sync_directory
from edge_agent.spool.pages import Pages
from edge_agent.spool.row import DAMAGED, Row
from edge_agent.spool.thinning import NEARLY_FULL

PAGES_PER_STEP = 64  # a small part of even the smallest spool

FRESH = {"page": 1, "saved": 0, "damaged": 0, "aside": 0, "ids": [], "done": False}

log = logging.getLogger(__name__)


def move_away(path: Path) -> Path:
    """Give the damaged file and its log a new name; a cut in the middle leaves both readable."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    numbered = (path.with_name(f"{path.name}.corrupt-{stamp}-{n:02}") for n in range(100))
    bad = next(name for name in numbered if not name.exists())
    with named_errors(path):
        log_file = log_of(path)
        with suppress(OSError):  # there may be no log, or no second names on this file system
            os.link(log_file, log_of(bad))
        os.rename(path, bad)
        with suppress(FileNotFoundError):
            os.replace(log_file, log_of(bad))
        path.with_name(path.name + "-shm").unlink(missing_ok=True)
        sync_directory(path.parent)
    return bad


def damaged_files(path: Path) -> list[Path]:
    """Damaged files that were not read to the end yet, oldest first."""
    names = [name for name in os.listdir(path.parent) if name.startswith(f"{path.name}.corrupt-")]
    return [path.with_name(name) for name in sorted(names) if not name.endswith(("-wal", "-shm"))]


def salvage(file: SpoolFile, known: dict[str, dict[str, Any]]) -> Iterator[None]:
    """Take over the rows of every damaged file beside this one, some pages per step.

    `known` are the counters of those that were in use until they failed.
    """
    for bad in damaged_files(file.path):
        try:
            job = _Job(file, bad)
        except OSError as error:
            event(log, logging.ERROR, "spool_salvage_failed", f"cannot open {bad}: {error}")
            continue
        if bad.name in known:
            job.state["counters"] = known[bad.name]
        yield from job.run()


class _Job:
    """One damaged file; `state` is what must be remembered from step to step."""

    def __init__(self, file: SpoolFile, bad: Path):
        self.file, self.bad = file, bad
        self.pages = Pages(bad)
        self.state = FRESH | {"file": bad.name}
        with suppress(ValueError):  # damaged too: begin again, what is there is known by its id
            state = json.loads(file.meta("salvage") or "{}")
            whole = isinstance(state, dict) and FRESH.keys() <= state.keys()
            self.state = state if whole and state.get("file") == bad.name else self.state

    def run(self) -> Iterator[None]:
        with closing(self.pages):
            while self.state["page"] <= self.pages.count:
                if self.file.fill() < NEARLY_FULL:
                    self._take_over_some_pages()
                yield
        if not self.state["done"]:
            self._count_the_lost()
        with named_errors(self.bad):
            done = self.bad.with_name(self.bad.name.replace(".corrupt-", ".salvaged-"))
            os.rename(self.bad, done)

    def _take_over_some_pages(self) -> None:
        end = min(self.state["page"] + PAGES_PER_STEP, self.pages.count + 1)
        found = _Found()
        for number in range(self.state["page"], end):
            for rowid, columns in self.pages.records(number):
                found.sort(rowid, columns)
        self.state = found.counts | self.state
        self.state["page"] = end
        self.state["saved"] += len(found.rows)
        self.state["damaged"] += len(found.damaged)
        self.state["aside"] += len(found.aside)
        ids = [*self.state["ids"], *(row.id for row in found.rows if row.id)]
        self.state["ids"] = [min(ids), max(ids)] if ids else []
        damaged = [(row, DAMAGED) for row in found.damaged]
        salvage = {"salvage": json.dumps(self.state)}
        self.file.adopt(found.rows, found.aside + damaged, found.meta | salvage)

    def _count_the_lost(self) -> None:
        state = self.state | {"done": True}
        lost = max(0, self._expected() - state["saved"] - state["damaged"])
        self.file.finish_salvage(lost, state.get("counters", {}), json.dumps(state))
        exact = "counters" in state
        msg = f"{state['saved']} readings saved from {self.bad.name}, {lost} lost"
        fields = {
            "saved": state["saved"],
            "damaged": state["damaged"],
            "lost": lost,
            "exact": exact,
        }
        event(log, logging.WARNING, "spool_salvaged", msg, **fields)

    def _expected(self) -> int:
        """How many readings waited in the file."""
        old, ids = self.state.get("counters"), self.state["ids"]
        if old:
            return old["pending"] + max(0, self.state.get("last_id", 0) - old["last_id"])
        # Ids are dense but for what was set aside or thinned.
        last_id = self.state.get("last_id", max(ids, default=0))
        return last_id + 1 - min(ids) - self.state["aside"] if ids else 0


class _Found:
    """Records of some pages, told apart by their shape."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.damaged: list[Row] = []
        self.aside: list[tuple[Row, str]] = []
        self.meta: dict[str, str] = {}
        self.counts: dict[str, Any] = {}

    def sort(self, rowid: int | None, columns: list[Any]) -> None:
        """Put one record where it belongs; what belongs nowhere is another table's."""
        match columns:
            case [None, ts, boot_id, int() | float() as boot_s, held, note, crc, payload]:
                id_ = rowid if rowid and 0 < rowid < LARGEST_ID else None
                row = Row(id_, ts, boot_id, float(boot_s), held, note, crc, payload)
                (self.rows if row.good else self.damaged).append(row)
            case [None, str() as reason, *values] if len(values) == len(Row._fields):
                self.aside.append((Row(*values), reason))
            case ["samples", int() as last_id] if rowid is not None and last_id < LARGEST_ID:
                self.counts["last_id"] = last_id
            case ["counters", str() as text] if rowid is None:
                counters = counters_from_text(text)
                self.counts |= {"counters": counters} if counters else {}
            case [str() as key, str() as value] if rowid is None:
                self.meta[key] = value
