"""One row of the spool: a reading, the boot it was taken in, and a checksum of both."""

import json
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from edge_agent.shared.samples import format_time

COLUMNS = "id, ts, boot_id, boot_s, held, note, crc, payload"
DAMAGED = "damaged on the disk: the checksum does not match"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_JSON = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


class Row(NamedTuple):
    """The columns of `samples`; a reading in memory has a negative id, a salvaged one maybe none.

    A held row has no time of its own: its `ts` only says what the clock showed. It may be sent
    once table `boots` knows when its `boot_id` began. Behind a # in it stands how many placements
    came before the row was held.
    """

    id: int | None
    ts: str
    boot_id: str
    boot_s: float
    held: int
    note: str | None  # written by version 1.0.0 only
    crc: int
    payload: bytes  # JSON

    @property
    def good(self) -> bool:
        """Whether every byte is still as it was written."""
        return isinstance(self.payload, bytes) and self.crc == checksum(*self[1:6], self.payload)

    @property
    def sample(self) -> dict[str, Any]:
        """The reading; only for a row that is good."""
        return json.loads(self.payload)

    def placed(self, boots: dict[str, int]) -> "Row":
        """The row with the time at which it is sent; itself if it has one or none is known."""
        if not self.held or self.boot_id not in boots:
            return self
        # Odd, while times read from the clock are even: two readings never share their key.
        us = boots[self.boot_id] + round(self.boot_s * 1e6) | 1
        ts = format_time(EPOCH + timedelta(microseconds=us))
        return make_row(self.id, self.sample | {"ts": ts}, self.boot_id, self.boot_s)


def checksum(
    ts: str, boot_id: str, boot_s: float, held: int, note: str | None, payload: bytes
) -> int:
    """A CRC of everything but the id."""
    return zlib.crc32(f"{ts} {boot_id} {boot_s} {held} {note} ".encode() + payload)


def make_row(
    id_: int | None, sample: dict[str, Any], boot_id: str, boot_s: float, held: bool = False
) -> Row:
    """A row for a reading; raises ValueError or TypeError for what JSON cannot say."""
    ts = sample["ts"]
    if not isinstance(ts, str):
        raise TypeError("ts must be a text")
    payload = _JSON.encode(sample).encode()
    crc = checksum(ts, boot_id, boot_s, int(held), None, payload)
    return Row(id_, ts, boot_id, boot_s, int(held), None, crc, payload)


def microseconds(time: datetime) -> int:
    """A time as `boots` keeps it, since 1970."""
    return (time - EPOCH) // timedelta(microseconds=1)


def unplaced(boot_id: str, boots: dict[str, int]) -> str:
    """The name under which a reading of this boot waits for the next placement."""
    return f"{boot_id.partition('#')[0]}#{len(boots)}" if boot_id in boots else boot_id
