"""When boots began: the time of readings that were taken before the clock was known.

A machine without a clock counts the seconds since it booted, and these never jump. One good pair of
wall clock and seconds since boot gives every held reading of that boot its exact time: table
`boots` says under the `boot_id` of its rows when it began.
"""

from datetime import datetime

from edge_agent import RELEASED
from edge_agent.clock import ReadingTime
from edge_agent.shared.samples import format_time
from edge_agent.spool.file import SpoolFile
from edge_agent.spool.row import microseconds, unplaced

GAP_US = 1_000_000  # between the last known reading and a boot that never knew the time
TAKEN_BACK_ROWS = 1000  # in one transaction
GOOD = "samples.crc = checksum(ts, samples.boot_id, boot_s, held, note, payload)"

HeldBoot = tuple[str, float, float]  # boot_id, first and last second of its held readings


def held_boots(file: SpoolFile) -> list[HeldBoot]:
    """The boots of held rows that have no time, oldest first."""
    return file.db.execute(
        "SELECT boot_id, min(boot_s), max(boot_s) FROM samples WHERE held = 1"  # noqa: S608
        f" AND boot_id NOT IN (SELECT boot_id FROM boots) AND {GOOD}"
        " GROUP BY boot_id ORDER BY min(id)"
    ).fetchall()


def began(held: list[HeldBoot], now: ReadingTime, newest: datetime | None) -> dict[str, int]:
    """When the boots of held readings began, in microseconds since 1970; the boot of `now` too.

    That one is exact. A boot that never knew the time comes after the newest reading, or, if that
    cannot be, ends where this boot began.
    """
    this_us = microseconds(now.ts) - round(now.boot_s * 1e6)
    others = [boot for boot in held if boot[0].partition("#")[0] != now.boot_id]
    found = {name: this_us for name, _, _ in held} | {now.boot_id: this_us}
    span_us = sum(round((last - first) * 1e6) + GAP_US for _, first, last in others)
    end_us = max(this_us - span_us - GAP_US, microseconds(RELEASED))
    if newest is not None:
        end_us = min(end_us, microseconds(newest))
    for name, first, last in others:
        found[name] = end_us + GAP_US - round(first * 1e6)
        end_us = found[name] + round(last * 1e6)
    return found


def take_back(file: SpoolFile, later_than: datetime, newest: datetime) -> int:
    """Hold some rows again that are later, the newest first; returns how many.

    When no others are left, `newest` is the newest time.
    """
    file.db.create_function("unplaced", 1, lambda boot_id: unplaced(boot_id, file.boots))
    text, number = format_time(later_than).rstrip("Z"), microseconds(later_than)
    with file.transaction():
        count = file.db.execute(
            "UPDATE samples SET held = 1, boot_id = unplaced(boot_id),"  # noqa: S608
            " crc = checksum(ts, unplaced(boot_id), boot_s, 1, note, payload)"
            " WHERE id IN (SELECT id FROM samples LEFT JOIN boots USING (boot_id) WHERE"
            " CASE held WHEN 0 THEN rtrim(ts, 'Z') > ? ELSE began + boot_s * 1e6 > ? END"
            f" AND {GOOD} ORDER BY id DESC LIMIT ?)",
            (text, number, TAKEN_BACK_ROWS),
        ).rowcount
        if count < TAKEN_BACK_ROWS:
            file.counters["newest_ts"] = format_time(newest)
    return count
