"""The series over HTTP: what a caller may ask, how buckets are cut and energies told."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2
import pytest

from api_server.data import periods
from edge_agent.shared.samples import KINDS, P1, SUNGROW
from tests.support.client import Client
from tests.support.history import insert
from tests.support.servers import Api

BRUSSELS = ZoneInfo("Europe/Brussels")
LOADED = {
    "pv_power_w": 1000.0,
    "battery_power_w": None,
    "battery_soc_pct": None,
    "load_power_w": 300.0,
    "export_power_w": None,
    "sample_count": 1,
}
COUNTERS = dict.fromkeys(KINDS["sungrow"].counters)


class House:
    """An inverter and a meter whose samples a test puts straight into the tables."""

    def __init__(self, api: Api):
        self.url = api.env["DATABASE_URL"]
        self.tokens = {"roof": "roof-token", "meter": "meter-token"}
        self.api = api

    def inverter(self, *samples: tuple[str, dict[str, Any]]) -> None:
        """Store samples of the inverter, given as local time and what they say."""
        insert(
            self.url,
            "sungrow",
            [
                {"device_id": "roof", "ts": local(at), **LOADED, **COUNTERS, **more}
                for at, more in samples
            ],
        )

    def meter(self, *samples: tuple[str, int, float | None]) -> None:
        """Store samples of the meter, given as local time, power and imported energy."""
        insert(
            self.url,
            "p1",
            [
                {
                    "device_id": "meter",
                    "ts": local(at),
                    "power_w": power,
                    "import_power_w": max(power, 0),
                    "energy_import_kwh": kwh,
                }
                for at, power, kwh in samples
            ],
        )

    def ask(self, device: str, query: str) -> Any:
        """The answer to a request for a series."""
        path = f"/v1/series?device_id={device}&{query}"
        return Client(self.api.url, self.tokens[device]).get(path)

    def series(self, device: str, query: str) -> list[dict[str, Any]]:
        """The buckets of an answer."""
        answer = self.ask(device, query)
        assert answer.status == 200, answer.text
        return answer.json["series"]


def local(text: str) -> datetime:
    """A local time, or one with an offset."""
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=BRUSSELS).astimezone(UTC)


@pytest.fixture
def house(shared_api: Api) -> House:
    """Two devices without samples."""
    with psycopg2.connect(shared_api.env["DATABASE_URL"]) as conn, conn.cursor() as cursor:
        cursor.execute("TRUNCATE sungrow_samples, p1_samples")
    conn.close()
    return House(shared_api)


def test_an_empty_range(house: House) -> None:
    """Nothing known is an empty list, in the past, the future and at the ends of the calendar."""
    for frame in ("day", "week", "month", "year", "all"):
        assert house.series("meter", f"frame={frame}") == []
    for frame, day in (
        ("day", "0001-01-01"),
        ("day", "9999-12-31"),
        ("month", "9999-12"),
        ("year", "9999"),
        ("year", "0001"),
        ("day", "2150-01-01"),
    ):
        answer = house.ask("roof", f"frame={frame}&date={day}")
        assert answer.json == {
            "device_id": "roof",
            "frame": frame,
            "timezone": "Europe/Brussels",
            "series": [],
        }


@pytest.mark.parametrize(
    "query",
    [
        "",
        "frame=",
        "frame=hour",
        "frame=Day",
        "frame=day&date=2026-02-30",
        "frame=day&date=2026-11",
        "frame=day&date=",
        "frame=month&date=2026-13",
        "frame=month&date=2026-11-21",
        "frame=year&date=26",
        "frame=year&date=0000",
        "frame=year&date=%D9%A2%D9%A0%D9%A2%D9%A6",
        "frame=all&date=2026",
        "frame=day&bucket=quarter",
        "frame=day&bucket=",
    ],
)
def test_what_is_refused(house: House, query: str) -> None:
    """An inverter's caller gets 422, a meter's 400; neither is told what was sent."""
    inverter, meter = house.ask("roof", query), house.ask("meter", query)
    assert (inverter.status, meter.status) == (422, 400)
    assert isinstance(inverter.json["detail"], str)
    if "date" not in query and "bucket" not in query:
        assert "day, week, month, year, all" in meter.json["detail"]
        assert "week" not in inverter.json["detail"]


def test_a_week_is_a_frame_of_meters_only(house: House) -> None:
    """Any day of it picks it; it begins on Monday."""
    assert house.ask("roof", "frame=week").status == 422
    house.meter(("2026-05-31T23:59", 1, 1.0), ("2026-06-01T00:00", 3, 1.0))
    for day in ("2026-06-01", "2026-06-07"):
        [bucket] = house.series("meter", f"frame=week&date={day}")
        assert bucket["bucket"] == "2026-06-01T00:00:00+02:00"
    [bucket] = house.series("meter", "frame=week&date=2026-05-31")
    assert bucket["bucket"] == "2026-05-31T00:00:00+02:00"


def test_too_many_buckets(house: House) -> None:
    """Refused before they are computed, whatever the first sample's time is."""
    house.meter(("2021-01-01T00:00", 1, None), ("2026-06-01T00:00", 1, None))
    answer = house.ask("meter", "frame=all&bucket=hour")
    assert answer.status == 422
    assert "10000" in answer.json["detail"]
    assert len(house.series("meter", "frame=all&bucket=day")) == 2
    assert len(house.series("meter", "frame=year&date=2021&bucket=hour")) == 1


