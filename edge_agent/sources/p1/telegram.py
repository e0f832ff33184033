"""What only the meter's raw telegram tells: the peaks of past months, and whose hour it is.

Belgian meters keep up to 13 of them in one line, `0-0:98.1.0(count)(id)(id)` and for each month
`(its end)(time of the peak)(kW)`. Times are local, with S for summer time and W for winter time:
so those of the repeated hour in autumn mean one instant. A peak's time is the end of its quarter.
"""

import re
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Any, NamedTuple

from edge_agent.shared.samples import P1, format_time

_HISTORY = re.compile(r"^0-0:98\.1\.0\(\d+\)\(1-0:1\.6\.0\)\(1-0:1\.6\.0\)(.*)$", re.M | re.A)
_MONTH = re.compile(r"\((\d{12}[SW])\)\((\d{12}[SW])\)\((\d{1,5}\.\d{1,4})\*kW\)", re.A)
_RUNNING = re.compile(r"^1-0:1\.6\.0\((\d{12}[SW])\)", re.M | re.A)
_HIGHEST_W = {field.name: field.high for field in P1.fields}["monthly_power_peak_w"]


class Moment(NamedTuple):
    """A time of the meter: what its clock showed, and the instant that this was."""

    naive: datetime
    instant: datetime


def month_peaks(telegram: str, zone: tzinfo) -> list[dict[str, Any]]:
    """The peaks of past months as the agent reports them; what is no peak is left out."""
    line = _HISTORY.search(telegram)
    peaks = {}
    for end_text, peak_text, kilowatts in _MONTH.findall(line[1] if line else ""):
        end, peak = _moment(end_text, zone), _moment(peak_text, zone)
        month = _month(end.naive, peak.naive) if end and peak else None
        watts = round(float(kilowatts) * 1000)
        if month and watts <= _HIGHEST_W:
            peaks[month] = {"month": month, "w": watts, "ts": format_time(peak.instant)}
    return [peaks[month] for month in sorted(peaks)]


def running_peak(telegram: str, zone: tzinfo) -> Moment | None:
    """When the peak of the running month was, None if the telegram does not tell."""
    found = _RUNNING.search(telegram)
    return _moment(found[1], zone) if found else None


def _month(end: datetime, peak: datetime) -> str | None:
    """The month that ends at midnight of the 1st, if the peak's quarter ended in it."""
    start = (end - timedelta(days=1)).replace(day=1)
    is_month = end.day == 1 and end.time() == time.min
    return f"{start:%Y-%m}" if is_month and start < peak <= end else None


def _moment(text: str, zone: tzinfo) -> Moment | None:
    """The moment that YYMMDDhhmmss with its season means, None if there is no such time."""
    try:
        naive = datetime.strptime("20" + text[:-1], "%Y%m%d%H%M%S")
    except ValueError:
        return None
    local = naive.replace(tzinfo=zone)
    winter = (local.utcoffset() or timedelta()) - (local.dst() or timedelta())
    offset = winter + timedelta(hours=text.endswith("S"))
    return Moment(naive, (naive - offset).replace(tzinfo=UTC))
