"""What a disk may hold after a power cut, made from the traced system calls of a running program.

Whatever was synced is there. Of what was not, any part may be: each 512-byte sector of each write,
each change of length, each new or removed name on its own. That is harsher than a journalling
file system, and what SQLite's documentation asks a spool to live with.
"""

import random
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
CALLS = "openat,write,pwrite64,fsync,fdatasync,ftruncate,unlink,rename,link"
CALL = re.compile(rb"^\d+ +(\w+)\((.*)\) += (-?\d+)")
TEXT = rb'"((?:\\x[0-9a-f]{2})*)"'
HANDLE = rb"\d+<((?:\\x[0-9a-f]{2})*)>"


@dataclass(frozen=True)
class Call:
    """One traced call: write(path, offset, data), truncate(path, length), sync, create, remove."""

    name: str
    path: str
    offset: int = 0
    data: bytes = b""


def trace(command: list[str], output: Path, cwd: Path) -> None:
    """Run a program under strace; raises CalledProcessError."""
    strace = ["strace", "-f", "-y", "-xx", "-s", "1000000", "-e", f"trace={CALLS}", "-o", output]
    subprocess.run([*strace, *command], check=True, cwd=cwd, stdout=subprocess.DEVNULL)


def read_trace(output: Path, folder: Path) -> Iterator[Call]:
    """The calls on files in the folder and on the folder, and what was said on stdout."""
    with output.open("rb") as lines:
        for line in lines:
            match = CALL.match(line)
            if match and int(match[3]) >= 0:
                call = _parse(match[1].decode(), match[2], int(match[3]))
                if call and (call.path.startswith(str(folder)) or call.name == "say"):
                    yield call


def _parse(name: str, arguments: bytes, result: int) -> Call | None:
    handle = re.match(HANDLE, arguments)
    path = _plain(handle[1]) if handle else ""
    texts = [_plain_bytes(text) for text in re.findall(TEXT, arguments)]
    if name == "write" and arguments.startswith(b"1<"):
        return Call("say", "", data=texts[0])
    if name == "pwrite64":
        return Call("write", path, int(arguments.rsplit(b",", 1)[1]), texts[0][:result])
    if name == "ftruncate":
        return Call("truncate", path, int(arguments.rsplit(b",", 1)[1]))
    if name in ("fsync", "fdatasync"):
        return Call("sync", path)
    if name == "openat" and b"O_CREAT" in arguments:
        return Call("create", texts[0].decode())
    if name == "unlink":
        return Call("remove", texts[0].decode())
    assert name in ("openat", "write"), f"the model does not know {name}"
    return None


def _plain_bytes(escaped: bytes) -> bytes:
    return bytes.fromhex(escaped.replace(b"\\x", b"").decode())


def _plain(escaped: bytes) -> str:
    return _plain_bytes(escaped).decode()


@dataclass
class File:
    """A file as far as it was synced, and what was done to it since."""

    synced: bytearray = field(default_factory=bytearray)
    since: list[Call] = field(default_factory=list)


class DiskModel:
    """The files of one folder; `cut` gives what may be left of them at this moment."""

    def __init__(self, folder: Path):
        self.folder = str(folder)
        self.files: dict[str, File] = {}  # as programs see it
        self.synced_names: dict[str, File] = {}

    def apply(self, call: Call) -> None:
        """Let one call happen."""
        if call.path == self.folder and call.name == "sync":
            self.synced_names = dict(self.files)
        elif call.path.endswith("-shm"):
            pass  # memory shared between processes: SQLite never trusts it after a crash
        elif call.name == "create":
            self.files.setdefault(call.path, File())
        elif call.name == "remove":
            self.files.pop(call.path, None)
        elif call.path in self.files:
            file = self.files[call.path]
            file.since.append(call)
            if call.name == "sync":
                for change in file.since:
                    _change(file.synced, change)
                file.since.clear()

    def cut(self, chance: random.Random) -> dict[str, bytes]:
        """File name -> content after a power cut now."""
        kept = chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))  # share of the unsynced that survives
        left = {}
        for path in {*self.files, *self.synced_names}:
            new, old = self.files.get(path), self.synced_names.get(path)
            file = new if new is old or chance.random() < kept else old
            if file is not None:
                left[Path(path).name] = _survivor(file, kept, chance)
        return left


def _change(content: bytearray, call: Call) -> None:
    if call.name == "truncate":
        _set_length(content, call.offset)
    elif call.name == "write":
        end = call.offset + len(call.data)
        _set_length(content, max(len(content), end))
        content[call.offset : end] = call.data


def _set_length(content: bytearray, length: int) -> None:
    del content[length:]
    content.extend(bytes(length - len(content)))


def _survivor(file: File, kept: float, chance: random.Random) -> bytes:
    content = bytearray(file.synced)
    for call in file.since:
        if call.name == "truncate" and chance.random() < kept:
            _change(content, call)
        for start in range(0, len(call.data), SECTOR):
            if chance.random() < kept:
                part = Call("write", call.path, call.offset + start, call.data[start:][:SECTOR])
                _change(content, part)
    return bytes(content)
