"""A database, a service of messages, and the settings of a process between them."""

from collections.abc import Iterator

import pytest

from tests.api_server.alerts.running import House
from tests.simulators.message_sink import MessageSink


@pytest.fixture
def sink() -> Iterator[MessageSink]:
    """The service that messages go to."""
    with MessageSink() as sink:
        yield sink


@pytest.fixture
def env(settings: dict[str, str], sink: MessageSink) -> dict[str, str]:
    """Settings of an alerts process with one channel, and with the rights of the API."""
    return {
        **settings,
        "DATABASE_URL": settings["DATABASE_URL"].replace("//sunspool_owner:", "//sunspool:"),
        "ALERT_URLS": sink.url("topic"),
        "ALERT_INTERVAL_S": "1",
        "ALERT_SILENCE_S": "60",
    }


@pytest.fixture
def house(settings: dict[str, str]) -> Iterator[House]:
    """The database."""
    house = House(settings["DATABASE_URL"])
    yield house
    house.connection.close()
