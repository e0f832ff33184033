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
# Not COPY's own CSV, which looks for quotes in every value. No value holds what the plain format
# would escape, and the device, which all rows share, is left to the program that copies.
_COPY = {
    "csv": f"COPY ({_ROWS}) TO STDOUT WITH (DELIMITER ',', NULL '')",
    "ndjson": f"COPY (SELECT row_to_json(one) FROM ({_ROWS}) AS one) TO STDOUT",  # noqa: S608
}
# As realtime prints them: UTC, and a fraction of six digits if it is not zero.
_TIME = """CASE WHEN {name} = date_bin('1 second', {name}, '2000-01-01Z') THEN {whole}
    ELSE to_char({utc}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') END AS {name}"""
_UTC = "({name} AT TIME ZONE INTERVAL '0')"  # adds a number, where 'UTC' would be looked up
# In CSV a whole second comes as `2026-01-01 00:00:05Z`, since to_char takes a fifth of all time.
_WHOLE = {"csv": "{utc}::text || 'Z'", "ndjson": """to_char({utc}, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"""}
# Texts are of digits, dots and spaces; their spaces come as slashes. Without quotes it were null.
_TEXT = {
    "csv": """CASE {name} WHEN '' THEN '""' ELSE translate({name}, ' ', '/') END AS {name}""",
    "ndjson": "{name}",
}


class TooMany(Exception):
    """Two are reading samples already; the same request may succeed later."""


class Export:
    """Copies the samples of a device between two times; `count` is how many rows there are.

    Raises TooMany, or DatabaseUnavailable. `close` must be called.
    """

    def __init__(
        self, url: str, kind: Kind, device_id: str, start: datetime, end: datetime, format_: str
    ):
        where = _WHERE.format(kind=kind.name)
        columns = [_column(field, format_) for field in (Field("ts", "time"), *kind.fields)]
        csv = format_ == "csv"
        if not csv:
            columns.insert(0, "device_id")
        asked = {
            "url": url,
            "count": f"SELECT count(*) {where}",
            "copy": _COPY[format_].format(columns=", ".join(columns), where=where),
            "header": ",".join(kind.columns) if csv else "",
            "start": f"{device_id}," if csv else "",
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
                    yield lines + end
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


def _column(field: Field, format_: str) -> str:
    name = field.name
    if field.type == "time":
        utc = _UTC.format(name=name)
        return _TIME.format(name=name, utc=utc, whole=_WHOLE[format_].format(utc=utc))
    if field.type == "text":
        return _TEXT[format_].format(name=name)
    if name.endswith("_kwh"):
        # What is kept as a real has no digits beyond those of a real.
        return f"(round({name} * 1e6) / 1e6)::{field.sql_type} AS {name}"
    return name
