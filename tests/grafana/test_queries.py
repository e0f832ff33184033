"""Every query of the dashboard, by the role that may only look on: what it shows is what the API
says, on every kind of database."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg2
import pytest

from api_server.data import rollups
from edge_agent.shared.samples import KINDS
from tests.api_server.data.test_rollups import refresh
from tests.support import grafana
from tests.support.history import insert
from tests.support.home import KINDS as DEVICES
from tests.support.home import Home, make_samples
from tests.support.servers import Postgres, migrate

pytestmark = pytest.mark.slow

ROLE = "sunspool_grafana"
INVERTERS = ["roof", "shed"]
START, DAYS = datetime(2025, 3, 2, 23, tzinfo=UTC), 61
# The meter's own peaks rise through each month.
PEAKS = """
UPDATE p1_samples SET monthly_power_peak_w = 2000 + 10 * extract(day FROM local_ts),
    monthly_power_peak_ts = (date_trunc('day', local_ts) + interval '18:15') AT TIME ZONE 'CET'
FROM (SELECT ts AS at, ts AT TIME ZONE 'CET' AS local_ts FROM p1_samples) AS sample WHERE ts = at
"""
REPORT = {"version": "1.1.0", "spool_count": 17, "set_aside_count": 2, "dropped": 0, "lost": None}
ALERT = """
INSERT INTO alerts (device_id, rule, since_ts, opened_ts, closed_ts, text) VALUES
    ('roof', 'silence', now(), '2025-05-01T10:00Z', NULL, 'roof is silent'),
    ('roof', 'fault', now(), '2025-05-01T10:00Z', now(), 'over'),
    ('shed', 'fault', now(), NULL, NULL, NULL)
