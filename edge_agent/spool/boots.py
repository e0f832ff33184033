"""When boots began: the time of readings that were taken before the clock was known.

A machine without a clock counts the seconds since it booted, and these never jump. One good pair of
wall clock and seconds since boot gives every held reading of that boot its exact time.
"""

from edge_agent import RELEASED
from edge_agent.clock import ReadingTime
from edge_agent.spool.row import microseconds

GAP_US = 1_000_000  # between the last known reading and a boot that never knew the time


def unplaced(boot_id: str, boots: dict[str, int]) -> str:
    """The name under which a reading of this boot waits for the next placement."""
    return f"{boot_id.partition('#')[0]}#{len(boots)}" if boot_id in boots else boot_id


def began(
    held: list[tuple[str, float, float]], now: ReadingTime, newest_us: int | None
) -> dict[str, int]:
    """When the boots of held readings began: name -> microseconds since 1970.

    `held` are name, first and last second of each, oldest first. The boot of `now` is exact. One
    that never knew the time comes after the newest reading, or, if that cannot be, ends where
    this boot began.
    """
    this_us = microseconds(now.ts) - round(now.boot_s * 1e6)
    others = [boot for boot in held if boot[0].partition("#")[0] != now.boot_id]
    found = {name: this_us for name, _, _ in held} | {now.boot_id: this_us}
    span_us = sum(round((last - first) * 1e6) + GAP_US for _, first, last in others)
    end_us = max(this_us - span_us - GAP_US, microseconds(RELEASED))
    if newest_us is not None:
        end_us = min(end_us, newest_us)
    for name, first, last in others:
        found[name] = end_us + GAP_US - round(first * 1e6)
        end_us = found[name] + round(last * 1e6)
    return found
