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
from edge_agent.spool.errors import named_errors
from edge_agent.spool.file import SpoolFile
from edge_agent.spool.folder import log_of, sync_directory
from edge_agent.spool.pages import Pages
from edge_agent.spool.row import DAMAGED, Row
from edge_agent.spool.tables import LARGEST_ID, boot_crc, counters_from_text
from edge_agent.spool.thinning import NEARLY_FULL

PAGES_PER_STEP = 64  # a small part of even the smallest spool
FRESH = {"page": 1, "saved": 0, "damaged": 0, "aside": 0, "ids": []}

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
            state = _saved_state(file, bad.name)
            if bad.name in known:
                state["counters"] = known[bad.name]
            while state["page"] <= pages.count:
                if file.fill() < NEARLY_FULL:
                    state = _take_over(file, pages, state)
                yield True
        with named_errors(bad):
            os.rename(bad, bad.with_name(bad.name.replace(".corrupt-", ".salvaged-")))


def _saved_state(file: SpoolFile, name: str) -> dict[str, Any]:
    with suppress(ValueError):  # damaged too: begin again, what is there is known by its id
        state = json.loads(file.meta("salvage") or "{}")
        if isinstance(state, dict) and state.get("file") == name and FRESH.keys() <= state.keys():
            return state
    return {**FRESH, "file": name}


def _take_over(file: SpoolFile, pages: Pages, state: dict[str, Any]) -> dict[str, Any]:
    """Take over the next pages and, with the last, count what is lost; returns the new state."""
    end = min(state["page"] + PAGES_PER_STEP, pages.count + 1)
    found = _Found()
    for number in range(state["page"], end):
        for rowid, columns in pages.records(number):
            found.sort(rowid, columns)
    ids = [*state["ids"], *(row.id for row in found.rows if row.id)]
    state = (
        found.counts
        | state
        | {
            "page": end,
            "saved": state["saved"] + len(found.rows),
            "damaged": state["damaged"] + len(found.damaged),
            "aside": state["aside"] + len(found.aside),
            "ids": [min(ids), max(ids)] if ids else [],
        }
    )
    counts: dict[str, Any] = {}
    if end > pages.count:
        lost = max(0, _expected(state) - state["saved"] - state["damaged"])
        counts = state.get("counters", {})
        counts = counts | {"lost": counts.get("lost", 0) + lost}
        fields = {"saved": state["saved"], "damaged": state["damaged"], "lost": lost}
        msg = f"{state['saved']} readings saved from {state['file']}, {lost} lost"
        exact = "counters" in state
        event(log, logging.WARNING, "spool_salvaged", msg, **fields, exact=exact)
    aside = found.aside + [(row, DAMAGED) for row in found.damaged]
    file.adopt(found.rows, aside, found.boots, found.meta | {"salvage": json.dumps(state)}, counts)
    return state


def _expected(state: dict[str, Any]) -> int:
    """How many readings waited in the file."""
    old, ids = state.get("counters"), state["ids"]
    if old:
        return old["pending"] + max(0, state.get("last_id", 0) - old["last_id"])
    # Ids are dense but for what was set aside or thinned.
    last_id = state.get("last_id", max(ids, default=0))
    return last_id + 1 - min(ids) - state["aside"] if ids else 0


class _Found:
    """Records of some pages, told apart by their shape."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.damaged: list[Row] = []
        self.aside: list[tuple[Row, str]] = []
        self.boots: dict[str, int] = {}
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
            case [str() as boot_id, int() as began, int() as crc] if rowid is None:
                if crc == boot_crc(boot_id, began):
                    self.boots[boot_id] = began
            case ["samples", int() as last_id] if rowid is not None and last_id < LARGEST_ID:
                self.counts["last_id"] = last_id
            case ["counters", str() as text] if rowid is None:
                counters = counters_from_text(text)
                self.counts |= {"counters": counters} if counters else {}
            case [str() as key, str() as value] if rowid is None:
                self.meta[key] = value