"""


class Board:
    """The dashboard over a site, and the API of that site."""

    def __init__(self, server: Postgres):
        self.home = Home(server)
        name = self.home.url.rpartition("/")[2]
        self.url = server.url(name, ROLE)
        self.timescaledb = server.timescaledb is not None

    def show(
        self, title: str, start: date, end: date, target: int = 0, **more: Any
    ) -> list[dict[str, Any]]:
        """The rows of a panel from the beginning of one local day to that of another."""
        [panel] = [panel for panel in grafana.panels() if panel["title"] == title]
        variables = {"meter": "meter", "inverter": INVERTERS, **more.pop("variables", {})}
        view = grafana.View(self.home.midnight(start), self.home.midnight(end), variables, **more)
        return grafana.run(self.url, view.expand(panel["targets"][target]["rawSql"]))


@pytest.fixture(
    scope="module",
    params=["postgres", "timescale", pytest.param("timescale_apache", marks=pytest.mark.full)],
)
def board(request: pytest.FixtureRequest) -> Iterator[Board]:
    """A site with an awkward history over a beginning of summer time, and what is now."""
    board = Board(request.getfixturevalue(request.param))
    home = board.home
    for device_id, made in make_samples(START, DAYS, seed=7).items():
        insert(home.url, DEVICES[device_id], made)
    with psycopg2.connect(home.url) as conn, conn.cursor() as cursor:
        cursor.execute(PEAKS)
        cursor.execute(ALERT)
        report = "INSERT INTO agents VALUES ('roof', now(), %s, '{}')"
        cursor.execute(report, (json.dumps(REPORT),))
    conn.close()
    refresh(home.url)
    yield board
    home.close()


def test_energy_in_sql_is_that_of_the_api(board: Board) -> None:
    """Of each counter, in each local day and month: resets, glitches, gaps, summer time."""
    home, first, last = board.home, date(2025, 2, 1), date(2025, 7, 1)
    days = [home.midnight(first + timedelta(days=n)) for n in range((last - first).days + 1)]
    months = [home.midnight(date(2025, month, 1)) for month in range(2, 8)]
    compared = 0
    with psycopg2.connect(home.url) as conn, conn.cursor() as cursor:
        for device_id, name in DEVICES.items():
            kind = KINDS[name]
            for unit, edges in (("day", days), ("month", months)):
                told = rollups.read(cursor, kind, device_id, edges, unit, home.zone, still=True)
                for energy, counter in kind.rollup.energies.items():
                    cursor.execute(
                        "SELECT bucket, kwh FROM rollup_energy(%s, %s, %s, %s, %s, %s)",
                        (name, device_id, counter, unit, edges[0], edges[-1]),
                    )
                    known = {one.start: one.energies[energy] for one in told}
                    known = {start: kwh for start, kwh in known.items() if kwh is not None}
                    assert dict(cursor.fetchall()) == pytest.approx(known, abs=1e-6)
                    compared += len(known)
    conn.close()
    assert compared > 500


FLOWS = {
    "Sun": "pv_kwh",
    "From the grid": "grid_import_kwh",
    "To the grid": "grid_export_kwh",
    "Into the battery": "charge_kwh",
    "From the battery": "discharge_kwh",
    "Home": "consumption_kwh",
}


@pytest.mark.parametrize(
    ("title", "frame", "when", "span"),
    [
        ("Energy by day", "month", "2025-04", (date(2025, 4, 1), date(2025, 5, 1))),
        ("Energy by month", "year", "2025", (date(2025, 1, 1), date(2026, 1, 1))),
    ],
)
def test_energy_is_that_of_the_balance(
    board: Board, title: str, frame: str, when: str, span: tuple[date, date]
) -> None:
    told = {row["bucket"]: row for row in board.home.balance(frame=frame, date=when)}
    shown = {_local(board, row["time"]): row for row in board.show(title, *span)}
    assert len(told) >= 3
    assert told.keys() <= shown.keys()
    for bucket, row in told.items():
        for name, field in FLOWS.items():
            assert shown[bucket][name] == pytest.approx(row[field], abs=1e-5), (bucket, name)
    assert any(row["consumption_kwh"] for row in told.values())


def test_the_share_of_the_house_itself_is_that_of_the_balance(board: Board) -> None:
    rows = board.show("Self-sufficiency by month", date(2025, 1, 1), date(2026, 1, 1))
    shown = {_local(board, row["time"]): row["Self-sufficiency"] for row in rows}
    told = board.home.balance(frame="year", date="2025")
    assert len(told) >= 3
    for row in told:
        expected = row["self_sufficiency_pct"]
        assert shown[row["bucket"]] == pytest.approx(expected, abs=0.051), row["bucket"]


def test_a_single_inverter_and_none_are_shown_too(board: Board) -> None:
    april = date(2025, 4, 1), date(2025, 5, 1)
    roof = board.show("Energy by day", *april, variables={"inverter": ["roof"]})
    told = board.home.get("/v1/series", device_id="roof", frame="month", date="2025-04")
    known = {row["bucket"]: row["pv_kwh"] for row in told["series"]}
    assert len(known) > 20
    for row in roof:
        if _local(board, row["time"]) in known:
            assert row["Sun"] == pytest.approx(known[_local(board, row["time"])], abs=1e-6)
    for panel in grafana.panels():
        board.show(panel["title"], *april, variables={"meter": "o'clock", "inverter": ["o'clock"]})


def test_power_is_that_of_the_series(board: Board) -> None:
    """By the hour; Grafana's own bucket and the one of TimescaleDB are the same."""
    day = date(2025, 3, 10)
    span = day, day + timedelta(days=1)
    names = {"roof": "avg_pv_power_w", "meter": "avg_power_w"}
    told = {
        device_id: {
            datetime.fromisoformat(row["bucket"]): row[name]
            for row in board.home.get(
                "/v1/series", device_id=device_id, frame="day", date=f"{day}"
            )["series"]
            if row[name] is not None
        }
        for device_id, name in names.items()
    }
    for timescaledb in {False, board.timescaledb}:
        how = {"variables": {"inverter": ["roof"]}, "timescaledb": timescaledb}
        sun = _series(board.show("Power of the last day", *span, **how), "Sun")
        grid = _series(board.show("Power of the last day", *span, 1, **how), "Grid")
        assert sun == pytest.approx(told["roof"], rel=1e-5)
        # The API rounds a meter's watts; the last moment belongs to both days.
        assert {at: round(w) for at, w in grid.items()} == pytest.approx(told["meter"], abs=1)
        assert len(sun) > 10


def test_peaks_are_those_of_the_api(board: Board) -> None:
    told = board.home.get("/v1/capacity/month/2025-04", device_id="meter")
    quarters = board.show("Quarters of an hour", date(2025, 4, 1), date(2025, 5, 1))
    shown = {_local(board, row["time"]): round(row["Quarter"]) for row in quarters}
    listed = {row["bucket"]: row["avg_power_w"] for row in told["peaks"]}
    assert shown == pytest.approx(listed, abs=1)
    assert len(listed) > 500
    months = board.show("Month peaks", date(2025, 4, 1), date(2025, 5, 1))
    [april] = [row for row in months if row["Month"] == "2025-04"]
    assert april["As the meter has it"] == told["official_peak_w"] > 2000
    assert round(april["As sampled"]) == told["monthly_peak_w"]


