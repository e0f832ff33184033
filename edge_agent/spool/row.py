"""One row of the spool, a reading with its checksum, and what others are given of it."""

import json
import zlib
from typing import Any, NamedTuple

COLUMNS = "id, ts, boot_id, boot_s, held, note, crc, payload"
DAMAGED = "damaged on the disk: the checksum does not match"
_JSON = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


class Row(NamedTuple):
    """The columns of `samples`; a new row has a negative id, a salvaged one may have none."""

    id: int | None
    ts: str
    boot_id: str
    boot_s: float
    held: int  # 1: its time can not be trusted yet
    note: str | None
    crc: int
    payload: bytes

    @property
    def sample(self) -> dict[str, Any]:
        """The reading; only for a row that is good."""
        return json.loads(self.payload.decode())

    @property
    def good(self) -> bool:
        """Whether every byte is still as it was written."""
        return isinstance(self.payload, bytes) and self.crc == _checksum(*self[1:6], self.payload)

    @property
    def shown(self) -> Any:
        """The reading, or the text that is left of it."""
        if self.good:
            return self.sample
        return self.payload.decode(errors="replace") if isinstance(self.payload, bytes) else None


class Entry(NamedTuple):
    """A reading to be sent, as JSON, and the id that confirms it."""

    id: int
    payload: bytes

    @property
    def sample(self) -> dict[str, Any]:
        """The reading itself."""
        return json.loads(self.payload)


class Held(NamedTuple):
    """A reading whose wall time can not be trusted yet."""

    id: int
    boot_id: str
    boot_s: float


def _checksum(
    ts: str, boot_id: str, boot_s: float, held: int, note: str | None, payload: bytes
) -> int:
    """A CRC of everything but the id."""
    return zlib.crc32(f"{ts} {boot_id} {boot_s} {held} {note} ".encode() + payload)


def make_row(
    id_: int | None,
    sample: dict[str, Any],
    boot_id: str,
    boot_s: float,
    held: bool,
    note: str | None = None,
) -> Row:
    """A row for a reading; raises ValueError or TypeError for what JSON can not say."""
    if not isinstance(sample["ts"], str):
        raise TypeError("ts must be a text")
    payload = _JSON.encode(sample).encode()
    rest = (sample["ts"], boot_id, boot_s, int(held), note)
    return Row(id_, *rest, _checksum(*rest, payload), payload)


def at_time(row: Row, ts: str, note: str) -> Row:
    """The same reading at another, trusted time."""
    sample = row.sample | {"ts": ts}
    return make_row(row.id, sample, row.boot_id, row.boot_s, held=False, note=note)


def held_again(row: Row) -> Row:
    """The same reading, waiting for another time."""
    return make_row(row.id, row.sample, row.boot_id, row.boot_s, held=True)
