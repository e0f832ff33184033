"""Many agents at once against other stacks: what a sample costs them, and how many they take."""

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import Row, _stacks
from benchmarks._load import inverter_sample, seconds_now, send_all
from benchmarks._stacks import Stack

NAME = "Ingest from a fleet, CPU of all server processes"
CONNECTIONS = 16
DEVICES = [f"inverter-{number}" for number in range(640)]  # none comes near the limit of requests
TOKENS = ",".join(f"secret-of-{device}:{device}" for device in DEVICES)
GOALS = {"InfluxDB": (4, 3), "FastAPI + asyncpg": (0.95, 0.75)}  # CPU: the most, and the aim


@dataclass
class Laps:
    """What each round took of a stack: seconds, and processor time by part."""

    samples: int
    seconds: list[float] = field(default_factory=list)
    cpu_s: list[dict[str, float]] = field(default_factory=list)

    @property
    def sample_cost_us(self) -> list[float]:
        """Processor time per sample of each round."""
        return [sum(parts.values()) / self.samples * 1e6 for parts in self.cpu_s]

    @property
    def rate(self) -> float:
        """Samples per second, the median."""
        return self.samples / statistics.median(self.seconds)

    def told(self) -> str:
        """The medians, for a note."""
        parts = {
            part: statistics.median(one[part] for one in self.cpu_s) / self.samples * 1e6
            for part in self.cpu_s[0]
        }
        split = " + ".join(f"{part} {cost_us:.0f}" for part, cost_us in parts.items())
        return f"{statistics.median(self.sample_cost_us):.0f} us a sample ({split})"


def run(rounds: int, before: Path | None = None) -> list[Row]:
    """Batches of 12 and of 500; against the version before as well, if there is its checkout."""
    with ExitStack() as stack:
        ours, _ = stack.enter_context(_stacks.ours(TOKENS))
        others = []
        if before:
            others.append(
                stack.enter_context(_stacks.ours(TOKENS, before, "the version before"))[0]
            )
        others.append(stack.enter_context(_stacks.fastapi(TOKENS)))
        influxdb = stack.enter_context(_stacks.influxdb())
        if influxdb:
            others.append(influxdb)
        else:
            print("skipped: InfluxDB (Debian's package influxdb is not there)")
        small = _measure(rounds, [ours, *others], live, 12)
        large = _measure(rounds, [ours, *others], _backlog, 500)
        rows = [row for other in others for row in _compare(small, ours, other, "12", True)]
        rows += [row for other in others for row in _compare(large, ours, other, "500", False)]
        return rows


def live(stack: Stack, first: int) -> list[list[bytes]]:
    """One batch of 12 of every device."""
    return _lanes(stack, DEVICES, first, 12)


def _backlog(stack: Stack, first: int) -> list[list[bytes]]:
    """A batch of 500 of some devices, of an outage."""
    return _lanes(stack, DEVICES[:48], first - 86_400, 500)


def _lanes(stack: Stack, devices: Sequence[str], first: int, size: int) -> list[list[bytes]]:
    requests = [
        stack.request(
            f"secret-of-{device}",
            [inverter_sample(device, second) for second in range(first, first + size)],
        )
        for device in devices
    ]
    return [requests[number::CONNECTIONS] for number in range(CONNECTIONS)]


def _measure(
    rounds: int,
    stacks: Sequence[Stack],
    make: Callable[[Stack, int], list[list[bytes]]],
    batch: int,
) -> dict[str, Laps]:
    laps: dict[str, Laps] = {}
    begin = seconds_now()
    for number in range(rounds + 1):
        for stack in stacks:
            lanes = make(stack, begin + batch * (number - rounds))
            before, start = stack.cpu_s(), time.perf_counter()
            send_all(stack.url, lanes)
            elapsed, after = time.perf_counter() - start, stack.cpu_s()
            if number:
                each = laps.setdefault(stack.name, Laps(batch * sum(map(len, lanes))))
                each.seconds.append(elapsed)
                each.cpu_s.append({part: after[part] - before[part] for part in after})
    return laps


def _compare(
    laps: dict[str, Laps], ours: Stack, other: Stack, batch: str, judged: bool
) -> list[Row]:
    """CPU per sample and samples a second as parts of the other's."""
    our, their = laps[ours.name], laps[other.name]
    costs = sorted(a / b for a, b in zip(our.sample_cost_us, their.sample_cost_us, strict=True))
    rates = sorted(b / a for a, b in zip(our.seconds, their.seconds, strict=True))
    cost, rate = statistics.median(costs), statistics.median(rates)
    most, aim = next((g for name, g in GOALS.items() if name in other.name), (1, 1))
    target, met = (f"<= {most} x, aim {aim} x", cost <= most) if judged else ("told", True)
    what = f"batches of {batch}, {CONNECTIONS} connections"
    note = f"{our.told()}; {other.name} {their.told()}"
    speeds = f"{our.rate:.0f} samples/s, {other.name} {their.rate:.0f}; load on the same cores"
    return [
        Row(f"CPU per sample, {what}", other.name, cost, costs[0], costs[-1], target, met, note),
        Row(f"samples/s, {what}", other.name, rate, rates[0], rates[-1], "told", True, speeds),
    ]
