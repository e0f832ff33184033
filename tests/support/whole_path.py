"""One site for end-to-end tests: a server over HTTPS, and agents that know it."""

import json
import shutil
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from edge_agent.shared import samples
from tests.support.servers import Api, CertificateAuthority, EdgeAgent, run

INVERTER = "roof"
METER = "p1"
KINDS = {INVERTER: "sungrow", METER: "p1"}


class Site:
    """The server of a household; `database` is the URL of a migrated database."""

    def __init__(
        self,
        folder: Path,
        database: str,
        redis_url: str,
        ca: CertificateAuthority,
        tls: tuple[Path, Path],
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.database = database
        self.ca = ca
        tokens = ",".join(f"{token(name)}:{name}:{kind}" for name, kind in KINDS.items())
        server = {"DATABASE_URL": database, "REDIS_URL": redis_url, "DEVICE_TOKENS": tokens}
        self.api = Api(folder / "api", server | dict(settings or {}), tls)

    def agent(self, device_id: str, device: Mapping[str, str], **settings: str) -> EdgeAgent:
        """An agent for one of the devices; it uploads every second and backs off little."""
        common = {
            "DEVICE_ID": device_id,
            "VPS_INGEST_URL": self.api.url,
            "VPS_CA_FILE": str(self.ca.file),
            "VPS_DEVICE_TOKEN": token(device_id),
            "UPLOAD_INTERVAL_S": "1",
            "MIN_BACKOFF_S": "0.2",
            "MAX_BACKOFF_S": "1",
        }
        return EdgeAgent(self.folder / f"agent-{device_id}", common | device | settings)

    def curl(self, path: str, device_id: str) -> Any:
        """The JSON body that curl gets; fails on any status but 2xx."""
        if not shutil.which("curl"):
            pytest.skip("no curl: apt install curl")
        command = ["curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "20"]
        header = ["--header", f"Authorization: Bearer {token(device_id)}"]
        return json.loads(
            run([*command, "--cacert", self.ca.file, *header, f"{self.api.url}{path}"])
        )

    def stored(self, device_id: str, column: str = "ts") -> list[Any]:
        """A column of every row of a device, in the order of time."""
        table = f"{KINDS[device_id]}_samples"
        connection = psycopg2.connect(self.database)
        try:
            with connection.cursor() as cursor:
                sql = f"SELECT {column} FROM {table} WHERE device_id = %s ORDER BY ts"
                cursor.execute(sql, (device_id,))
                return [row[0] for row in cursor]
        finally:
            connection.close()


def token(device_id: str) -> str:
    """A device's own token."""
    return f"token-of-{device_id}"


def accepted(agent: EdgeAgent) -> list[tuple[datetime, bool]]:
    """Every reading that the agent says is durable in its spool, from its log at DEBUG: when it
    was taken, and whether it was held until the time was known."""
    lines = [json.loads(line) for line in agent.log().splitlines() if '"poll_ok"' in line]
    return [
        (samples.parse_time(line["sample"]["ts"]), line["held"])
        for line in lines
        if line.get("durable")
    ]


def find_missing(agent: EdgeAgent, in_database: list[datetime]) -> list[datetime]:
    """The accepted readings that are not in the database. One that was held got its time from
    the seconds since boot, which is not the wall clock's to the microsecond."""
    known = set(in_database)
    return [
        ts
        for ts, held in accepted(agent)
        if ts not in known
        and not (held and any(abs(ts - one) < timedelta(milliseconds=5) for one in in_database))
    ]
