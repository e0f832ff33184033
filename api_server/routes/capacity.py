"""GET /v1/capacity/month/{YYYY-MM}: the quarter-hour peaks of the Belgian capacity tariff."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, current_app

from api_server.config import Device
from api_server.web.auth import readable_device
from api_server.web.errors import problem
from edge_agent.shared.samples import P1

blueprint = Blueprint("capacity", __name__)

QUARTER = timedelta(minutes=15)
MINUTES = 15
TRUSTED_COVERAGE = 0.8
EARLIEST_YEAR, LATEST_YEAR = 2020, 2200  # no sample lies outside

_QUARTERS = """
SELECT bucket, avg_import_power_w, covered_minutes FROM p1_quarter_hourly
WHERE device_id = %(device_id)s AND bucket >= %(start)s AND bucket < %(end)s ORDER BY bucket
"""
# The meter's time of a peak is its quarter's end, give or take some seconds. The last one of a
# month is told after its end, maybe for seconds only: a meter that begins its next month may tell
# 0 W for that same moment, or a little for a quarter of the old one. A meter may be replaced, so
# the last one told counts; but around the end, where every reading is looked at, only what is
# higher than that.
_OFFICIAL = """
WITH told AS (
    SELECT bucket AS ts, bucket, official_peak_w AS watts, official_peak_ts AS peak_ts
    FROM p1_quarter_hourly
    WHERE device_id = %(device_id)s AND bucket >= %(start)s AND bucket < %(end)s + interval '1 day'
        AND NOT (bucket >= %(ending)s AND bucket < %(ended)s)
    UNION ALL
    SELECT ts, date_bin('15 minutes', ts, '2020-01-01T00:00:00Z'),
        monthly_power_peak_w, monthly_power_peak_ts
    FROM p1_samples WHERE device_id = %(device_id)s AND ts >= %(ending)s AND ts < %(ended)s
), of_month AS (
    SELECT ts, watts, peak_ts FROM told, LATERAL (SELECT date_bin('15 minutes',
        coalesce(peak_ts, bucket + interval '15 minutes') + interval '7.5 minutes',
        '2020-01-01T00:00:00Z') AS quarter_end) AS peak
    WHERE watts IS NOT NULL AND quarter_end > %(start)s AND quarter_end <= %(end)s
)
SELECT watts, peak_ts FROM (
    (SELECT * FROM of_month WHERE ts < %(ending)s ORDER BY ts DESC LIMIT 1)
    UNION ALL
    SELECT * FROM of_month WHERE ts >= %(ending)s AND watts > 0
) AS candidate ORDER BY watts DESC, ts LIMIT 1
"""


def meter() -> Device:
    """The meter that the request names; ends it with 404 for an inverter."""
    device = readable_device()
    if device.kind != P1.name:
        problem(404, "This is known of P1 meters only.")
    return device


@blueprint.get("/v1/capacity/month/<month>")
def capacity(month: str) -> dict[str, Any]:
    """Every quarter of a local month, its highest one, and the meter's own figure."""
    device = meter()
    zone: ZoneInfo = current_app.config["SETTINGS"].site_timezone
    quarters, official = [], None
    bounds = _bounds(month, zone)
    if bounds:
        start, end = (bound.astimezone(UTC) for bound in bounds)
        around = {"ending": end - QUARTER, "ended": end + 2 * QUARTER}
        values = {"device_id": device.device_id, "start": start, "end": end, **around}

        def work(cursor: Any) -> tuple[list[tuple], tuple | None]:
            cursor.execute(_QUARTERS, values)
            found = cursor.fetchall()
            cursor.execute(_OFFICIAL, values)
            return found, cursor.fetchone()

        quarters, official = current_app.extensions["store"].read_history(work)
    peak = highest(quarters, datetime.now(UTC))
    official_w, official_ts = official or (None, None)
    return {
        "month": month,
        "device_id": device.device_id,
        "peaks": [
            {"bucket": _local(start, zone), "avg_power_w": round(mean), "coverage": _share(minutes)}
            for start, mean, minutes in quarters
        ],
        "monthly_peak_w": round(peak[1]) if peak else None,
        "monthly_peak_ts": _local(peak[0], zone) if peak else None,
        "monthly_peak_coverage": _share(peak[2]) if peak else None,
        "official_peak_w": official_w,
        "official_peak_ts": _local(official_ts, zone) if official_ts else None,
    }


def highest(quarters: list[tuple], now: datetime) -> tuple | None:
    """The highest closed quarter that was covered well, the earliest of equals; else the highest
    of all. `quarters` are (start, mean in W, covered minutes)."""
    trusted = [
        quarter
        for quarter in quarters
        if quarter[0] + QUARTER <= now and quarter[2] >= TRUSTED_COVERAGE * MINUTES
    ]
    return max(trusted or quarters, key=lambda quarter: quarter[1], default=None)


def _bounds(month: str, zone: ZoneInfo) -> tuple[datetime, datetime] | None:
    """Start and end of a local month; None where no sample can be. 400 for what is no month."""
    if not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", month) or month.startswith("0000"):
        problem(400, "The month must be written YYYY-MM and exist.")
    year, number = int(month[:4]), int(month[5:])
    if not EARLIEST_YEAR <= year <= LATEST_YEAR:
        return None
    start = datetime(year, number, 1, tzinfo=zone)
    end = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=zone)
    return start, end


def _local(time: datetime, zone: ZoneInfo) -> str:
    return time.astimezone(zone).isoformat()


def _share(minutes: int) -> float:
    return round(minutes / MINUTES, 4)
