"""GET /v1/series: what happened in a day, week, month, year or ever, in buckets."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, current_app, request

from api_server.data import frames, rollups
from api_server.data.database import HISTORY_S
from api_server.openapi import answers
from api_server.openapi.schemas import columns_of
from api_server.web.auth import readable_device
from api_server.web.csv import tabular
from api_server.web.errors import abort_with
from edge_agent.shared.samples import KINDS

blueprint = Blueprint("series", __name__)


@blueprint.get("/v1/series")
@tabular("series", lambda: columns_of(answers.series(KINDS[readable_device().kind]), "series"))
def series() -> dict[str, Any]:
    """The buckets of the frame that the request names."""
    device = readable_device()
    kind, zone = KINDS[device.kind], current_app.config["SETTINGS"].site_timezone
    try:
        frame = frames.parse(kind.frames, request.args)
    except frames.BadFrame as error:
        abort_with(kind.bad_frame_status, str(error))
    now = datetime.now(UTC)

    def work(cursor: Any) -> list[rollups.Bucket]:
        def find_first(width: str) -> datetime | None:
            return rollups.find_first(cursor, kind, device.device_id, width)

        edges = frame.edges(now, zone, find_first)
        if not edges:
            return []
        return rollups.read(cursor, kind, device.device_id, edges, frame.level, zone)

    store = current_app.extensions["store"]
    try:
        buckets = store.run(work, HISTORY_S)
    except frames.TooManyBuckets as error:
        abort_with(422, str(error))
    return {
        "device_id": device.device_id,
        "frame": frame.name,
        "timezone": zone.key,
        "series": [
            _printed(bucket, kind.name, zone, now)
            for bucket in buckets
            if bucket.end <= now or not frame.complete_only
        ],
    }


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
