"""The fold over kept spans against the fold over single readings, on random histories."""

import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import psycopg2
import pytest

from api_server.data.counters import BROKEN, LOOSE, SETTLED, STEADY, Fold, Rule, Span
from tests.support import energy_reference as reference
from tests.support.energy_reference import Reading

pytestmark = pytest.mark.slow

START = datetime(2025, 1, 1, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def make_readings(chance: random.Random, kind: str) -> list[Reading]:
    """What counters do: dips, jumps, swaps, gaps, slow registers, single false readings."""
    tick = reference.LIMITS[kind][1]
    pace = chance.choice((5, 30, 60, 60, 300, 900, 1800))
    at, kwh = START + timedelta(seconds=chance.uniform(0, 900)), chance.choice((0, 0.3, 4, 9876.5))
    digits, speeds, offset, speed = chance.choice((1, 3)), (0, 0, 0.2, 1, 4, 20, 45), 0.0, 1.0
    made = []
    for _ in range(chance.randint(5, 400)):
        passed = pace * chance.uniform(0.7, 1.3)
        if chance.random() < 0.02:
            passed += chance.choice((900, 3600, 10_000, 86_400 * 3))
        if chance.random() < 0.05:
            speed = chance.choice(speeds)
        at += timedelta(seconds=passed)
        kwh += speed * passed / 3600 * chance.choice((1, 1, 0))
        if chance.random() < 0.02:
            offset += chance.choice((-tick, -tick, tick, -1, 1, -5, 5, 30, -0.05 * kwh))
        if chance.random() < 0.007:
            kwh, offset = chance.choice((0, 0.4, 3, kwh * 0.5, kwh + 100, kwh * 0.95)), 0.0
        told = kwh + offset
        if chance.random() < 0.03:
            told += chance.choice((-tick, -tick, -1, -0.2, 7, 200, -told))
        made.append((at, max(0.0, round(told, digits))))
    return made


def parts_of(parts: Any) -> Iterable[Span]:
    """The single readings or the narrower spans that a span was made of."""
    return parts[1] if parts[0] == "spans" else [Span(k, t, k, t, STEADY) for t, k in parts[1]]


def walk(rule: Rule, readings: list[Reading]) -> Span:
    """The span of a quarter, as the database makes it."""
    base, state = readings[0], STEADY
    for reading in readings[1:]:
        if rule.follows(base[1], base[0], reading[1], reading[0]):
            base, state = reading, SETTLED if state else STEADY
        else:
            state = LOOSE
    return Span(readings[0][1], readings[0][0], base[1], base[0], state, ("readings", readings))


def join(rule: Rule, spans: list[Span]) -> Span:
    """Spans joined to a wider one, as the database does it."""
    first, last, state = spans[0], spans[0], spans[0].state
    for span in spans[1:]:
        if BROKEN in (state, span.state) or not rule.follows(
            last.last_kwh, last.last_ts, span.first_kwh, span.first_ts
        ):
            state = BROKEN
        else:
            state = span.state if state == STEADY else max(span.state, SETTLED)
        last = span
    made_of = ("spans", spans)
    return Span(first.first_kwh, first.first_ts, last.last_kwh, last.last_ts, state, made_of)


def group(items: list, key: Callable[[Any], datetime], width: timedelta) -> list[list]:
    """Items by the part of time that they lie in."""
    return [list(found) for _, found in groupby(items, lambda item: (key(item) - START) // width)]


@pytest.mark.parametrize("seed", [1, 2, pytest.param(3, marks=pytest.mark.full)])
def test_spans_of_any_width_say_what_readings_say(seed: int) -> None:
    """Quarters, hours, days and all in one, in every quarter, hour and day."""
    chance = random.Random(seed)
    for number in range(3000 if seed == 3 else 150):
        kind = chance.choice(("sungrow", "p1"))
        rule, readings = Rule(*reference.LIMITS[kind]), make_readings(chance, kind)
        true = reference.fold(kind, readings)
        spans = [walk(rule, part) for part in group(readings, lambda one: one[0], QUARTER)]
        width = QUARTER
        for wider in (4 * QUARTER, 96 * QUARTER, 10_000 * QUARTER):
            assert_same(rule, spans, true, width, (seed, number))
            spans = [join(rule, part) for part in group(spans, lambda one: one.first_ts, wider)]
            width = wider
        assert_same(rule, spans, true, width, (seed, number))


def assert_same(
    rule: Rule, spans: list[Span], true: list[Reading], width: timedelta, case: Any
) -> None:
    """Compare every part of time of a width."""
    fold = Fold(rule, parts_of)
    for span in spans:
        fold.feed(span)
    start = START
    while start < true[-1][0] + QUARTER:
        told = fold.line.energy(start, start + width)
        energy = reference.energy(true, start, start + width)
        assert told == (energy if energy is None else pytest.approx(energy, abs=2e-6)), case
        start += width


def test_the_database_makes_the_same_spans(migrated: str) -> None:
    """Of readings in any order, with nulls between them."""
    chance = random.Random(4)
    with psycopg2.connect(migrated) as connection, connection.cursor() as cursor:
        for _ in range(30):
            kind = chance.choice(("sungrow", "p1"))
            rule, readings = Rule(*reference.LIMITS[kind]), make_readings(chance, kind)
            quarters = group(readings, lambda one: one[0], QUARTER)
            spans = [walk(rule, part) for part in quarters]
            rows = [
                (START + (part[0][0] - START) // QUARTER * QUARTER, *one)
                for part in quarters
                for one in part
            ]
            rows += [(row[0], row[1] + timedelta(milliseconds=1), None) for row in rows[::7]]
            chance.shuffle(rows)
            columns = [list(column) for column in zip(*rows, strict=True)]
            limits = reference.LIMITS[kind]
            cursor.execute(_SPANS, (*limits, *columns))
            told = cursor.fetchall()
            assert [row[:5] for row in told] == [
                # Rising without a doubt is not told from rising past what is disproved.
                (*span[:4], row[4])
                for span, row in zip(spans, told, strict=True)
            ]
            for span, row in zip(spans, told, strict=True):
                assert row[4] == span.state or {row[4], span.state} == {STEADY, SETTLED}
                assert row[4] != STEADY or span.state == STEADY
            whole = join(rule, spans)
            cursor.execute(_JOINED, (*limits, *limits, *columns))
            assert (cursor.fetchone()[0] == BROKEN) == (whole.state == BROKEN)
    connection.close()


_SPANS = """
SELECT (span).first_kwh, (span).first_ts, (span).last_kwh, (span).last_ts, (span).state FROM (
    SELECT quarter, counter_quarter(
        array_agg(ts), array_agg(kwh), min(kwh), max(kwh), min(ts), max(ts), %s, %s
    ) AS span FROM unnest(%s, %s, %s::double precision[]) AS reading (quarter, ts, kwh)
    GROUP BY quarter ORDER BY quarter
) AS quarters
"""
_JOINED = """
SELECT (counter_sum(span, %s, %s ORDER BY quarter)).state FROM (
    SELECT quarter, counter_quarter(
        array_agg(ts), array_agg(kwh), min(kwh), max(kwh), min(ts), max(ts), %s, %s
    ) AS span FROM unnest(%s, %s, %s::double precision[]) AS reading (quarter, ts, kwh)
    GROUP BY quarter
) AS quarters
"""
