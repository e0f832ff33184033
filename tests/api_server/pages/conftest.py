"""A house with some days of history behind pages, and who reads them."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest

from tests.simulators.house import House
from tests.support import history
from tests.support.client import Answer, Client
from tests.support.servers import (
    Api,
    CertificateAuthority,
    Postgres,
    Redis,
    migrated_database,
    open_folder,
)

COOKIE = "__Host-sunspool"
DAYS = 3
ROOF, METER = "house-roof", "house-meter"  # what other tests leave in Redis is not theirs


def samples(times: Iterable[datetime]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What the inverter and the meter of the simulated house tell."""
    house, inverter, meter = House(), [], []
    for at in times:
        now = house.at(at)
        grid_w = -round(now.export_w)
        inverter.append(
            {
                "device_id": ROOF,
                "ts": at,
                "pv_power_w": round(now.pv_w),
                "battery_power_w": round(now.battery_w),
                "battery_soc_pct": round(now.soc_pct, 1),
                "load_power_w": round(now.load_w),
                "export_power_w": round(now.export_w),
                "pv_total_kwh": round(now.pv_kwh, 1),
                "charge_total_kwh": round(now.charge_kwh, 1),
                "discharge_total_kwh": round(now.discharge_kwh, 1),
            }
        )
        meter.append(
            {
                "device_id": METER,
                "ts": at,
                "power_w": grid_w,
                "import_power_w": max(grid_w, 0),
                "energy_import_kwh": round(now.import_kwh, 3),
                "energy_export_kwh": round(now.export_kwh, 3),
            }
        )
    return inverter, meter


def log_in(browser: Client) -> str:
    """The cookie that a read token brings."""
    answer = browser.ask("POST", "/ui/login", b"token=reader-token")
    return f"{COOKIE}={SimpleCookie(answer.headers['Set-Cookie'])[COOKIE].value}"


class Reader(Client):
    """A browser that has logged in, and the same token for the API."""

    def __init__(self, api: Api, ca_file: Path | None = None):
        super().__init__(api.url, "reader-token", str(ca_file) if ca_file else None)
        self.cookie = log_in(Client(api.url, None, self.ca_file))

    def page(self, path: str, **headers: str) -> Answer:
        """A page, in English unless it is asked for otherwise."""
        return self.get(path, Cookie=self.cookie, **{"Accept_Language": "en", **headers})


@pytest.fixture(scope="session")
def house(
    postgres: Postgres,
    redis: Redis,
    ca: CertificateAuthority,
    tls: tuple[Path, Path],
) -> Iterator[Api]:
    """The API over HTTPS, with three days of a simulated house until today."""
    url = migrated_database(postgres)
    now = datetime.now(UTC).replace(microsecond=0)
    minutes = [now - timedelta(minutes=n) for n in range(10, DAYS * 24 * 60)]
    # Also of the time that the tests are going to take: the house does not fall silent meanwhile.
    moments = [now + timedelta(seconds=10 * n) for n in range(-60, 60)]
    inverter, meter = samples([*reversed(minutes), *moments])
    history.insert(url, "sungrow", inverter)
    history.insert(url, "p1", meter)
    environ = {
        "DATABASE_URL": url,
        "REDIS_URL": redis.url,
        "DEVICE_TOKENS": f"roof-token:{ROOF},meter-token:{METER}:p1",
        "READ_TOKENS": f"reader-token:{ROOF}+{METER}",
        "MAX_REQUESTS_PER_MINUTE": "0",
        "GRID_AREA": "west",
    }
    with open_folder("sunspool-pages-") as folder, Api(folder, environ, tls) as api:
        yield api
    postgres.drop_database(url.rpartition("/")[2])


@pytest.fixture
def reader(house: Api, ca: CertificateAuthority) -> Reader:
    """Who reads the house."""
    return Reader(house, ca.file)
