"""GET /v1/samples: the samples of a device between two times, streamed, any length."""

import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from flask import Blueprint, current_app, request, stream_with_context

from api_server.data import periods
from api_server.data.export import FORMATS, Export, TooMany
from api_server.web.auth import readable_device
from api_server.web.errors import RETRY_AFTER_S, Answer, abort_with
from edge_agent.shared.samples import KINDS, parse_time

blueprint = Blueprint("samples", __name__)

READER_S = 60  # a reader that takes nothing for so long is dropped
TIME = "2026-11-21T14:00:00Z (with an offset), or a local date like 2026-11-21"


@blueprint.get("/v1/samples")
def samples() -> Answer:
    """Every sample from `from` up to but not at `to`, oldest first."""
    device = readable_device()
    settings = current_app.config["SETTINGS"]
    format_ = request.args.get("format", "csv")
    if format_ not in FORMATS:
        abort_with(422, f"The format must be one of {', '.join(FORMATS)}.")
    start = _time("from", settings.site_timezone)
    end = _time("to", settings.site_timezone)
    if start > end:
        abort_with(422, "The parameter from must not be later than to.")
    _bound_reader()
    try:
        export = Export(
            settings.database_url, KINDS[device.kind], device.device_id, start, end, format_
        )
    except TooMany:
        abort_with(503, "Two are reading samples already.", Retry_After=RETRY_AFTER_S)
    name = f"{device.device_id}_{start:%Y%m%dT%H%M%SZ}_{end:%Y%m%dT%H%M%SZ}.{format_}"
    answer = Answer(stream_with_context(_body(export)), content_type=FORMATS[format_])
    answer.headers["Row-Count"] = str(export.count)
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    answer.headers["Vary"] = "Accept-Encoding"
    if _gzip_accepted():
        answer.headers["Content-Encoding"] = "gzip"
        answer.response = _gzipped(answer.response)
    answer.call_on_close(export.close)
    return answer


def _time(name: str, zone: ZoneInfo) -> datetime:
    """The time of a parameter, in UTC; ends the request with 422."""
    text = request.args.get(name, "")
    try:
        if len(text) == len("2026-11-21"):
            return periods.midnight(periods.parse_date(text, "day"), zone)
        return parse_time(text).astimezone(UTC)
    except (ValueError, OverflowError):
        abort_with(422, f"The parameter {name} must be {TIME}.")


def _bound_reader() -> None:
    """Give up on a reader that takes nothing; gunicorn itself would wait for ever."""
    if "gunicorn.socket" in request.environ:
        request.environ["gunicorn.socket"].settimeout(READER_S)


def _gzip_accepted() -> bool:
    return request.accept_encodings.quality("gzip") > 0


def _body(export: Export) -> Iterator[bytes]:
    yield from export.pieces()


def _gzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    deflater = zlib.compressobj(level=1, wbits=31)
    for piece in pieces:
        if packed := deflater.compress(piece):
            yield packed
    yield deflater.flush()
