"""What was: bars of a day, a month, a year or all, and the same as a table and as CSV."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from flask import Response, current_app, request

from api_server.data import frames, periods, today
from api_server.data.frames import Frame
from api_server.devices import Site
from api_server.pages import formats, page
from api_server.pages.languages import Language
from api_server.pages.page import blueprint
from api_server.pages.svg import bars
from api_server.web import auth, csv
from api_server.web.errors import abort_with

FRAMES = {"day": "hour", "month": "day", "year": "month", "all": "month"}
INSIDE = {"month": "day", "year": "month", "all": "month"}  # what a bar of a frame leads to
FIELDS = (
    *(field for _, field in (*bars.SOURCES, *bars.USES)),
    "self_sufficiency_pct",
    "self_consumption_pct",
)
COLUMNS = (
    "bucket",
    "pv_kwh",
    "grid_import_kwh",
    "grid_export_kwh",
    "charge_kwh",
    "discharge_kwh",
    "consumption_kwh",
    "self_sufficiency_pct",
    "self_consumption_pct",
    "clamped",
    "inverter_import_kwh",
    "inverter_export_kwh",
    "complete",
)
LENGTHS = {"day": 10, "month": 7, "year": 4}  # of a date that names one


@blueprint.get("/history")
def history() -> Response:
    """The page of one frame."""
    site = page.find_site()
    if site is None:
        return page.nothing()
    now = datetime.now(UTC)
    frame, buckets = _ask(site, now)
    language, day = page.language(), frame.day or now.astimezone(page.zone()).date()
    starts = [datetime.fromisoformat(bucket["bucket"]) for bucket in buckets]
    targets = _targets(frame, starts)
    return page.render(
        "history.html",
        tab="history",
        site=site,
        sites=list(auth.readable_sites()),
        frame=frame.name,
        title=_title(language, frame.name, day),
        width=frame.width,
        fields=FIELDS,
        rows=list(zip(buckets, _names(language, frame, starts), targets, strict=True)),
        bars=bars.draw(language, buckets, _labels(language, frame, starts), targets),
        frames=list(_frames(frame.name, day)),
        csv=page.address("history_csv", frame=frame.name, date=_date(frame.name, day)),
        **_steps(frame.name, day, now.astimezone(page.zone()).date()),
    )


@blueprint.get("/history.csv")
def history_csv() -> Response:
    """The buckets of a frame as a file."""
    site = page.find_site()
    if site is None:
        abort_with(404, "There is no site.")
    _, buckets = _ask(site, datetime.now(UTC))
    date = request.args.get("date", "all")
    return csv.answer(COLUMNS, buckets, f"sunspool-{site.name}-{date}.csv")


def _ask(site: Site, now: datetime) -> tuple[Frame, list[dict[str, Any]]]:
    """The frame that the request names, a day unless it does, and its buckets."""
    servers = current_app.extensions["store"], current_app.extensions["cache"]
    try:
        frame = frames.parse(FRAMES, {"frame": "day", **_asked()})
        return frame, today.history(*servers, site, frame, page.zone(), now)
    except (frames.BadFrame, frames.TooManyBuckets) as error:
        abort_with(422, str(error))


def _asked() -> dict[str, str]:
    return {name: request.args[name] for name in ("frame", "date") if name in request.args}


def _date(frame: str, day: date) -> str | None:
    """A day as the `date` of a frame."""
    return day.isoformat()[: LENGTHS[frame]] if frame in LENGTHS else None


def _frames(chosen: str, day: date) -> Iterator[tuple[str, str]]:
    """Every frame with the address of its period that the day lies in."""
    for name in FRAMES:
        yield name, page.address("history", frame=name, date=_date(name, day))


def _steps(frame: str, day: date, today: date) -> dict[str, str | None]:
    """Where the periods before and after are; none where no sample can be."""
    steps: dict[str, str | None] = {"earlier": None, "later": None}
    if frame != "all" and periods.EARLIEST_YEAR < day.year <= periods.LATEST_YEAR:
        first = periods.floor(day, frame)
        before, after = periods.floor(first - timedelta(days=1), frame), periods.after(first, frame)
        steps["earlier"] = page.address("history", frame=frame, date=_date(frame, before))
        if after <= today:
            steps["later"] = page.address("history", frame=frame, date=_date(frame, after))
    return steps


def _title(language: Language, frame: str, day: date) -> str:
    if frame == "day":
        return formats.day(language, day)
    if frame == "month":
        return formats.month(language, day)
    return str(day.year) if frame == "year" else language.words["frame_all"]


def _names(language: Language, frame: Frame, starts: list[datetime]) -> list[str]:
    """What the buckets are called; an hour that comes twice is told which one it is."""
    if frame.width != "hour":
        write = formats.month if frame.width == "month" else formats.short_day
        return [write(language, start) for start in starts]
    names = [formats.clock(start) for start in starts]
    which = [
        language.words["twice_second" if name in names[:place] else "twice_first"]
        for place, name in enumerate(names)
    ]
    return [
        f"{name} {one}" if names.count(name) > 1 else name
        for name, one in zip(names, which, strict=True)
    ]


def _targets(frame: Frame, starts: list[datetime]) -> list[str | None]:
    """The addresses of what the buckets are made of."""
    inside = INSIDE.get(frame.name)
    if inside is None:
        return [None] * len(starts)
    address = page.address("history", frame=inside, date="")
    return [f"{address}{_date(inside, start.date())}" for start in starts]


def _labels(language: Language, frame: Frame, starts: list[datetime]) -> list[str]:
    """What stands below the bars: of some of them, for there is no room for all."""
    every = {"hour": 3, "day": 5, "month": max(1, -(-len(starts) // 12))}[frame.width]
    write = {
        "hour": formats.clock,
        "day": lambda start: str(start.day),
        "month": lambda start: language.months_short[start.month - 1],
    }[frame.width]
    return ["" if place % every else write(start) for place, start in enumerate(starts)]
