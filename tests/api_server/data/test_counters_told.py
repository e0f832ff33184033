"""What counters of real devices did, as the API tells it on every database."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api_server.data.test_rollups import DEVICE, Site, make_site
from tests.support import history

pytestmark = pytest.mark.slow

__all__ = ["make_site"]  # a fixture
FAMILIES = ["postgres", "timescale", pytest.param("timescale_apache", marks=pytest.mark.full)]
SECOND = timedelta(seconds=1)


def at(day: int, hour: int = 8) -> datetime:
    """A time in February 2026, in UTC."""
    return datetime(2026, 2, day, hour, tzinfo=UTC)


def every(start: datetime, step: timedelta, readings: Iterator[float]) -> Iterator[tuple]:
    """Readings one after the other."""
    for number, kwh in enumerate(readings):
        yield start + number * step, kwh


def meter(counter: str, readings: Iterator[tuple[datetime, float]]) -> list[dict[str, Any]]:
    """Samples of a meter that tells one counter."""
    empty = {"energy_import_kwh": None, "energy_export_kwh": None}
    return [
        {"device_id": DEVICE, "ts": ts, "power_w": 0, "import_power_w": 0, **empty, counter: kwh}
        for ts, kwh in readings
    ]


def energies(site: Site, name: str, day: int) -> list[float]:
    """What the hours, the day and the month say of an energy, each summed over the same day."""
    hours = site.series(frame="day", date=f"2026-02-{day:02}")
    days = site.series(frame="month", date="2026-02", bucket="day")
    the_day = [one for one in days if one["bucket"].startswith(f"2026-02-{day:02}")]
    return [round(sum(one[name] or 0 for one in told), 3) for told in (hours, the_day)]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_meter(make_site: Callable[..., Site], family: str) -> None:
    """One count back every five minutes; a dip on an edge; a swap within an outage, and while
    it is read; a jump that no meter can make."""
    site = make_site(family, "p1")
    flat = (43.881 if number % 300 == 299 else 43.882 for number in range(3600))
    made = meter("energy_import_kwh", every(at(2), SECOND, flat))
    dip = (94.4 if number == 899 else 95.4 for number in range(1800))
    made += meter("energy_export_kwh", every(at(2, 14), SECOND, dip))
    minute = 60 * SECOND
    old = (17077.0 + 0.963 * number / 60 for number in range(61))
    new = (0.412 + number / 60 for number in range(61))
    made += meter("energy_import_kwh", every(at(4), minute, (round(kwh, 3) for kwh in old)))
    made += meter("energy_import_kwh", every(at(4, 11), minute, (round(kwh, 3) for kwh in new)))
    jump = (95.4 + (5000 if 20 <= number < 25 else 0) for number in range(60))
    made += meter("energy_export_kwh", every(at(6), minute, jump))
    history.insert(site.url, "p1", made)
    for bring_up_to_date in (lambda: None, site.refresh):
        bring_up_to_date()
        assert energies(site, "energy_import_kwh", 2) == [0, 0]
        assert energies(site, "energy_export_kwh", 2) == [0, 0]
        assert energies(site, "energy_import_kwh", 4) == pytest.approx([2.375, 2.375], abs=0.001)
        assert energies(site, "energy_export_kwh", 6) == [0, 0]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_inverter(make_site: Callable[..., Site], family: str) -> None:
    """A still night whose quarters end one count low, and one false reading before a gap."""
    site = make_site(family, "sungrow")
    names = ("battery_power_w", "battery_soc_pct", "load_power_w", "export_power_w")

    def inverter(readings: Iterator[tuple[datetime, float]]) -> list[dict[str, Any]]:
        empty = dict.fromkeys(names)
        empty |= {"device_id": DEVICE, "pv_power_w": 0.0, "sample_count": 1}
        return [{**empty, "ts": ts, "pv_total_kwh": kwh} for ts, kwh in readings]

    step = 5 * SECOND
    night = (20303.2 if number % 180 == 179 else 20303.3 for number in range(12 * 180))
    made = inverter(every(at(2), step, night))
    single = (20303.3 + (40 if number == 359 else 0) for number in range(360))
    made += inverter(every(at(4), step, single))
    made += inverter(every(at(4, 14), step, (20303.3 + number / 3600 for number in range(720))))
    history.insert(site.url, "sungrow", made)
    for bring_up_to_date in (lambda: None, site.refresh):
        bring_up_to_date()
        assert energies(site, "pv_kwh", 2) == [0, 0]
        assert energies(site, "pv_kwh", 4) == pytest.approx([0.2, 0.2], abs=0.001)