def test_weeks_are_cut_at_the_edges_of_a_month(house: House) -> None:
    """And labelled with the start of what is inside."""
    house.meter(*[(f"2026-07-{day:02}T12:00", day, None) for day in range(1, 32)])
    weeks = house.series("meter", "frame=month&date=2026-07")
    assert [week["bucket"][:10] for week in weeks] == [
        "2026-07-01",
        "2026-07-06",
        "2026-07-13",
        "2026-07-20",
        "2026-07-27",
    ]
    assert [week["sample_count"] for week in weeks] == [5, 7, 7, 7, 5]
    assert weeks[0]["avg_power_w"] == 3
    assert weeks[0].keys() == {
        "bucket",
        "sample_count",
        "avg_power_w",
        "max_power_w",
        "energy_import_kwh",
        "energy_export_kwh",
        "complete",
    }
    [day] = house.series("meter", "frame=day&date=2026-07-08&bucket=month")
    assert (day["bucket"], day["sample_count"]) == ("2026-07-08T00:00:00+02:00", 1)


def test_the_nights_when_the_clocks_change(house: House) -> None:
    """Both hours called two in autumn, none in spring."""
    every_half = [
        ((local("2025-10-26T00:00") + timedelta(minutes=30 * n)).isoformat(), {}) for n in range(50)
    ]
    house.inverter(*every_half)
    hours = house.series("roof", "frame=day&date=2025-10-26")
    assert [hour["sample_count"] for hour in hours] == [2] * 25
    assert [hour["bucket"][11:] for hour in hours[2:4]] == ["02:00:00+02:00", "02:00:00+01:00"]
    house.inverter(("2026-03-29T01:30", {}), ("2026-03-29T03:30", {}))
    hours = house.series("roof", "frame=day&date=2026-03-29")
    assert [hour["bucket"][11:] for hour in hours] == ["01:00:00+01:00", "03:00:00+02:00"]


def test_averages_are_weighted_and_unknown_is_null(house: House) -> None:
    """By sample_count, each field by the samples that know it; a counter no one knows is null."""
    house.inverter(
        ("2026-06-01T10:00", {"sample_count": 12, "battery_power_w": -600.0}),
        ("2026-06-01T10:59:59.999999", {"pv_power_w": 0.0}),
        ("2026-06-01T10:30", {"sample_count": 3, "pv_power_w": 200.0, "battery_power_w": 0.0}),
    )
    [hour] = house.series("roof", "frame=day&date=2026-06-01")
    assert hour == {
        "bucket": "2026-06-01T10:00:00+02:00",
        "sample_count": 16,
        "avg_pv_power_w": 787.5,
        "max_pv_power_w": 1000.0,
        "avg_battery_power_w": -480.0,
        "avg_battery_soc_pct": None,
        "avg_load_power_w": 300.0,
        "avg_export_power_w": None,
        "pv_kwh": None,
        "grid_import_kwh": None,
        "grid_export_kwh": None,
        "charge_kwh": None,
        "discharge_kwh": None,
        "complete": True,
    }


def test_a_gap_is_bridged_by_the_counter(house: House) -> None:
    """Hours, days and months without samples get their share by time, and are listed for it."""
    house.meter(("2026-06-01T09:30", 100, 10.0), ("2026-06-01T13:30", 200, 14.0))
    hours = house.series("meter", "frame=day&date=2026-06-01")
    assert [hour["energy_import_kwh"] for hour in hours] == [0.5, 1.0, 1.0, 1.0, 0.5]
    assert [hour["sample_count"] for hour in hours] == [1, 0, 0, 0, 1]
    assert (hours[1]["avg_power_w"], hours[1]["max_power_w"]) == (None, None)
    assert {hour["energy_export_kwh"] for hour in hours} == {None}
    house.meter(("2026-09-09T13:30", 200, 14.0 + 24 * 100))
    days = house.series("meter", "frame=month&date=2026-07&bucket=day")
    assert [day["energy_import_kwh"] for day in days] == [24.0] * 31
    [month] = house.series("meter", "frame=year&date=2026")[1:2]
    assert (month["bucket"][:7], month["energy_import_kwh"]) == ("2026-07", 744.0)
    assert house.series("meter", "frame=day&date=2026-09-10") == []


