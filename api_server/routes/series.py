"""GET /v1/series: what happened in a day, week, month, year or ever, in buckets."""

from datetime import UTC, date, datetime
from itertools import islice
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from flask import Blueprint, current_app, request

from api_server.config import Device
from api_server.data import periods, rollups
from api_server.data.database import HISTORY_S
from api_server.web.auth import readable_device
from api_server.web.errors import problem
from edge_agent.shared.samples import KINDS

blueprint = Blueprint("series", __name__)

SHORT = ("day", "week")  # read in no time, unless the rollups are just being made anew
MAX_BUCKETS = 10_000
EARLIEST_YEAR, LATEST_YEAR = 1971, 2200  # no sample lies outside


@blueprint.get("/v1/series")
def series() -> dict[str, Any]:
    """The buckets of the frame that the request names."""
    device = readable_device()
    kind, zone = KINDS[device.kind], current_app.config["SETTINGS"].site_timezone
    frame, width, day = _parse(device)
    now = datetime.now(UTC)

    def work(cursor: Any) -> list[rollups.Bucket]:
        if frame == "all":
            oldest = rollups.find_first(cursor, kind, device.device_id, width)
            span = _since(oldest, width, now.astimezone(zone).date(), zone)
        else:
            span = _frame(frame, day or now.astimezone(zone).date())
        if span is None:
            return []
        edges = list(islice(periods.find_edges(*span, width, zone), MAX_BUCKETS + 2))
        if len(edges) > MAX_BUCKETS + 1:
            problem(422, f"That would be more than {MAX_BUCKETS} buckets.")
        return rollups.read(cursor, kind, device.device_id, edges, _level(frame, width), zone)

    store = current_app.extensions["store"]
    buckets = store.run(work, HISTORY_S) if frame in SHORT else store.read_history(work)
    complete_only = request.args.get("complete", "").lower() == "true"
    return {
        "device_id": device.device_id,
        "frame": frame,
        "timezone": zone.key,
        "series": [
            _printed(bucket, kind.name, zone, now)
            for bucket in buckets
            if bucket.end <= now or not complete_only
        ],
    }


def _parse(device: Device) -> tuple[str, str, date | None]:
    """Frame, width and `date=` of the request; ends it if one of them is not what it can be."""
    frames = KINDS[device.kind].frames
    frame = request.args.get("frame", "")
    if frame not in frames:
        _refuse(device, f"The frame must be one of {', '.join(frames)}.")
    width = request.args.get("bucket", frames[frame])
    if width not in periods.WIDTHS:
        _refuse(device, f"The bucket must be one of {', '.join(periods.WIDTHS)}.")
    text = request.args.get("date")
    if text is None:
        return frame, width, None
    try:
        return frame, width, periods.parse_date(text, frame)
    except ValueError:
        forms = "day and week: 2026-11-21, month: 2026-11, year: 2026, all: none"
        _refuse(device, f"The date must exist and fit the frame ({forms}).")


def _refuse(device: Device, detail: str) -> NoReturn:
    problem(KINDS[device.kind].bad_frame_status, detail)


def _frame(frame: str, day: date) -> tuple[date, date] | None:
    """First day and end of the frame that a day lies in; None where no sample can be."""
    if not EARLIEST_YEAR <= day.year <= LATEST_YEAR:
        return None
    first = periods.floor(day, frame)
    return first, periods.after(first, frame)


def _since(
    oldest: datetime | None, width: str, today: date, zone: ZoneInfo
) -> tuple[date, date] | None:
    """Whole buckets from the oldest sample, if there is one, until today."""
    if oldest is None:
        return None
    span = "day" if width == "hour" else width
    return (
        periods.floor(oldest.astimezone(zone).date(), span),
        periods.after(periods.floor(today, span), span),
    )


def _level(frame: str, width: str) -> str:
    """The widest rollup that fits both into the buckets and into the frame."""
    if width == "month" and frame in ("day", "week"):
        return "day"
    return width


def _printed(bucket: rollups.Bucket, kind: str, zone: ZoneInfo, now: datetime) -> dict[str, Any]:
    gauges = {name: _clean(value) for name, value in bucket.gauges.items()}
    if kind == "p1" and gauges["avg_power_w"] is not None:
        gauges["avg_power_w"] = round(gauges["avg_power_w"])
    return {
        "bucket": bucket.start.astimezone(zone).isoformat(),
        "sample_count": bucket.sample_count,
        **gauges,
        **bucket.energies,
        "complete": bucket.end <= now,
    }


def _clean(value: float | None) -> float | None:
    """A mean without the noise in its last digits, which depends on the order of a sum."""
    return float(f"{value:.12g}") if isinstance(value, float) else value
