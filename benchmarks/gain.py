"""A year of history on PostgreSQL alone, against the version before, which reads its samples."""

from pathlib import Path

from benchmarks import Row, interleave, series

NAME = "A year of history, against the version before"
MONTHS = 12
STEP_S = 60  # a year of a sample every 5 s takes the other version longer than its server waits
GAIN = 100


def run(rounds: int, before: Path | None = None) -> list[Row]:
    """The year of an inverter, in turn; nothing without the other version."""
    if before is None:
        return []
    path = series.paths()["year"]
    with (
        series.filled(None, MONTHS, step_s=STEP_S) as new,
        series.filled(None, MONTHS, before, STEP_S) as old,
    ):
        laps = interleave(rounds, {"new": lambda: new.get(path), "old": lambda: old.get(path)})
    ratio, low, high = laps.ratios("new", "old")
    return [
        Row(
            what=f"year, PostgreSQL, {MONTHS} months",
            against="the version before",
            ratio=ratio,
            low=low,
            high=high,
            target=f">= {GAIN} x",
            met=ratio >= GAIN,
            note=f"{laps.median('new') * 1000:.1f} ms, before {laps.median('old') * 1000:.0f} ms",
        )
    ]
