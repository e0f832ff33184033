"""What becomes of the values that a P1 meter sends."""

import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from api_server.web import decoding
from edge_agent.shared import samples
from edge_agent.sources.p1.normalize import V1, V2, NoPower, PeakTime, meter_time, normalize

BRUSSELS = ZoneInfo("Europe/Brussels")
TS = datetime(2026, 11, 21, 14, 0, 0, 250_000, tzinfo=UTC)


def sample(body: dict, names=V2, ts: datetime = TS) -> dict:
    return normalize(body, names, "p1", ts, PeakTime(BRUSSELS))


def test_a_sample_of_everything_is_one_the_server_accepts():
    made = sample(
        {
            "power_w": 2500.4,
            "energy_import_kwh": 1.5,
            "energy_export_kwh": 2,
            "energy_import_t1_kwh": 0.5,
            "energy_import_t2_kwh": 1.0,
            "energy_export_t1_kwh": 0,
            "energy_export_t2_kwh": "2",
            "average_power_15m_w": 78,
            "monthly_power_peak_w": 3332,
            "monthly_power_peak_timestamp": "2026-11-14T12:45:00",
            "tariff": 1,
        }
    )
    assert made == {
        "device_id": "p1",
        "ts": "2026-11-21T14:00:00.250000Z",
        "power_w": 2500,
        "import_power_w": 2500,
        "energy_import_kwh": 1.5,
        "energy_export_kwh": 2,
        "average_power_15m_w": 78,
        "monthly_power_peak_w": 3332,
        "monthly_power_peak_ts": "2026-11-14T11:45:00Z",
        "tariff": 1,
        "energy_import_t1_kwh": 0.5,
        "energy_import_t2_kwh": 1.0,
        "energy_export_t1_kwh": 0,
        "energy_export_t2_kwh": None,
    }
    assert set(made) == set(samples.P1.columns)
    assert decoding.decode(samples.P1, [made], TS)[1] == []


def test_power_alone_is_enough_and_the_rest_is_unknown():
    made = sample({"power_w": 0})
    assert (made.pop("power_w"), made.pop("import_power_w")) == (0, 0)
    assert {value for name, value in made.items() if name not in ("device_id", "ts")} == {None}


@pytest.mark.parametrize(
    ("power", "rounded"), [(2.5, 2), (3.5, 4), (-45.252, -45), (-0.4, 0), (77.0, 77), (-7, -7)]
)
def test_power_is_rounded_half_to_even_and_import_is_never_negative(power, rounded):
    made = sample({"power_w": power})
    assert (made["power_w"], made["import_power_w"]) == (rounded, max(rounded, 0))
    assert type(made["power_w"]) is int


@pytest.mark.parametrize(
    "power", [None, "77", True, [], {}, 100_001, -1e9, 10**400, 1e308, float("nan"), float("inf")]
)
def test_a_power_that_is_none_makes_no_sample(power):
    with pytest.raises(NoPower, match="power_w"):
        sample({"power_w": power})


def test_no_power_at_all_makes_no_sample():
    with pytest.raises(NoPower):
        sample({})
    with pytest.raises(NoPower):
        sample({"power_w": 5}, V1)


@pytest.mark.parametrize(
    ("sent", "total"),
    [
        ({"energy_import_t1_kwh": 739.591, "energy_import_t2_kwh": 855.251}, 1594.842),
        ({"energy_import_t1_kwh": 0.1, "energy_import_t2_kwh": 0.2}, 0.3),
        ({f"energy_import_t{n}_kwh": n for n in (1, 2, 3, 4)}, 10.0),
        ({"energy_import_kwh": None, "energy_import_t2_kwh": 5.25}, 5.25),
        ({"energy_import_t1_kwh": 5.25, "energy_import_t2_kwh": None}, 5.25),
        ({"energy_import_kwh": 9, "energy_import_t1_kwh": 5, "energy_import_t2_kwh": 5}, 9),
        ({"energy_import_kwh": 0, "energy_import_t1_kwh": 5}, 0),
        ({"energy_import_t1_kwh": 5, "energy_import_t2_kwh": "x"}, None),
        ({"energy_import_kwh": "12", "energy_import_t1_kwh": 5}, None),
        ({"energy_import_kwh": -1}, None),
        ({"energy_import_kwh": 1e8}, None),
        ({"energy_import_kwh": True}, None),
        ({"energy_export_kwh": 3}, None),
    ],
)
def test_the_total_is_the_meters_own_or_the_sum_of_its_tariffs(sent, total):
    made = sample({"power_w": 1, **sent})
    assert made["energy_import_kwh"] == total
    assert json.dumps(made["energy_import_kwh"]) == json.dumps(total)


def test_the_registers_of_both_tariffs_are_kept_beside_the_total_of_all():
    made = sample({"active_power_w": 1, "total_power_export_t1_kwh": 1.5}, V1)
    assert (made["energy_export_t1_kwh"], made["energy_export_t2_kwh"]) == (1.5, None)
    assert (made["energy_export_kwh"], made["energy_import_t1_kwh"]) == (1.5, None)


def test_a_missing_export_stays_unknown_and_a_reported_zero_stays_zero():
    assert sample({"power_w": 1})["energy_export_kwh"] is None
    assert sample({"power_w": 1, "energy_export_kwh": 0})["energy_export_kwh"] == 0


