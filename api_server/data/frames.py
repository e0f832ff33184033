"""Frames of history: which stretch of local days a caller asks for, and how it is cut."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from zoneinfo import ZoneInfo

from api_server.data import periods

SHORT = ("day", "week")  # read in no time, unless the rollups are just being made anew
MAX_BUCKETS = 10_000


class BadFrame(ValueError):
    """What was asked for is no frame of this history; the text says what is."""


class TooManyBuckets(ValueError):
    """A stretch would be cut into more buckets than one answer may have."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A day, week, month, year or all, in buckets of a width; `day` lies in it, None is today."""

    name: str
    width: str
    day: date | None = None
    complete_only: bool = False  # leave out the buckets that are still running

    @property
    def level(self) -> str:
        """The widest rollup that fits both into the buckets and into the frame."""
        return "day" if self.width == "month" and self.name in SHORT else self.width

    def edges(
        self, now: datetime, zone: ZoneInfo, find_first: Callable[[str], datetime | None]
    ) -> list[datetime]:
        """Where its buckets meet, in UTC; none where no sample can be.

        `find_first` gives a time in the same bucket of a width as the first sample, or None.
        Raises TooManyBuckets.
        """
        today = now.astimezone(zone).date()
        oldest = find_first(self.width) if self.name == "all" else None
        if oldest is not None:
            span = "day" if self.width == "hour" else self.width
            first = periods.floor(oldest.astimezone(zone).date(), span)
            end = periods.after(periods.floor(today, span), span)
        else:
            day = self.day or today
            if self.name == "all" or not periods.EARLIEST_YEAR <= day.year <= periods.LATEST_YEAR:
                return []
            first = periods.floor(day, self.name)
            end = periods.after(first, self.name)
        edges = list(islice(periods.find_edges(first, end, self.width, zone), MAX_BUCKETS + 2))
        if len(edges) > MAX_BUCKETS + 1:
            raise TooManyBuckets(f"That would be more than {MAX_BUCKETS} buckets.")
        return edges


def parse(frames: Mapping[str, str], asked: Mapping[str, str]) -> Frame:
    """The frame that the parameters of a request name; raises BadFrame.

    `frames` are those that there are, each with the usual width of its buckets.
    """
    name = asked.get("frame", "")
    if name not in frames:
        raise BadFrame(f"The frame must be one of {', '.join(frames)}.")
    width = asked.get("bucket", frames[name])
    if width not in periods.WIDTHS:
        raise BadFrame(f"The bucket must be one of {', '.join(periods.WIDTHS)}.")
    complete = asked.get("complete", "false").lower()
    if complete not in ("true", "false"):
        raise BadFrame("complete must be true or false.")
    text = asked.get("date")
    try:
        day = None if text is None else periods.parse_date(text, name)
    except ValueError:
        forms = "day and week: 2026-11-21, month: 2026-11, year: 2026, all: none"
        raise BadFrame(f"The date must exist and fit the frame ({forms}).") from None
    return Frame(name, width, day, complete == "true")
