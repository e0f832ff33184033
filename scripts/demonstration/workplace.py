"""The folder a demo works in: temporary, and gone afterwards however the demo ends."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers import open_folder, run

# It outlives a demo that is killed: the kernel ends the servers then, and this removes the folder
# once PostgreSQL, the slowest of them, has left it.
JANITOR = """
read -r all_in_order && exit
for _ in 1 2 3 4 5 6 7 8 9 10; do
    sleep 1
    [ -e "$1/postgres/data/postmaster.pid" ] || break
done
rm -rf "$1"
"""


class KeepRefused(Exception):
    """The folder for the data holds something else, or can not be written."""


@contextmanager
def workplace(keep: Path | None) -> Iterator[Path]:
    """A folder for one demo; it goes on with the data in `keep`, and leaves its own there."""
    with open_folder("sunspool-demo-") as folder, _janitor(folder):
        if keep:
            _fetch(keep, folder)
        try:
            yield folder
        finally:
            if keep:
                _store(folder, keep)


@contextmanager
def _janitor(folder: Path) -> Iterator[None]:
    command = ["sh", "-c", JANITOR, "janitor", str(folder)]
    janitor = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        janitor.communicate(b"yes\n")


def _fetch(keep: Path, folder: Path) -> None:
    try:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            if not (keep / "postgres").is_dir():
                raise KeepRefused(f"{keep} is not empty and holds no data of an earlier demo")
            run(["cp", "-a", f"{keep}/.", folder])
            folder.chmod(0o711)
    except OSError as error:
        raise KeepRefused(f"{keep} can not be used: {error.strerror}") from error


def _store(folder: Path, keep: Path) -> None:
    """Copy what the demo made; cp keeps PostgreSQL's files its user's."""
    for part in folder.iterdir():
        old = keep / part.name
        if old.is_dir():
            shutil.rmtree(old)
        run(["cp", "-a", part, keep])
