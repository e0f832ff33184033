"""A day of the simulated house through both pipelines: meter and inverter tell the same energy."""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from threading import Event
from zoneinfo import ZoneInfo

import pytest

from edge_agent import config
from edge_agent.clock import ReadingTime
from edge_agent.sources import Sample, Source, open_source
from edge_agent.spool.queue import Spool
from edge_agent.upload.uploader import Uploader
from tests.simulators.appliances import SERIAL, ApplianceCa, san
from tests.simulators.belgian import BelgianMeter
from tests.simulators.homewizard import TOKEN, MeterSimulator
from tests.simulators.house import House
from tests.simulators.inverter import InverterSimulator
from tests.simulators.inverter_words import HouseWords
from tests.support.agent import at
from tests.support.servers import EdgeAgent
from tests.support.whole_path import INVERTER, METER, Site

pytestmark = pytest.mark.slow

BRUSSELS = ZoneInfo("Europe/Brussels")
STEP = timedelta(minutes=15)
COUNTER_KWH = 0.1  # the smallest step of the inverter's counters


class Time:
    """The time that both devices and both agents have."""

    def __init__(self, day: date):
        midnight = datetime.combine(day, time(), BRUSSELS)
        self.now = midnight - STEP
        self.end = datetime.combine(day + timedelta(days=1), time(), BRUSSELS) + STEP

    def steps(self) -> Iterator[datetime]:
        """Every quarter of the day, one before and one after it."""
        while self.now <= self.end:
            yield self.now
            self.now += STEP


def read_all(agents: dict[str, EdgeAgent], now: Time) -> None:
    """Read both devices at every step, spool what they say, and upload it."""
    stop = Event()
    settings = {name: config.load(agent.env) for name, agent in agents.items()}
    spools = {name: Spool(each.spool_path) for name, each in settings.items()}
    meter = open_source(settings[METER], lambda: at(now.now), stop)
    for _ in now.steps():
        spools[METER].enqueue(*meter.read())
        # The source keeps 5 s between two polls; a new one has not polled yet.
        inverter = open_source(settings[INVERTER], lambda: at(now.now), stop)
        spools[INVERTER].enqueue(*read_once(inverter))
    meter.close()
    for name, spool in spools.items():
        uploader = Uploader(settings[name], spool)
        while spool.status()["pending"]:
            uploader.tick()
        uploader.close()
        spool.close()


def read_once(source: Source) -> tuple[Sample, ReadingTime]:
    try:
        return source.read()
    finally:
        source.close()


@pytest.mark.parametrize(
    ("day", "way"),
    [
        (date(2025, 11, 25), "import"),
        pytest.param(date(2025, 6, 5), "export", marks=pytest.mark.full),
    ],
)
def test_meter_and_inverter_agree_on_a_day(site: Site, tmp_path, day: date, way: str):
    now, house = Time(day), House()
    words, grid = HouseWords(house), BelgianMeter(house, now.now)
    ca = ApplianceCa(tmp_path / "appliances")
    with (
        InverterSimulator(lambda: words.at(now.now)) as inverter,
        MeterSimulator(lambda: grid.measurement(now.now), ca.issue(sans=(san(),))) as meter,
    ):
        agents = {
            INVERTER: site.agent(
                INVERTER, {"SUNGROW_HOST": "127.0.0.1", "SUNGROW_PORT": str(inverter.port)}
            ),
            METER: site.agent(
                METER,
                {
                    "HW_P1_HOST": "127.0.0.1",
                    "HW_P1_PORT": str(meter.port),
                    "HW_P1_CA_FILE": str(ca.file),
                    "HW_P1_SERIAL": SERIAL,
                    "HW_P1_TOKEN": TOKEN,
                },
            ),
        }
        read_all(agents, now)
    of_meter = energy(site, METER, day, "energy_{}_kwh")
    of_inverter = energy(site, INVERTER, day, "grid_{}_kwh")
    assert of_meter[way] > 100 * COUNTER_KWH
    assert of_inverter[way] == pytest.approx(of_meter[way], rel=0.01)
    for each in ("import", "export"):
        assert of_inverter[each] == pytest.approx(of_meter[each], abs=COUNTER_KWH)


def energy(site: Site, device_id: str, day: date, field: str) -> dict[str, float]:
    """The imported and exported energy of a day, summed over its hours as curl gets them."""
    path = f"/v1/series?device_id={device_id}&frame=day&date={day}"
    hours = site.curl(path, device_id)["series"]
    assert len(hours) == 24
    return {way: sum(hour[field.format(way)] for hour in hours) for way in ("import", "export")}
