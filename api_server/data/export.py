"""The samples themselves, as CSV or NDJSON, straight from PostgreSQL's COPY, whatever their number.

No row is decoded here: pieces of text go from a process that copies to whoever reads them.
"""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from time import monotonic

import psycopg2

from api_server.data import copying
from api_server.data.database import DatabaseUnavailable
from edge_agent.shared.samples import Field, Kind

FORMATS = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}
PIECE = 1 << 16
COUNT_S = 60.0  # until the first byte, for any length
PIECE_S = 30.0  # until the next

_WHERE = """FROM {kind}_samples AS sample
    WHERE device_id = %(device)s AND ts >= %(start)s AND ts < %(end)s"""
# By the time itself: what is called ts in the output is a text, of which all would be sorted first.
_ROWS = "SELECT {columns} {where} ORDER BY sample.ts"
_COPY = {
    "csv": f"COPY ({_ROWS}) TO STDOUT WITH (FORMAT csv, HEADER)",
    "ndjson": f"COPY (SELECT row_to_json(one) FROM ({_ROWS}) AS one) TO STDOUT",  # noqa: S608
}
# As realtime prints them: UTC, and a fraction of six digits if it is not zero.
_TIME = """CASE WHEN {name} = {name}::timestamptz(0)
    THEN to_char({name}, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
    ELSE to_char({name}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') END AS {name}"""


class TooMany(Exception):
    """Two are reading samples already; the same request may succeed later."""


class Export:
    """Copies the samples of a device between two times; `count` is how many rows there are.

    Raises TooMany, or DatabaseUnavailable. `close` must be called.
    """

    def __init__(
        self, url: str, kind: Kind, device_id: str, start: datetime, end: datetime, format_: str
    ):
        self._lines = format_
        where = _WHERE.format(kind=kind.name)
        columns = ", ".join(["device_id", _TIME.format(name="ts"), *(map(_column, kind.fields))])
        asked = {
            "url": url,
            "count": f"SELECT count(*) {where}",
            "copy": _COPY[format_].format(columns=columns, where=where),
            "values": {"device": device_id, "start": start.isoformat(), "end": end.isoformat()},
        }
        # By its file, since it needs nothing of the API, whose modules would fill its memory.
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", copying.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._rest = b""
        try:
            self._process.stdin.write(json.dumps(asked).encode())
            self._process.stdin.close()
            self.count = self._read_count()
        except BaseException:
            self.close()
            raise

    def pieces(self) -> Iterator[bytes]:
        """The text, in pieces. Raises DatabaseUnavailable when it breaks off."""
        try:
            piece = self._rest or self._read(PIECE_S)
            while piece:
                yield piece.replace(b"\n", b"\r\n") if self._lines == "csv" else piece
                piece = self._read(PIECE_S)
            if self._process.wait(timeout=PIECE_S):
                raise _unavailable("the copy of the samples broke off")
        finally:
            self.close()

    def close(self) -> None:
        """End the process, wherever it is."""
        self._process.kill()
        self._process.stdout.close()
        self._process.wait()

    def _read_count(self) -> int:
        ends, head = monotonic() + COUNT_S, b""
        while b"\n" not in head:
            piece = self._read(ends - monotonic())
            if not piece:
                if self._process.wait(timeout=PIECE_S) == copying.BUSY:
                    raise TooMany
                raise _unavailable("the samples could not be read")
            head += piece
        count, _, self._rest = head.partition(b"\n")
        return int(count)

    def _read(self, seconds: float) -> bytes:
        """What there is, at least a byte; b"" at the end."""
        ready, _, _ = select.select([self._process.stdout], [], [], max(seconds, 0))
        if not ready:
            raise _unavailable("no answer in time")
        return os.read(self._process.stdout.fileno(), PIECE)


def _unavailable(text: str) -> DatabaseUnavailable:
    return DatabaseUnavailable(psycopg2.OperationalError(text), passing=False)


def _column(field: Field) -> str:
    if field.type == "time":
        return _TIME.format(name=field.name)
    if field.name.endswith("_kwh"):
        return f"round({field.name} * 1e6) / 1e6 AS {field.name}"
    return field.name
