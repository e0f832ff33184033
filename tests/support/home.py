"""A site of a meter and two inverters: its database, the API on it, and what its balance must be.

The truth is computed from the samples in plain Python and shares nothing with the server.
"""

import random
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from api_server import create_app
from tests.support import history
from tests.support.energy_reference import energy
from tests.support.servers import Postgres, migrated_database
from tests.support.truth import Truth, spans

BUILT = datetime(2025, 1, 1, tzinfo=UTC)
KINDS = {"meter": "p1", "roof": "sungrow", "shed": "sungrow"}
WITHOUT_BATTERY = ("shed",)
SUMS = {
    "pv_kwh": "pv_kwh",
    "charge_kwh": "charge_kwh",
    "discharge_kwh": "discharge_kwh",
    "inverter_import_kwh": "grid_import_kwh",
    "inverter_export_kwh": "grid_export_kwh",
}


class Home:
    """A migrated database with the site `home`, and the API on it in this process."""

    def __init__(self, server: Postgres, redis_url: str = "redis://127.0.0.1:1", **more: str):
        self.server = server
        settings = {"SITE_TIMEZONE": "Europe/Brussels"} | more
        self.zone = ZoneInfo(settings["SITE_TIMEZONE"])
        self.url = migrated_database(server, settings["SITE_TIMEZONE"])
        self.env = {
            "DATABASE_URL": self.url,
            "REDIS_URL": redis_url,
            "DEVICE_TOKENS": "m:meter:p1,r:roof,s:shed,o:other",
            "READ_TOKENS": "all:meter+roof+shed,some:meter+roof",
            "SITES": "home:meter+roof+shed",
            "MAX_REQUESTS_PER_MINUTE": "0",
            **settings,
        }
        self.app = create_app(self.env)

    def ask(self, path: str, token: str = "all", **parameters: str) -> Any:
        """The answer to a GET."""
        headers = {"Authorization": f"Bearer {token}"}
        return self.app.test_client().get(path, query_string=parameters, headers=headers)

    def get(self, path: str, **parameters: str) -> Any:
        """The JSON of an answer that must be good."""
        answer = self.ask(path, **parameters)
        assert answer.status_code == 200, (parameters, answer.json)
        return answer.json

    def balance(self, **parameters: str) -> list[dict[str, Any]]:
        """The buckets of a balance."""
        return self.get("/v1/balance", site="home", **parameters)["series"]

    def insert(self, device_id: str, *samples: tuple[str | datetime, dict[str, Any]]) -> None:
        """Store samples, given as a local time or an instant, and what they say."""
        unknown = dict.fromkeys(name for _, sample in samples for name in sample)
        empty = {**unknown, **_EMPTY[KINDS[device_id]]}
        rows = [
            {"device_id": device_id, "ts": self.local(at), **empty, **sample}
            for at, sample in samples
        ]
        history.insert(self.url, KINDS[device_id], rows)

    def local(self, at: str | datetime) -> datetime:
        """A local time, or one with an offset, as an instant."""
        if isinstance(at, str):
            at = datetime.fromisoformat(at)
        return (at if at.tzinfo else at.replace(tzinfo=self.zone)).astimezone(UTC)

    def midnight(self, day: date) -> datetime:
        """When a local day begins."""
        return datetime.combine(day, time(), self.zone).astimezone(UTC)

    def close(self) -> None:
        """Remove the database."""
        self.server.drop_database(self.url.rpartition("/")[2])


_EMPTY = {
    "p1": {"power_w": 0, "import_power_w": 0},
    "sungrow": {
        "pv_power_w": 0.0,
        "battery_power_w": None,
        "battery_soc_pct": None,
        "load_power_w": None,
        "export_power_w": None,
        "sample_count": 1,
    },
}


def make_samples(start: datetime, days: int, seed: int) -> dict[str, list[dict[str, Any]]]:
    """What each device of a site sends in that time, as awkward as a history is."""
    made = {
        device_id: history.make(kind, device_id, start, days, seed + number)
        for number, (device_id, kind) in enumerate(KINDS.items())
    }
    chance = random.Random(seed)
    for sample in made["shed"]:
        sample["charge_total_kwh"] = sample["discharge_total_kwh"] = None
    for sample in made["roof"]:
        hours = (sample["ts"] - BUILT) / timedelta(hours=1)
        known = chance.random() > 0.02
        sample["charge_total_kwh"] = round(0.9 * hours, 1) if known else None
        sample["discharge_total_kwh"] = round(0.8 * hours, 1) if known else None
    return made


class TrueBalance:
    """What the balance of a site must say of its samples."""

    def __init__(self, samples: dict[str, list[dict[str, Any]]], zone: ZoneInfo):
        self.zone = zone
        self.devices = {name: Truth(KINDS[name], made) for name, made in samples.items()}

    def series(self, start: datetime, end: datetime, width: str) -> list[dict[str, Any]]:
        """Every bucket that an answer must have, in order."""
        rows = []
        for begin, stop in spans(start, end, width, self.zone):
            known = [truth.bucket(begin, stop, self.zone) for truth in self.devices.values()]
            if any(known):
                name = begin.astimezone(self.zone).isoformat()
                rows.append({"bucket": name, **self._energies(begin, stop), "complete": True})
        return rows

    def _energies(self, start: datetime, end: datetime) -> dict[str, Any]:
        meter, *inverters = (
            {name: energy(line, start, end) for name, line in truth.lines.items()}
            for truth in self.devices.values()
        )
        for name, energies in zip(list(self.devices)[1:], inverters, strict=True):
            if name in WITHOUT_BATTERY:
                energies |= {"charge_kwh": 0.0, "discharge_kwh": 0.0}
        row = {
            "grid_import_kwh": meter["energy_import_kwh"],
            "grid_export_kwh": meter["energy_export_kwh"],
        }
        for name, of_inverter in SUMS.items():
            parts = [energies[of_inverter] for energies in inverters]
            row[name] = None if None in parts else sum(parts)
        return row | percentages(row)


def percentages(row: dict[str, Any]) -> dict[str, Any]:
    """What follows of the energies of a bucket."""
    bought, sold, pv = row["grid_import_kwh"], row["grid_export_kwh"], row["pv_kwh"]
    terms = [pv, bought, row["discharge_kwh"], sold, row["charge_kwh"]]
    told: dict[str, Any] = {"clamped": False, "consumption_kwh": None}
    if None not in terms:
        consumption = pv + bought + row["discharge_kwh"] - sold - row["charge_kwh"]
        told["clamped"] |= consumption < 0
        told["consumption_kwh"] = max(consumption, 0)
    for name, part, whole in (
        ("self_sufficiency_pct", bought, told["consumption_kwh"]),
        ("self_consumption_pct", sold, pv),
    ):
        told[name] = None
        if part is not None and whole is not None and whole >= 0.05:
            percent = 100 - 100 * part / whole
            told["clamped"] |= not 0 <= percent <= 100
            told[name] = min(max(percent, 0), 100)
    return told
