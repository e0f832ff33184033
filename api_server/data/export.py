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
from itertools import chain
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
_TIME = """CASE WHEN {name} = date_bin('1 second', {name}, '2000-01-01Z') THEN {whole}
    ELSE to_char({name}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') END AS {name}"""
# In CSV a whole second comes as PostgreSQL prints it, `2026-01-01 00:00:05+00`, since to_char takes
# a fifth of all time. No other value has a plus before two zeros, and spaces are only in texts, of
# digits, dots and spaces: there they come as slashes.
_WHOLE = {"csv": "{name}::text", "ndjson": """to_char({name}, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"""}
_TEXT = {"csv": "translate({name}, ' ', '/') AS {name}", "ndjson": "{name}"}
_AS_REALTIME = bytes.maketrans(b" /", b"T ")


class TooMany(Exception):
    """Two are reading samples already; the same request may succeed later."""


class Export:
    """Copies the samples of a device between two times; `count` is how many rows there are.

    Raises TooMany, or DatabaseUnavailable. `close` must be called.
    """

    def __init__(
        self, url: str, kind: Kind, device_id: str, start: datetime, end: datetime, format_: str
    ):
        self._format = format_
        where = _WHERE.format(kind=kind.name)
        fields = (Field("ts", "time"), *kind.fields)
        columns = ", ".join(["device_id", *(_column(field, format_) for field in fields)])
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
            # What came with the count is there already, and may be all.
            for piece in chain([b""], iter(lambda: self._read(PIECE_S), b"")):
                lines, end, self._rest = (self._rest + piece).rpartition(b"\n")
                if end:
                    yield _finish(lines + end) if self._format == "csv" else lines + end
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


def _finish(lines: bytes) -> bytes:
    """Lines of CSV with their times as realtime prints them, ended as RFC 4180 wants."""
    return lines.translate(_AS_REALTIME).replace(b"+00", b"Z").replace(b"\n", b"\r\n")


def _column(field: Field, format_: str) -> str:
    name = field.name
    if field.type == "time":
        return _TIME.format(name=name, whole=_WHOLE[format_].format(name=name))
    if field.type == "text":
        return _TEXT[format_].format(name=name)
    if name.endswith("_kwh"):
        # What is kept as a real has no digits beyond those of a real.
        return f"(round({name} * 1e6) / 1e6)::{field.sql_type} AS {name}"
    return name
