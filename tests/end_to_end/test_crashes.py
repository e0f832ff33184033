"""Every program is killed in the middle of a run and started again: the rest heals by itself."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.servers import (
    EdgeAgent,
    Postgres,
    Redis,
    ServerFailed,
    Simulator,
    migrate,
    wait_until,
)
from tests.support.whole_path import INVERTER, METER, Site, accepted, find_missing

pytestmark = pytest.mark.slow

DOWN_S = 3
HEAL_S = 45


class Household:
    """Both devices, both agents, the server, its PostgreSQL and its Redis."""

    def __init__(self, folder: Path, running: ExitStack, ca, tls) -> None:
        self.postgres = running.enter_context(Postgres(folder / "postgres", durable=True))
        self.redis = running.enter_context(Redis(folder / "redis"))
        database = self.postgres.create_database()
        migrate(database)
        self.site = Site(folder, database, self.redis.url, ca, tls)
        self.api = running.enter_context(self.site.api)
        inverter = running.enter_context(Simulator(folder / "inverter", "inverter"))
        certificates = str(folder / "meter-tls")
        meter = running.enter_context(Simulator(folder / "m", "meter", "--folder", certificates))
        devices = {
            INVERTER: {"SUNGROW_HOST": "127.0.0.1", "SUNGROW_PORT": str(inverter.told["port"])},
            METER: {
                "HW_P1_HOST": "127.0.0.1",
                "HW_P1_PORT": str(meter.told["port"]),
                "HW_P1_CA_FILE": meter.told["ca_file"],
                "HW_P1_TOKEN": meter.told["token"],
            },
        }
        self.agents = {
            name: running.enter_context(self.site.agent(name, device, LOG_LEVEL="DEBUG"))
            for name, device in devices.items()
        }

    def new_samples_arrive(self, *devices: str) -> None:
        """Wait until a sample that is read from now on is in the database, for each device."""
        since = datetime.now(UTC)
        for name in devices or self.agents:
            wait_until(
                lambda name=name: self._newest(name) > since, HEAL_S, f"new samples of {name}"
            )

    def _newest(self, name: str) -> datetime:
        return max(self.site.stored(name), default=datetime.min.replace(tzinfo=UTC))


@pytest.fixture
def household(server_folder: Path, ca, tls) -> Iterator[Household]:
    with ExitStack() as running:
        yield Household(server_folder, running, ca, tls)


def crashes(household: Household) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is killed, and how it is started again."""
    for agent in household.agents.values():
        agent.kill()
    yield "the agents", lambda: [agent.start() for agent in household.agents.values()]
    household.api.kill_worker()
    yield "a worker", lambda: None  # gunicorn does it
    household.redis.kill()
    yield "Redis", household.redis.start
    household.postgres.kill()
    yield "PostgreSQL", household.postgres.start
    household.api.kill()
    yield "the API", household.api.start


def test_everything_else_goes_on_and_no_reading_is_missing(household: Household):
    household.new_samples_arrive()
    for what, start_again in crashes(household):
        time.sleep(DOWN_S)
        start_again()
        household.new_samples_arrive(METER)  # which is read every second
        assert household.site.curl(f"/v1/realtime?device_id={METER}", METER)["age_s"] < HEAL_S, what
    household.new_samples_arrive()
    for name, agent in household.agents.items():
        assert agent.stop() == 0
        assert find_missing(agent, household.site.stored(name)) == []
        assert len(accepted(agent)) > 5
        status = agent.spool()
        assert (status["pending"], status["set_aside"]) == (0, 0)


def test_a_database_that_is_down_fills_the_spool_and_empties_it_again(household: Household):
    agent = household.agents[METER]
    household.new_samples_arrive(METER)
    household.postgres.kill()
    wait_until(lambda: agent.health()["spool_count"] >= 5, HEAL_S, "five samples in the spool")
    with pytest.raises(ServerFailed, match="503"):
        household.site.curl(f"/v1/series?device_id={METER}&frame=day", METER)
    household.postgres.start()
    wait_until(lambda: agent.health()["spool_count"] <= 2, HEAL_S, "the spool to empty")
    assert longest_gap(household.site, agent) < timedelta(seconds=4)


def longest_gap(site: Site, agent: EdgeAgent) -> timedelta:
    """Between two samples in the database, which the meter is asked for every second."""
    stored = site.stored(agent.env["DEVICE_ID"])
    return max(late - early for early, late in pairwise(stored))
