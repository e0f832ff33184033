"""What Grafana makes of a panel's query before PostgreSQL gets it.

Variables are put in by the browser, the interval and the macros by Grafana's data source
(pkg/tsdb/grafana-postgresql-datasource, macros.go and sqleng/sql_engine.go).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg2

from tests.support.servers import ROOT

DASHBOARD = ROOT / "grafana" / "sunspool.json"
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
MACRO = re.compile(r"\$([_a-zA-Z0-9]+)\(([^)]*)\)")


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def panels() -> Iterator[dict[str, Any]]:
    """Its panels that show something."""
    return (panel for panel in dashboard()["panels"] if panel["type"] != "row")


@dataclass(frozen=True)
class View:
    """What is chosen on the dashboard: the time, the interval of a point, the variables."""

    start: datetime
    end: datetime
    variables: Mapping[str, str | list[str]]
    interval: str = "1h"
    timescaledb: bool = False

    def expand(self, sql: str) -> str:
        """The query as PostgreSQL gets it; ValueError if Grafana would refuse it."""
        sql = re.sub(r"\$(\w+)|\$\{(\w+)\}", self._variable, sql)
        sql = sql.replace("$__interval_ms", str(round(_seconds(self.interval) * 1000)))
        sql = sql.replace("$__interval", self.interval)
        return MACRO.sub(lambda found: self._macro(found, sql), sql)

    def _variable(self, found: re.Match[str]) -> str:
        """One that may have several values is a list of literals, another a text to be quoted."""
        value = self.variables.get(found[1] or found[2])
        if value is None:
            return found[0]  # not a variable of the dashboard, so the browser leaves it alone
        if isinstance(value, str):
            return value.replace("'", "''")
        return ",".join("'" + one.replace("'", "''") + "'" for one in value)

    def _macro(self, found: re.Match[str], sql: str) -> str:
        name, arguments = found[1], [part.strip(" ") for part in found[2].split(",")]
        start, end = (f"'{_time(at)}'" for at in (self.start, self.end))
        if name == "__timeGroup" and sql[sql.index(found[0]) + len(found[0]) :].startswith(","):
            name = "__timeGroupAlias"  # as it was written before Grafana 5.3
        if name == "__timeFilter":
            return f"{arguments[0]} BETWEEN {start} AND {end}"
        if name in ("__timeFrom", "__timeTo"):
            return start if name == "__timeFrom" else end
        if name in ("__timeGroup", "__timeGroupAlias"):
            group = self._group(*arguments)
            return f'{group} AS "time"' if name == "__timeGroupAlias" else group
        raise ValueError(f"unknown macro {name}")

    def _group(self, column: str, interval: str) -> str:
        seconds = _seconds(interval.strip("'"))
        if self.timescaledb:
            return f"time_bucket('{seconds:.3f}s',{column})"
        return f"floor(extract(epoch from {column})/{seconds:g})*{seconds:g}"


def _seconds(interval: str) -> float:
    found = re.fullmatch(r"(\d+)(ms|[smhdw])", interval)
    if not found:
        raise ValueError(f"no interval: {interval}")
    return int(found[1]) * SECONDS[found[2]]


def _time(at: datetime) -> str:
    """Go's RFC3339Nano."""
    text = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".")
    return f"{text}Z"


def run(url: str, sql: str) -> list[dict[str, Any]]:
    """The rows of a query, by the simple protocol as Grafana asks, on a connection of its own."""
    conn = psycopg2.connect(url)
    try:
        with conn.cursor() as cursor:
            cursor.execute(sql)
            names = [column.name for column in cursor.description]
            assert len(set(names)) == len(names)
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    finally:
        conn.close()
