"""Reads a SQLite file page by page without SQLite, so that one bad page hides no other.

The layout is https://sqlite.org/fileformat2.html: table leaves (13) carry rowid and record, index
leaves (10) a record only. Of a page the newest committed version counts: the one in the log.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

PAGE_BYTES = 1024  # of every spool; with 4096 thrice as much is written, which wears out a card
TABLE_LEAF, INDEX_LEAF = 13, 10
LONGEST_BYTES = 2**20
LOG_HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24
FRAME_BYTES = FRAME_HEADER_BYTES + PAGE_BYTES
LENGTHS = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)  # of a column, by its serial type

Record = tuple[int | None, list[Any]]  # rowid (None in an index) and the columns


class Pages:
    """The pages of a database file and its log, as they were last committed."""

    def __init__(self, path: Path):
        self._file = path.open("rb")
        self._log = _read(path.with_name(path.name + "-wal"))
        self._in_log: dict[int, int] = {}  # page -> where its newest version starts in the log
        pending: dict[int, int] = {}
        # One damaged frame must not hide those after it, so checksums do not count here.
        for start, number, commits in _frames(self._log):
            pending[number] = start + FRAME_HEADER_BYTES
            if commits:
                self._in_log |= pending
                pending = {}

    def numbers(self) -> Iterator[int]:
        """The number of every page, those that are only in the log at the end."""
        in_file = self._file.seek(0, 2) // PAGE_BYTES
        yield from range(1, in_file + 1)
        yield from sorted(number for number in self._in_log if number > in_file)

    def _page(self, number: int) -> bytes:
        """One page, counted from 1; nothing where a bad sector is."""
        if start := self._in_log.get(number):
            return self._log[start : start + PAGE_BYTES]
        with suppress(OSError):
            self._file.seek((number - 1) * PAGE_BYTES)
            return self._file.read(PAGE_BYTES)
        return b""

    def records(self, number: int) -> Iterator[Record]:
        """Every record of a leaf page that can be decoded; nothing for other pages."""
        page = self._page(number)
        start = 100 if number == 1 else 0
        if len(page) < PAGE_BYTES or page[start] not in (TABLE_LEAF, INDEX_LEAF):
            return
        (cells,) = struct.unpack_from(">H", page, start + 3)
        for cell in range(min(cells, PAGE_BYTES // 4)):
            with suppress(IndexError, ValueError, struct.error):
                (offset,) = struct.unpack_from(">H", page, start + 8 + 2 * cell)
                size, offset = _varint(page, offset)
                rowid = None
                if page[start] == TABLE_LEAF:
                    rowid, offset = _varint(page, offset)
                yield rowid, _columns(self._record(page, offset, size))

    def _record(self, page: bytes, offset: int, size: int) -> bytes:
        """The bytes of a record; raises ValueError if it is none of a spool or cut off."""
        if not 0 < size <= LONGEST_BYTES:
            raise ValueError("no record of a spool")
        here = _bytes_on_page(size)
        body = page[offset : offset + here]
        (number,) = struct.unpack_from(">I", page, offset + here) if here < size else (0,)
        while number and len(body) < size:  # the rest of a long record is a chain of pages
            rest = self._page(number)
            (number,) = struct.unpack_from(">I", rest)
            body += rest[4:]
        if len(body) < size:
            raise ValueError("cut off")
        return body[:size]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _bytes_on_page(size: int) -> int:
    """How much of a record lies on its leaf, in a table; in an index of a spool all are short."""
    most, least = PAGE_BYTES - 35, (PAGE_BYTES - 12) * 32 // 255 - 23
    if size <= most:
        return size
    some = least + (size - least) % (PAGE_BYTES - 4)
    return some if some <= most else least


def is_log_damaged(path: Path) -> bool:
    """Whether SQLite would drop commits from this log that had been synced.

    It stops reading at the first wrong checksum. That is right for the one commit that a power
    cut ends; if another one follows, the damage came later.
    """
    log = _read(path)
    if len(log) < LOG_HEADER_BYTES:
        return False
    order = ">" if log[3] & 1 else "<"
    sums, end, commits_after = _sums(log[:24], order, (0, 0)), LOG_HEADER_BYTES, 0
    for start, _, commits in _frames(log):
        if start == end:
            page = log[start + FRAME_HEADER_BYTES : start + FRAME_BYTES]
            sums = _sums(log[start : start + 8] + page, order, sums)
            if struct.pack(">II", *sums) == log[start + 16 : start + 24]:
                end = start + FRAME_BYTES
                continue
        commits_after += commits
    return commits_after > 1


def _frames(log: bytes) -> Iterator[tuple[int, int, bool]]:
    """Offset, page number and whether it ends a commit, of each frame since the last restart."""
    for start in range(LOG_HEADER_BYTES, len(log) - FRAME_BYTES + 1, FRAME_BYTES):
        number, size_after_commit = struct.unpack_from(">II", log, start)
        if log[start + 8 : start + 16] == log[16:24] and number:
            yield start, number, size_after_commit > 0


def _sums(data: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    """SQLite's running checksum of the log."""
    first, second = sums
    for one, two in struct.iter_unpack(f"{order}II", data):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + two + first) & 0xFFFFFFFF
    return first, second


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _varint(page: bytes, offset: int) -> tuple[int, int]:
    value = 0
    for index in range(9):
        byte = page[offset + index]
        value = value << 8 | byte if index == 8 else value << 7 | byte & 0x7F
        if byte < 0x80 or index == 8:
            break
    return value - 2**64 if value >= 2**63 else value, offset + index + 1


def _columns(record: bytes) -> list[Any]:
    data, at = _varint(record, 0)
    header_end, columns = data, []
    while at < header_end:
        kind, at = _varint(record, at)
        length = (kind - 12) // 2 if kind >= 12 else LENGTHS[kind]
        columns.append(_value(kind, record[data : data + length]))
        data += length
    if data > len(record):
        raise ValueError("longer than its cell")
    return columns


def _value(kind: int, raw: bytes) -> Any:
    """A column of a serial type."""
    if kind >= 12:
        return raw.decode(errors="replace") if kind % 2 else raw
    if kind == 7:
        return struct.unpack(">d", raw)[0]
    return {0: None, 8: 0, 9: 1}.get(kind, int.from_bytes(raw, "big", signed=True))
