"""The quick way to read a batch against the careful one: what it takes, that one reads alike."""

import json
import random
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from api_server.data.agents import checked, parse
from api_server.web.batches import readers
from api_server.web.decoding import decode
from edge_agent.shared.samples import KINDS, P1, Field, Kind, format_time
from tests.support.client import INVERTER, Client

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)
NUMBERS = [
    "-0",
    "0",
    "0.0",
    "-0.0",
    "1e2",
    "1E+2",
    "5.0",
    "5e0",
    "2.5",
    "3.5",
    "01",
    "1.",
    ".5",
    "-",
    "1e400",
    "-1e400",
    "1e-400",
    "NaN",
    "Infinity",
]
NUMBERS += ["9" * 30, "1" + "0" * 400, "63.40000000000000000000001", "0.1e1", "1e22", "8.5e-5"]
OTHERS = [
    "null",
    "true",
    '""',
    '"1"',
    "[]",
    "{}",
    '"x\\u0001"',
    '"\\ud800"',
    '"\\u0000"',
    '"13049.30 13065.14"',
    '"d\\u0065v"',
]
TIMES = [
    "2026-11-21T13:59:60Z",
    "2026-11-21T13:00:00.1234567Z",
    "2026-11-21t13:00:00z",
    "2026-11-21T15:00:00+02:00",
    "2026-02-30T00:00:00Z",
    "2019-12-31T23:59:59Z",
    "2026-11-21T14:05:01Z",
    "2026-11-21T14:05:00Z",
    "2020-01-01T00:00:00Z",
    "2026-11-21T24:00:00Z",
    "2026-11-21T13:00:00",
    "2026-11-21T13:00:00Z\\n",
    "2026-11-21T13:00:00Z\\n2026-11-21T13:00:00Z",
    "infinity",
]
TIMES += ["", "2026-11-21 13:00:00Z"]
EXTRA = ["\x01", "\xa0", "\t", " ", ",", "}", '"', "\\", "é", "\0"]


def usual(kind: Kind, chance: random.Random, number: int) -> dict:
    """An ordinary sample, with or without its optional fields."""
    sample = {"device_id": "dev", "ts": format_time(NOW - timedelta(seconds=number))}
    for field in kind.fields:
        if field.required or chance.random() < 0.7:
            sample[field.name] = value(field, chance)
    if kind is P1:
        sample["import_power_w"] = max(sample["power_w"], 0)
    return sample


def value(field: Field, chance: random.Random) -> object:
    """Something that a field takes."""
    if field.nullable and field.default is None and chance.random() < 0.2:
        return None
    if field.type == "text":
        return chance.choice(["", "13049.30 13065.14"])
    if field.type == "time":
        return "2026-11-20T17:30:00Z"
    if field.type == "int" or chance.random() < 0.3:
        return chance.randint(int(field.low), int(field.high))
    return chance.choice([round, lambda x, _: x])(chance.uniform(field.low, field.high), 3)


def spoiled(kind: Kind, samples: list[dict], chance: random.Random) -> str:
    """The body with one thing about it changed, often for the worse."""
    sample = chance.choice(samples)
    field = chance.choice(["device_id", "ts", "firmware", *(field.name for field in kind.fields)])
    how = chance.random()
    if how < 0.1:
        sample.pop(field, None)
    elif how < 0.75:
        texts = [f'"{time}"' for time in TIMES] if field.endswith("ts") else OTHERS
        sample[field] = "@@"
        new = chance.choice(NUMBERS + texts)
        return json.dumps({"samples": samples}).replace('"@@"', new)
    elif how < 0.85:
        new = chance.choice(NUMBERS + OTHERS)
        return json.dumps({"samples": samples})[:-1] + f', "agent": {new}}}'
    text = json.dumps({"samples": samples})
    at = chance.randrange(len(text))
    return text[:at] + chance.choice([chance.choice(EXTRA), text[at : at + 9]]) + text[at + 1 :]


