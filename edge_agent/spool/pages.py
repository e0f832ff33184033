"""Reads a SQLite file page by page without SQLite, so that one bad page hides no other.

The layout is https://sqlite.org/fileformat2.html: table leaves (13) carry rowid and record, index
leaves (10) a record only. Of a page the newest committed version counts: the one in the log.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE_SIZE = 1024
TABLE_LEAF, INDEX_LEAF = 13, 10
LONGEST = 2**20
LOG_HEADER, FRAME_HEADER = 32, 24

Record = tuple[int | None, list[Any]]  # rowid (None in an index) and the columns


class Pages:
    """The pages of a database file and its log, as they were last committed."""

    def __init__(self, path: Path):
        self._file = path.open("rb")
        header = self._file.read(18)
        size = int.from_bytes(header[16:18], "big")
        self.size = size if size >= 512 and size & (size - 1) == 0 else PAGE_SIZE
        self._log = _read(path.with_name(path.name + "-wal"))
        self._frames = committed_frames(self._log, self.size)
        in_file = self._file.seek(0, 2) // self.size
        most = in_file + len(self._frames)  # a damaged number must not send us on a long way
        self.count = max([in_file, *(number for number in self._frames if number <= most)])

    def page(self, number: int) -> bytes:
        """One page, counted from 1."""
        if number in self._frames:
            start = self._frames[number]
            return self._log[start : start + self.size]
        try:
            self._file.seek((number - 1) * self.size)
            return self._file.read(self.size)
        except OSError:  # a bad sector: that page is lost, the others are not
            return b""

    def records(self, number: int) -> Iterator[Record]:
        """Every record of a leaf page that can be decoded; nothing for other pages."""
        page = self.page(number)
        start = 100 if number == 1 else 0
        if len(page) < self.size or page[start] not in (TABLE_LEAF, INDEX_LEAF):
            return
        (cells,) = struct.unpack_from(">H", page, start + 3)
        for cell in range(min(cells, self.size // 4)):
            try:
                (offset,) = struct.unpack_from(">H", page, start + 8 + 2 * cell)
                yield self._record(page, offset, page[start] == TABLE_LEAF)
            except (IndexError, ValueError, struct.error):
                continue

    def _record(self, page: bytes, offset: int, in_table: bool) -> Record:
        """Decode the cell at an offset; raises ValueError or IndexError if it makes no sense."""
        size, offset = _varint(page, offset)
        rowid = None
        if in_table:
            rowid, offset = _varint(page, offset)
        if not 0 < size <= LONGEST:
            raise ValueError("no record of a spool")
        here = self._length_on_page(size, in_table)
        body = page[offset : offset + here]
        if here < size:
            body += self._overflow(page, offset + here, size - here)
        if len(body) < size:
            raise ValueError("cut off")
        return rowid, _columns(body)

    def _length_on_page(self, size: int, in_table: bool) -> int:
        most = self.size - 35 if in_table else (self.size - 12) * 64 // 255 - 23
        if size <= most:
            return size
        least = (self.size - 12) * 32 // 255 - 23
        some = least + (size - least) % (self.size - 4)
        return some if some <= most else least

    def _overflow(self, page: bytes, offset: int, size: int) -> bytes:
        """The rest of a long record, from the chain of pages that begins at an offset."""
        rest = b""
        (number,) = struct.unpack_from(">I", page, offset)
        while number and len(rest) < size:
            page = self.page(number)
            (number,) = struct.unpack_from(">I", page)
            rest += page[4:]
        return rest[:size]

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def committed_frames(log: bytes, page_size: int) -> dict[int, int]:
    """Page number -> where its newest committed version starts in the log.

    Only the salt decides whether a frame belongs: one damaged frame must not hide those after it.
    """
    committed: dict[int, int] = {}
    pending: dict[int, int] = {}
    for start, number, commits in _frames(log, page_size):
        pending[number] = start + FRAME_HEADER
        if commits:
            committed |= pending
            pending = {}
    return committed


def is_log_damaged(path: Path) -> bool:
    """Whether SQLite would drop commits from this log that had been synced.

    It stops reading at the first wrong checksum. That is right for the one commit that a power
    cut ends; if another one follows, the damage came later.
    """
    log = _read(path)
    if len(log) < LOG_HEADER:
        return False
    order = ">" if log[3] & 1 else "<"
    page_size = int.from_bytes(log[8:12], "big")
    sums, end, commits_after = _sums(log[:24], order, (0, 0)), LOG_HEADER, 0
    for start, _, commits in _frames(log, page_size):
        if start == end:
            page = log[start + FRAME_HEADER : start + FRAME_HEADER + page_size]
            sums = _sums(log[start : start + 8] + page, order, sums)
            if struct.pack(">II", *sums) == log[start + 16 : start + 24]:
                end = start + FRAME_HEADER + page_size
                continue
        commits_after += commits
    return commits_after > 1


def _frames(log: bytes, page_size: int) -> Iterator[tuple[int, int, bool]]:
    """Offset, page number and whether it ends a commit, of each frame since the last restart."""
    length = FRAME_HEADER + page_size
    for start in range(LOG_HEADER, len(log) - length + 1, length):
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
    header_size, at = _varint(record, 0)
    data, columns = header_size, []
    while at < header_size:
        kind, at = _varint(record, at)
        value, length = _value(kind, record, data)
        columns.append(value)
        data += length
    if data > len(record):
        raise ValueError("longer than its cell")
    return columns


def _value(kind: int, body: bytes, start: int) -> tuple[Any, int]:
    """A column of a serial type, and how many bytes it takes."""
    if kind in (0, 8, 9):
        return {0: None, 8: 0, 9: 1}[kind], 0
    if kind <= 6:
        length = (1, 2, 3, 4, 6, 8)[kind - 1]
        return int.from_bytes(body[start : start + length], "big", signed=True), length
    if kind == 7:
        return struct.unpack_from(">d", body, start)[0], 8
    if kind < 12:
        raise ValueError("reserved")
    length = (kind - 12) // 2
    raw = body[start : start + length]
    return raw if kind % 2 == 0 else raw.decode(errors="replace"), length