@pytest.mark.parametrize("tariff", [0, 5, 4711, "1", True, None, float("nan"), [1]])
def test_a_tariff_that_does_not_exist_is_unknown(tariff):
    made = sample({"power_w": 1, "tariff": tariff})
    assert made["tariff"] is None


@pytest.mark.parametrize("value", [-1, 100_001, "5", None, True, float("inf"), {}])
def test_impossible_peaks_are_unknown(value):
    made = sample({"power_w": 1, "monthly_power_peak_w": value, "average_power_15m_w": value})
    assert (made["monthly_power_peak_w"], made["average_power_15m_w"]) == (None, None)


@pytest.mark.parametrize(
    ("told", "instant"),
    [
        ("2026-07-01T00:15:00", "2026-06-30T22:15:00Z"),
        (260326193000, "2026-03-26T18:30:00Z"),
        (90101080010, "2009-01-01T07:00:10Z"),
        (632525252525, None),
        ("2026-02-30T00:00:00", None),
        ("2026-07-01T00:15:00Z", None),
        ("2026-07-01 00:15", None),
        ("0001-01-01T00:00:00", None),
        ("9999-12-31T23:59:59", "9999-12-31T22:59:59Z"),
        ("260326193000", None),
        ("", None),
        (-1, None),
        (True, None),
        (2603.5, None),
        (10**300, None),
        ([], None),
        (None, None),
    ],
)
def test_the_meters_local_times_become_instants(told, instant):
    found = meter_time(told, BRUSSELS, near=TS)
    assert (found and samples.format_time(found)) == instant


@pytest.mark.parametrize(
    ("told", "host", "instant"),
    [
        # The hour that the clocks repeat in autumn: whatever is nearer to the host's clock.
        ("2026-10-25T02:30:00", "2026-10-25T00:30:02Z", "2026-10-25T00:30:00Z"),
        ("2026-10-25T02:30:00", "2026-10-25T01:29:58Z", "2026-10-25T01:30:00Z"),
        ("2026-10-25T02:59:59", "2026-10-25T01:00:00Z", "2026-10-25T00:59:59Z"),
        ("2026-10-25T02:00:00", "2026-10-25T01:00:01Z", "2026-10-25T01:00:00Z"),
        ("2026-10-25T03:00:00", "2026-10-25T00:59:59Z", "2026-10-25T02:00:00Z"),
        # The hour that is left out in spring: a meter that has not changed its clock yet.
        ("2026-03-29T02:00:05", "2026-03-29T01:00:06Z", "2026-03-29T01:00:05Z"),
    ],
)
def test_the_hours_of_the_clock_changes(told, host, instant):
    found = meter_time(told, BRUSSELS, near=samples.parse_time(host))
    assert samples.format_time(found) == instant


def test_another_zone_moves_the_peak():
    body = {"power_w": 1, "monthly_power_peak_timestamp": "2026-07-01T12:00:00"}
    made = normalize(body, V2, "p1", TS, PeakTime(ZoneInfo("Europe/Lisbon")))
    assert made["monthly_power_peak_ts"] == "2026-07-01T11:00:00Z"


def test_a_peak_of_the_repeated_hour_stays_where_it_was_first_seen():
    peak_time = PeakTime(BRUSSELS)
    told = "2026-10-25T02:15:00"
    for read_at in ("00:15:02", "00:59:00", "01:14:00", "01:15:02", "05:00:00"):
        ts = samples.parse_time(f"2026-10-25T{read_at}Z")
        assert samples.format_time(peak_time.at(told, ts)) == "2026-10-25T00:15:00Z"
    later = samples.parse_time("2026-10-25T01:30:01Z")
    assert samples.format_time(peak_time.at("2026-10-25T02:30:00", later)) == "2026-10-25T01:30:00Z"


@pytest.mark.parametrize(
    ("read_at", "instant"),
    [
        ("2026-10-25T00:15:02Z", "2026-10-25T00:15:00Z"),
        ("2026-10-25T00:59:59Z", "2026-10-25T00:15:00Z"),  # the later one is still to come
        ("2026-10-25T00:14:30Z", "2026-10-25T00:15:00Z"),  # the meter's clock is ahead of ours
        ("2026-10-25T01:15:02Z", "2026-10-25T01:15:00Z"),
        ("2026-10-31T12:00:00Z", "2026-10-25T01:15:00Z"),
    ],
)
def test_a_peak_seen_for_the_first_time_is_the_later_one_that_has_passed(read_at, instant):
    found = PeakTime(BRUSSELS).at("2026-10-25T02:15:00", samples.parse_time(read_at))
    assert samples.format_time(found) == instant


def test_what_the_telegram_knows_of_the_peak_comes_before_any_guess():
    peak_time, after = PeakTime(BRUSSELS), samples.parse_time("2026-10-31T12:00:00Z")
    first = samples.parse_time("2026-10-25T00:15:00Z")
    assert peak_time.at("2026-10-25T02:15:00", after) != first
    peak_time.known = (datetime(2026, 10, 25, 2, 15), first)
    assert peak_time.at(261025021500, after) == first
    assert peak_time.at(None, after) is None
    assert peak_time.at("2026-10-25T02:15:00", after) == first