def careful(kind: Kind, body: bytes, keep_days: int | None) -> tuple[dict, object] | None:
    """The columns as the contract reads them, and the report; None if anything is wrong."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        content = json.loads(body.decode(), parse_constant=refuse)
        columns, problems = decode(kind, content["samples"], NOW, keep_days)
    except (ValueError, TypeError, KeyError):
        return None
    if problems or set(columns["device_id"]) != {"dev"}:
        return None
    return columns, checked(content.get("agent"))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("keep_days", [None, 40])
def test_what_the_quick_way_takes_is_what_the_careful_one_reads(kind, keep_days):
    chance, reader = random.Random(19), readers()[kind.name]
    taken = refused = 0
    for number in range(4000):
        samples = [usual(kind, chance, chance.randrange(10**7)) for _ in range(1 + number % 4)]
        body = spoiled(kind, samples, chance).encode("utf-8", "surrogatepass")
        read, expected = reader.read(body, "dev", NOW, keep_days), careful(kind, body, keep_days)
        if read is None:
            refused += expected is None
            continue
        assert expected is not None, body
        assert read[0] == expected[0], body
        assert checked(read[1]) == expected[1], body
        taken += 1
    assert taken > 100
    assert refused > 1000


def test_a_report_is_read_quickly_as_it_is_carefully():
    values = ["0", "1", "12.0", "12.7", "0.1", "0.09", "-0.0", "-1", "true", "null", "[]", "{}"]
    values += ["9007199254740992", "9007199254740993", "1e300", "9" * 30, "86400.5", '""', '"x"']
    values += [
        r'"a\u0000b"',
        r'"\ud800"',
        '"é"',
        f'"{"a" * 600}"',
        '"2026-11-20T10:00:00.50+01:00"',
    ]
    names = ["version", "poll_interval_s", "uptime_s", "spool_count", "oldest_ts", "lost"]
    for name in [*names, "clock_warning", "last_error", "peaks", "unheard_of"]:
        for value in values:
            text = f'{{"dropped": 3, "{name}": {value}}}'
            quick, careful = checked(parse(text.encode())), checked(json.loads(text))
            assert json.dumps(structs.asdict(quick), default=str) == json.dumps(
                structs.asdict(careful), default=str
            )


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_ordinary_batch_goes_the_quick_way(kind):
    chance, reader = random.Random(5), readers()[kind.name]
    for number in range(1000):
        samples = [usual(kind, chance, chance.randrange(10**7)) for _ in range(1 + number % 12)]
        report = {"version": "1", "peaks": [{"month": "2026-10", "w": 4928}], "lost": number}
        body = json.dumps({"samples": samples, "agent": report}).encode()
        read = reader.read(body, "dev", NOW, None)
        assert (read[0], checked(read[1])) == (decode(kind, samples, NOW)[0], checked(report))
        assert reader.read(body, "other", NOW, None) is None


def test_both_ways_answer_alike(roof):
    quick = roof.post({**INVERTER, "ts": "2026-06-20T10:00:00Z"})
    long = roof.post({**INVERTER, "ts": "2026-06-20T10:00:01Z", "unknown": 1})
    assert quick.json == long.json == {"inserted": 1, "received": 1, "duplicates": 0}
    assert quick.text == long.text
    assert set(quick.headers.keys()) == set(long.headers.keys())
    assert quick.headers["Content-Type"] == long.headers["Content-Type"]


def test_both_ways_count_against_one_limit_and_in_one_metric(shared_api):
    client = Client(shared_api.url)
    counted = 'sunspool_http_requests_total{method="POST",route="/v1/ingest",status="200"}'

    def count() -> float:
        lines = client.ask("GET", "/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(counted))

    before = count()
    client.post({**INVERTER, "ts": "2026-06-20T11:00:00Z"})
    client.post({**INVERTER, "ts": "2026-06-20T11:00:00Z", "unknown": 1})
    assert count() == before + 2
