"""The contract of fields: what is accepted, what is refused and why."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from api_server.web.decoding import decode
from edge_agent.shared.samples import KINDS, P1, SUNGROW, format_time, parse_time

NOW = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)
INVERTER = {
    "device_id": "inverter-1",
    "ts": "2026-11-21T14:00:00Z",
    "pv_power_w": 4415,
    "battery_power_w": 1620.0,
    "battery_soc_pct": 63.4,
    "load_power_w": 583.0,
    "export_power_w": None,
}
METER = {
    "device_id": "meter-1",
    "ts": "2026-11-21T14:00:00Z",
    "power_w": -543,
    "import_power_w": 0,
}


def one(kind, **changes):
    """Decode one sample with changes; `...` removes a key. Returns its values and problems."""
    base = INVERTER if kind is SUNGROW else METER
    sample = {name: value for name, value in {**base, **changes}.items() if value is not ...}
    columns, problems = decode(kind, [sample], NOW)
    return {name: values[0] for name, values in columns.items()}, problems


def test_a_full_sample_keeps_its_values_and_unknown_fields_are_ignored():
    values, problems = one(SUNGROW, firmware="x", pv_total_kwh=7758.0)
    assert problems == []
    assert values["pv_power_w"] == 4415
    assert values["pv_total_kwh"] == 7758.0
    assert values["export_power_w"] is None
    assert values["sample_count"] == 1
    assert "firmware" not in values
    assert tuple(values) == ("device_id", "ts", *(field.name for field in SUNGROW.fields))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_field_accepts_its_limits_and_refuses_what_lies_beyond(kind):
    for field in kind.fields:
        if field.type in ("time", "text") or field.name == "import_power_w":
            continue
        for value in (field.low, field.high):
            paired = {"import_power_w": max(value, 0)} if field.name == "power_w" else {}
            values, problems = one(kind, **{field.name: value}, **paired)
            assert problems == [], field
            assert values[field.name] == value
        for value in (field.low - 1, field.high + 1, 1e300, -1e300, 10**400, float("inf")):
            _, problems = one(kind, **{field.name: value})
            assert field.name in {problem.field for problem in problems}, (field, value)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("value", ["1", True, False, [], {}, "NaN"])
def test_only_numbers_are_numbers(kind, value):
    for field in kind.fields:
        if field.type != "text":
            _, problems = one(kind, **{field.name: value})
            assert [problem.field for problem in problems] == [field.name]


@pytest.mark.parametrize(
    ("alarms", "type_"),
    [
        (None, None),
        ("", None),
        ("13049.30 13065.14", None),
        ("1" * 400, None),
        ("1" * 401, "value"),
        ("13049.30;", "value"),
        ('13049.30"', "value"),
        ("13049.30\n", "value"),
        (13049.3, "type"),
        ([], "type"),
        (True, "type"),
    ],
)
def test_alarms_are_a_short_text_of_digits_dots_and_spaces(alarms, type_):
    values, problems = one(KINDS["sungrow"], alarms=alarms)
    assert [(problem.field, problem.type) for problem in problems] == (
        [] if type_ is None else [("alarms", type_)]
    )
    if type_ is None:
        assert values["alarms"] == alarms


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_required_key_must_be_there_and_null_is_not_a_missing_key(kind):
    for field in kind.fields:
        _, without = one(kind, **{field.name: ...})
        _, null = one(kind, **{field.name: None})
        assert [problem.type for problem in without] == (["missing"] if field.required else [])
        assert [problem.type for problem in null] == ([] if field.nullable else ["null"])


@pytest.mark.parametrize(
    ("given", "stored"), [(1.5, 2), (2.5, 2), (0.5, None), (3.0, 3), (4.4, 4), (4.6, None)]
)
def test_a_fraction_in_an_integer_field_is_rounded_half_to_even(given, stored):
    values, problems = one(P1, tariff=given)
    if stored is None:
        assert [problem.field for problem in problems] == ["tariff"]
    else:
        assert problems == []
        assert values["tariff"] == stored
        assert type(values["tariff"]) is int


def test_import_power_must_follow_from_power():
    assert one(P1, power_w=100, import_power_w=100)[1] == []
    assert one(P1, power_w=100.4, import_power_w=100)[1] == []
    for power, imported in [(100, 99), (-5, 5), (0, 1)]:
        _, problems = one(P1, power_w=power, import_power_w=imported)
        assert [problem.field for problem in problems] == ["import_power_w"]


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("2026-11-21T14:00:00Z", "2026-11-21T14:00:00Z"),
        ("2026-11-21t14:00:00z", "2026-11-21T14:00:00Z"),
        ("2026-11-21T15:00:00+01:00", "2026-11-21T14:00:00Z"),
        ("2026-11-21T14:00:00.5-00:30", "2026-11-21T14:30:00.500000Z"),
        ("2026-11-21T14:00:00.123456999Z", "2026-11-21T14:00:00.123456Z"),
        ("2026-11-21T14:00:00.000000Z", "2026-11-21T14:00:00Z"),
    ],
)
def test_times_are_read_with_any_offset_and_printed_in_utc(text, printed):
    assert format_time(parse_time(text)) == printed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-21",
        "2026-11-21T14:00:00",
        "20261121T140000Z",
        "2026-11-21T24:00:00Z",
        "2026-11-21T14:00:60Z",
        "2026-02-30T14:00:00Z",
        "2026-11-21T14:00:00+0100",
        "2026-11-21T14:00:00+24:00",
        "0001-01-01T00:00:00+23:59",
        "2026-11-21T14:00:00Z\n",
        "٢٠٢٦-11-21T14:00:00Z",
        "infinity",
    ],
)
def test_what_is_not_a_time_with_an_offset_is_refused(text):
    with pytest.raises(ValueError, match="must be"):
        parse_time(text)


@pytest.mark.parametrize(
    ("time", "good"),
    [
        (datetime(2020, 1, 1, tzinfo=UTC), True),
        (datetime(2019, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), False),
        (NOW + timedelta(minutes=5), True),
        (NOW + timedelta(minutes=5, microseconds=1), False),
    ],
)
def test_a_timestamp_lies_between_2020_and_a_little_after_now(time, good):
    _, problems = one(SUNGROW, ts=format_time(time))
    assert [problem.field for problem in problems] == ([] if good else ["ts"])


@pytest.mark.parametrize("device_id", ["", "a b", "é", "x" * 65, "a\n", 7, None, "\ud800"])
def test_a_device_id_has_a_plain_form(device_id):
    assert [problem.field for problem in one(P1, device_id=device_id)[1]] == ["device_id"]


def test_every_bad_sample_of_a_batch_is_named():
    samples = [dict(INVERTER) for _ in range(50)]
    samples[3]["pv_power_w"] = -1
    samples[17]["ts"] = "yesterday"
    del samples[41]["battery_soc_pct"]
    _, problems = decode(SUNGROW, samples, NOW)
    assert [(problem.index, problem.field) for problem in problems] == [
        (3, "pv_power_w"),
        (17, "ts"),
        (41, "battery_soc_pct"),
    ]


@pytest.mark.parametrize("sample", [None, 1, "x", [], [INVERTER]])
def test_a_sample_that_is_no_object_is_named(sample):
    _, problems = decode(SUNGROW, [INVERTER, sample], NOW)
    assert [problem.index for problem in problems] == [1]


def test_no_samples_are_no_problem():
    columns, problems = decode(P1, [], NOW)
    assert problems == []
    assert columns["power_w"] == []


def test_messages_never_echo_what_was_sent():
    marker = "c0ffee"
    for kind in KINDS.values():
        for name in kind.columns:
            _, problems = one(kind, **{name: marker + "!"})
            assert problems
            assert marker not in json.dumps([problem.msg for problem in problems])


@pytest.mark.parametrize(
    ("days", "keep_days", "said"),
    [
        (39.99, 40, None),
        (40.01, 40, "older samples are not kept"),
        (4000, 40, "before 2020-01-01"),
        (400, 400, None),
        (400.01, 400, "older samples are not kept"),
        (1000, None, None),
    ],
)
def test_samples_older_than_are_kept_are_refused(days, keep_days, said):
    old = {**INVERTER, "ts": format_time(NOW - timedelta(days=days))}
    new = {**INVERTER, "ts": format_time(NOW)}
    _, problems = decode(SUNGROW, [new, old, {**old, "pv_power_w": -1}], NOW, keep_days)
    assert [problem.index for problem in problems if problem.field == "ts"] == [1, 2] * bool(said)
    assert all(said in problem.msg for problem in problems if problem.field == "ts")