def test_health_is_that_of_the_api(board: Board) -> None:
    span = date(2025, 4, 1), date(2025, 5, 1)
    samples = board.show("Samples by day", *span)
    for device_id in DEVICES:
        asked = {"device_id": device_id, "frame": "month", "date": "2025-04", "bucket": "day"}
        told = board.home.get("/v1/series", **asked)["series"]
        counted = {row["bucket"]: row["sample_count"] for row in told if row["sample_count"]}
        mine = [row for row in samples if row["metric"] == device_id]
        assert {_local(board, row["time"]): row["samples"] for row in mine} == counted
    told = {one["device_id"]: one for one in board.home.get("/v1/devices")["devices"]}
    shown = {row["Device"]: row for row in board.show("Devices and agents", *span)}
    assert shown.keys() == told.keys() == DEVICES.keys()
    for device_id, row in shown.items():
        assert row["Kind"] == told[device_id]["kind"]
        assert row["Newest sample"] == datetime.fromisoformat(told[device_id]["newest_ts"])
        assert row["Age"] == pytest.approx(told[device_id]["age_s"], abs=30)
    roof = [shown["roof"][name] for name in ("Agent", "Waiting", "Set aside", "Dropped", "Lost")]
    assert roof == list(REPORT.values())
    alerts = board.show("Open alerts", *span)
    told = [
        one
        for one in board.home.get("/v1/alerts", device_id="roof")["alerts"]
        if not one["closed_ts"]
    ]
    assert [(row["Device"], row["Rule"], row["Text"]) for row in alerts] == [
        (one["device_id"], one["rule"], one["text"]) for one in told
    ]
    assert len(alerts) == 1


def test_now_is_what_the_balance_says_now(board: Board) -> None:
    """What is silent is unknown, and what is computed of it; an inverter without a battery is 0."""
    home, today = board.home, date(2026, 1, 1)
    [silent] = board.show("Now", today, today)
    assert set(silent.values()) == {None}
    now = datetime.now(UTC)
    sun = {"pv_power_w": 1200.5, "battery_power_w": -300.0, "battery_soc_pct": 65.5}
    home.insert("roof", (now, sun))
    home.insert("meter", (now, {"power_w": -7, "import_power_w": 0}))
    assert board.show("Now", today, today)[0]["Home"] is None
    home.insert("shed", (now, {"pv_power_w": 99.0}))
    [shown] = board.show("Now", today, today)
    told = home.get("/v1/balance/now", site="home")
    names = ("pv", "battery", "grid", "home")
    expected = [*(told[f"{name}_power_w"] for name in names), told["battery_soc_pct"]]
    assert list(shown.values()) == pytest.approx(expected)
    assert expected == [1299.5, -300.0, -7, 1592.5, 65.5]


def test_the_variables_are_the_devices(board: Board) -> None:
    _, meter, inverter = grafana.dashboard()["templating"]["list"]
    for variable, expected in ((meter, ["meter"]), (inverter, INVERTERS)):
        rows = grafana.run(board.url, variable["query"])
        assert [row["device_id"] for row in rows] == expected
    assert (meter["multi"], inverter["multi"]) == (False, True)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM schema_settings",
        "SELECT * FROM alert_messages",
        "INSERT INTO p1_samples (device_id, ts, power_w, import_power_w)"
        " VALUES ('meter', now(), 1, 1)",
        "UPDATE p1_samples SET power_w = 1",
        "DELETE FROM sungrow_samples",
        "TRUNCATE p1_samples",
        "UPDATE agents SET report = '{}'",
        "DROP TABLE p1_samples",
        "CREATE TABLE mine (x integer)",
        "SELECT rollup_refresh('p1', 'meter', now())",
        "SELECT rollup_forget('-infinity')",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_read_file('/etc/passwd')",
        "SET ROLE sunspool_owner",
    ],
)
def test_the_role_may_only_look_on(board: Board, statement: str) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        grafana.run(board.url, statement)


def test_what_a_later_migration_makes_can_be_looked_at(board: Board) -> None:
    for name in ("p1_later", "schema_later"):
        board.home.server.execute(
            f"CREATE VIEW {name} AS SELECT 1 AS one; ALTER VIEW {name} OWNER TO sunspool_owner",
            board.home.url.rpartition("/")[2],
        )
    migrate(board.home.url)
    assert grafana.run(board.url, "SELECT * FROM p1_later") == [{"one": 1}]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        grafana.run(board.url, "SELECT * FROM schema_later")


def _local(board: Board, at: datetime) -> str:
    return at.astimezone(board.home.zone).isoformat()


def _series(rows: list[dict[str, Any]], name: str) -> dict[datetime, float]:
    """A series by its time, which may be given in seconds."""
    series = {}
    for row in rows:
        at = row["time"]
        time = at if isinstance(at, datetime) else datetime.fromtimestamp(float(at), UTC)
        if row[name] is not None:
            series[time] = row[name]
    return series
