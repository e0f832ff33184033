"""The SQL that joins the rollups between edges to one row each."""

from functools import cache

from edge_agent.shared.samples import KINDS

_QUERY = """
SELECT number, sample_count, {order}, {fields} FROM (
    SELECT number, sum(sample_count)::bigint AS sample_count, {gauges}, {sums} FROM (
        SELECT width_bucket(bucket, %(edges)s::timestamptz[]) AS number, bucket, sample_count,
            {weighed}, {counters}
        FROM {kind}_read_{level}(%(device)s, %(since)s, %(until)s)
        {around}
    ) AS part GROUP BY number
) AS joined ORDER BY number
"""
# Only what they know of the counters.
_AROUND = """
UNION ALL SELECT {number}, bucket, 0, {no_weighed}, {counters}
FROM {kind}_read_{level}(%(device)s, %(start{number})s, %(end{number})s)
"""


def fields_of(counter: str) -> str:
    """The columns of a counter's span."""
    fields = ("first_kwh", "first_ts", "last_kwh", "last_ts", "state")
    return ", ".join(f"({counter}).{field}" for field in fields)


@cache
def query_of(
    kind_name: str, level: str, counters: tuple[str, ...], around: tuple[tuple[int, str], ...]
) -> str:
    """The SQL of a range and of the parts around it, given by number and level."""
    kind = KINDS[kind_name]
    rollup = kind.rollup
    rule = f"{kind.max_power_w}, {kind.counter_step_kwh}"
    weighed = [*rollup.order, *sorted(set(rollup.averages.values()) - {"sample_count"})]
    gauges = [
        f"sum({name} * {weight}) / nullif(sum({weight}), 0) AS {name}"
        for name, weight in rollup.averages.items()
    ]
    gauges += [f"max({name}) AS {name}" for name in rollup.maxima]
    names = {
        "kind": kind.name,
        "weighed": ", ".join(weighed),
        "no_weighed": ", ".join("NULL" for _ in weighed),
        "counters": ", ".join(counters),
    }
    return _QUERY.format(
        **names,
        level=level,
        around="".join(
            _AROUND.format(**names, number=number, level=other) for number, other in around
        ),
        gauges=", ".join(gauges),
        sums=", ".join(f"counter_sum({one}, {rule} ORDER BY bucket) AS {one}" for one in counters),
        order=", ".join(rollup.order),
        fields=", ".join(map(fields_of, counters)),
    )
