"""What the spool knows and the disk does not yet: new readings, and changes of stored ones."""

import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from edge_agent.shared.logs import event
from edge_agent.spool.row import Row

MEMORY_SAMPLES = 7200  # two hours of the fastest polling

log = logging.getLogger(__name__)


@dataclass
class Changes:
    """What is to be written besides new rows."""

    endings: dict[int, str | None] = field(default_factory=dict)  # id -> why refused, None: done
    refused: list[tuple[Row, str]] = field(default_factory=list)  # before they reached the disk
    boots: dict[str, int] = field(default_factory=dict)
    newest_ts: str | None = None
    meta: dict[str, str] = field(default_factory=dict)
    dropped: int = 0


class Memory:
    """Rows that wait for the disk under negative ids, and changes; the owner holds a lock."""

    def __init__(self) -> None:
        self.rows: deque[Row] = deque()
        self.changes = Changes()
        self._dropped = 0

    def end(self, endings: dict[int, str | None], boots: dict[str, int]) -> None:
        """Note how readings ended; one that reached the disk since it was peeked is sent again."""
        if any(id_ < 0 for id_ in endings):
            ended = [row.placed(boots) for row in self.rows if row.id in endings]
            self.rows = deque(row for row in self.rows if row.id not in endings)
            refused = [(row, endings[row.id]) for row in ended if endings[row.id] is not None]
            self.changes.refused += refused
        self.changes.endings |= {id_: reason for id_, reason in endings.items() if id_ > 0}

    def sendable(self, boots: dict[str, int]) -> Iterable[Row]:
        """The rows that have a time, oldest first."""
        return (row for row in (row.placed(boots) for row in self.rows) if not row.held)

    def held_boots(self) -> list[tuple[str, float, float]]:
        """Of each held row its boot, and twice the seconds since then: as first and last."""
        return [(row.boot_id, row.boot_s, row.boot_s) for row in self.rows if row.held]

    def drop_oldest(self) -> None:
        """Forget the oldest row if there are too many, and count it."""
        if len(self.rows) <= MEMORY_SAMPLES:
            return
        self.rows.popleft()
        self.changes.dropped += 1
        self._dropped += 1
        if self._dropped % 100 == 1:
            msg = "memory is full too: the oldest reading that was never stored is gone"
            event(log, logging.ERROR, "spool_dropped", msg, dropped=self._dropped)