def test_one_reading_and_none(house: House) -> None:
    """One reading is no energy yet; a counter that is not known around a bucket is null."""
    house.meter(("2026-06-01T09:30", 1, None), ("2026-06-02T09:30", 1, 5.0))
    house.meter(("2026-06-03T09:30", 1, None))
    days = house.series("meter", "frame=month&date=2026-06&bucket=day")
    assert [day["energy_import_kwh"] for day in days] == [None, 0.0, None]
    assert house.series("meter", "frame=day&date=2026-06-03")[0]["energy_import_kwh"] is None


def test_a_swapped_meter_and_an_impossible_jump(house: House) -> None:
    """What the new meter reads was counted by it; the jump is no energy, what comes after is."""
    house.meter(
        ("2026-06-01T08:00", 1, 5000.0),
        ("2026-06-01T08:05", 1, 5000.2),
        ("2026-06-01T08:09", 1, 1.0),
        ("2026-06-01T08:14", 1, 1.3),
        ("2026-06-01T09:00", 1, 1.8),
        ("2026-06-01T10:00", 1, 9000.0),
        ("2026-06-01T10:20", 1, 9000.1),
    )
    hours = house.series("meter", "frame=day&date=2026-06-01")
    assert [hour["energy_import_kwh"] for hour in hours] == [2.0, 0.0, 0.1]


def test_registers_that_move_once_a_minute_lose_nothing(house: House) -> None:
    """At 12 kW, read every five seconds, over the edges of quarters and hours."""
    begin = datetime(2026, 6, 1, 8, tzinfo=UTC)
    house.meter(
        *(
            ((begin + timedelta(seconds=5 * n)).isoformat(), 12_000, 100 + n // 12 * 0.2)
            for n in range(2 * 720 + 1)
        )
    )
    hours = house.series("meter", "frame=day&date=2026-06-01")
    assert sum(hour["energy_import_kwh"] for hour in hours) == pytest.approx(24.0, abs=0.001)


def test_the_open_end(house: House) -> None:
    """The running hour, day, month and year are there, not complete, and left out on demand."""
    now = datetime.now(BRUSSELS)
    midnight = datetime.combine(now.date(), time(), BRUSSELS).astimezone(UTC)
    earlier = max(midnight, now.astimezone(UTC) - timedelta(minutes=5)).isoformat()
    house.meter((earlier, 100, 10.0), (now.astimezone(UTC).isoformat(), 300, 10.5))
    for frame in ("day", "week", "month", "year", "all"):
        told = house.series("meter", f"frame={frame}")
        assert sum(bucket["sample_count"] for bucket in told) == 2
        assert sum(bucket["energy_import_kwh"] for bucket in told) == pytest.approx(0.5)
        assert told[-1]["complete"] is False
        closed = house.series("meter", f"frame={frame}&complete=true")
        assert closed == [bucket for bucket in told if bucket["complete"]]


def test_other_devices_do_not_count(house: House) -> None:
    """Rows of a neighbour change nothing."""
    house.meter(("2026-06-01T09:30", 100, 10.0))
    before = house.series("meter", "frame=day&date=2026-06-01")
    with psycopg2.connect(house.url) as conn, conn.cursor() as cursor:
        cursor.execute(
            "INSERT INTO p1_samples (device_id, ts, power_w, import_power_w, energy_import_kwh)"
            " SELECT 'neighbour', ts - n * interval '1 hour', 9, 9, n"
            " FROM p1_samples, generate_series(-3, 3) AS n"
        )
    conn.close()
    assert house.series("meter", "frame=day&date=2026-06-01") == before


@pytest.mark.parametrize("zone", ["America/Havana", "America/Sao_Paulo", "Asia/Kathmandu"])
def test_edges_are_instants_in_order(zone: str) -> None:
    """Also where midnight is skipped or comes twice."""
    for width in periods.WIDTHS:
        edges = list(periods.find_edges(date(2017, 9, 1), date(2018, 12, 1), width, ZoneInfo(zone)))
        assert edges == sorted(set(edges))
        assert edges[-1].astimezone(ZoneInfo(zone)).date() == date(2018, 12, 1)


def test_frames_are_the_contract() -> None:
    """Every frame of each kind, and the width of its buckets."""
    assert SUNGROW.frames == dict(
        zip(("day", "month", "year", "all"), ("hour", "day", "month", "month"), strict=True)
    )
    assert set(P1.frames) - set(SUNGROW.frames) == {"week"}
