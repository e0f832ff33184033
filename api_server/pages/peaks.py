"""What the grid costs: the quarters of a month, twelve months, and the money."""

from datetime import UTC, date, datetime, timedelta

from flask import Response, current_app, g, request

from api_server.data import peaks as data
from api_server.data import periods
from api_server.data.periods import EARLIEST_YEAR, LATEST_YEAR
from api_server.pages import formats, page
from api_server.pages.languages import Language
from api_server.pages.page import blueprint
from api_server.pages.svg import quarters
from api_server.web import auth
from api_server.web.errors import abort_with
from edge_agent.shared.samples import P1

COST_FIELDS = (
    "import_kwh",
    "export_kwh",
    "mean_peak_w",
    "capacity_eur",
    "grid_eur",
    "data_eur",
    "import_eur",
    "export_eur",
    "levies_eur",
    "fixed_eur",
    "total_eur",
)
TIMES = ("monthly_peak_ts", "register_peak_ts", "official_peak_ts")


@blueprint.get("/peaks")
def peaks() -> Response:
    """The page of one meter and month."""
    meters = _meters()
    if not meters:
        return page.nothing()
    now, language = datetime.now(UTC), page.language()
    servers = current_app.extensions["store"], current_app.extensions["cache"]
    first = _month(now)
    month, listed, year, cost = data.read(*servers, page.settings(), _meter(meters), first, now)
    return page.render(
        "peaks.html",
        tab="peaks",
        meters=meters,
        month=month,
        title=formats.month(language, first),
        times=[_time(language, month[name]) for name in TIMES],
        curve=_draw(language, listed, month["monthly_peak_ts"], first),
        highest=[(one, _time(language, one["bucket"])) for one in month["peaks"]],
        year=year,
        bars=quarters.draw_year(language, year["months"], year["mean_w"]),
        months=[(one, _name(language, one["month"])) for one in reversed(year["months"])],
        cost=cost,
        cost_fields=COST_FIELDS,
        costs=[(one, _name(language, one["month"])) for one in reversed(cost["months"])],
        missing=sorted({text for one in cost["months"] for text in one["missing"]}),
        **_steps(first, now.astimezone(page.zone()).date()),
    )


def _meters() -> list[str]:
    """The meters that may be read, those of the chosen site first."""
    site = page.find_site()
    known = [one.device_id for one in g.caller.devices.values() if one.kind == P1.name]
    return sorted(known, key=lambda one: (site is None or one != site.meter, one))


def _meter(meters: list[str]) -> str:
    chosen = auth.readable_device().device_id if "device_id" in request.args else meters[0]
    if chosen not in meters:
        abort_with(404, "This is known of P1 meters only.")
    return chosen


def _month(now: datetime) -> date:
    """The first day of `date=2026-11`, or of this month."""
    if "date" not in request.args:
        return now.astimezone(page.zone()).date().replace(day=1)
    try:
        first = periods.parse_date(request.args["date"], "month")
    except ValueError:
        abort_with(422, "The date must be a month like 2026-11.")
    if not EARLIEST_YEAR <= first.year <= LATEST_YEAR:
        abort_with(404, "No sample lies in that month.")
    return first


def _steps(first: date, today: date) -> dict[str, str | None]:
    before, after = first - timedelta(days=1), periods.after(first, "month")
    later = page.here(date=after.isoformat()[:7]) if after <= today else None
    return {"earlier": page.here(date=before.isoformat()[:7]), "later": later}


def _draw(
    language: Language, listed: list[tuple[float, float]], highest: str | None, first: date
) -> str:
    zone = page.zone()
    start = periods.midnight(first, zone)
    end = periods.midnight(periods.after(first, "month"), zone)
    mark = highest and datetime.fromisoformat(highest).timestamp()
    return quarters.draw_month(language, listed, mark, start, end, zone)


def _time(language: Language, text: str | None) -> str:
    if text is None:
        return formats.DASH
    when = datetime.fromisoformat(text)
    return f"{formats.short_day(language, when)} {formats.clock(when)}"


def _name(language: Language, month: str) -> str:
    return formats.month(language, date.fromisoformat(f"{month}-01"))
