"""After a power cut at any moment every reading that was confirmed to the caller is there."""

import random
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edge_agent.spool.queue import Spool
from tests.support.power_cut import Call, DiskModel, read_trace, trace

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
READINGS = 900


@dataclass
class Ledger:
    """What the program was told up to a moment."""

    begun: set[int] = field(default_factory=set)
    stored: set[int] = field(default_factory=set)
    ending: set[int] = field(default_factory=set)
    ended: set[int] = field(default_factory=set)

    def hear(self, line: str) -> None:
        """Note one line of the program."""
        word, *numbers = line.split()
        book = {"begin": self.begun, "stored": self.stored, "end": self.ending, "ended": self.ended}
        book[word].update(map(int, numbers))


@dataclass
class Score:
    """The sum over many power cuts."""

    states: int = 0
    confirmed: int = 0
    lost: int = 0
    risen: int = 0  # confirmed by the server, deleted, and there again
    twice: int = 0
    invented: int = 0
    replaced: int = 0  # the file had to be set aside


def score_cuts(calls: list[Call], folder: Path, states: int, seed: int) -> Score:
    """Cut the power at random moments and look for every reading."""
    chance = random.Random(seed)
    moments = sorted(chance.choices(range(len(calls)), k=states))
    model, ledger, score = DiskModel(folder), Ledger(), Score()
    for moment, call in enumerate(calls):
        if call.name == "say":
            ledger.hear(call.data.decode())
        else:
            model.apply(call)
        while moments and moments[0] == moment:
            moments.pop(0)
            look(model.cut(chance), ledger, score, folder.with_name("cut"), chance)
    return score


def look(
    left: dict[str, bytes], ledger: Ledger, score: Score, folder: Path, chance: random.Random
) -> None:
    """Open what is left and compare it with what had been said."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in left.items():
        (folder / name).write_bytes(content)
    if "spool.db-wal" in left and chance.random() < 0.5:
        (folder / "spool.db-shm").write_bytes(chance.randbytes(32768))
    spool = Spool(folder / "spool.db")
    status = spool.status()
    found = [entry.sample for entry in spool.peek(READINGS)]
    found += [entry["sample"] for entry in status["rejected"]]
    spool.close()
    numbers = {sample["pv_power_w"] for sample in found if isinstance(sample, dict)}
    assert len(found) == status["pending"] + status["set_aside"]
    score.states += 1
    score.confirmed += len(ledger.stored - ledger.ending)
    score.lost += len(ledger.stored - ledger.ending - numbers)
    score.risen += len(ledger.ended & numbers)
    score.twice += len(found) - len(numbers)
    score.invented += len(numbers - ledger.begun)
    score.replaced += any(
        ".corrupt" in path.name or ".salv" in path.name for path in folder.iterdir()
    )


def cut_power(tmp_path: Path, synchronous: str, states: int) -> Score:
    """Trace a spool at work and cut its power again and again."""
    if not shutil.which("strace"):
        pytest.skip("strace is missing: apt-get install strace")
    if subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode:
        pytest.skip("strace may not trace here")
    folder, output = tmp_path / "spool", tmp_path / "trace"
    folder.mkdir()
    # -B: Python's own caches are none of the spool's files.
    program = [sys.executable, "-B", "-m", "tests.support.power_cut_writer"]
    trace([*program, folder / "spool.db", synchronous, str(READINGS)], output, ROOT)
    calls = list(read_trace(output, folder))
    assert sum(call.data.startswith(b"stored") for call in calls) == READINGS
    return score_cuts(calls, folder, states, seed=states)


@pytest.mark.parametrize("states", [120, pytest.param(600, marks=pytest.mark.full)])
def test_no_confirmed_reading_is_lost(tmp_path, states, capsys):
    score = cut_power(tmp_path, "FULL", states)
    with capsys.disabled():
        print(f"\npower cut, synchronous=FULL: {score}")
    assert score.states == states
    assert score.confirmed > 10 * states
    assert (score.lost, score.risen, score.twice) == (0, 0, 0)
    assert (score.invented, score.replaced) == (0, 0)


def test_the_same_without_syncing_loses_readings(tmp_path, capsys):
    score = cut_power(tmp_path, "NORMAL", 60)
    with capsys.disabled():
        print(f"\npower cut, synchronous=NORMAL: {score}")
    assert score.lost > 0
    assert score.invented == 0
