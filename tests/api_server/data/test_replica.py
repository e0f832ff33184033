"""A streaming replica answers as its primary does, whatever is kept by then."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api_server import create_app
from tests.api_server.data.test_rollups import DEVICE, Site, make_site
from tests.support import history
from tests.support.servers import Replica

pytestmark = pytest.mark.slow

__all__ = ["make_site"]  # a fixture
HEADERS = {"Authorization": "Bearer token"}


def test_a_replica_answers_alike(make_site: Callable[..., Site], server_folder: Path) -> None:
    """Before anything is kept, with late samples, and after the next refresh."""
    site = make_site("postgres", "p1")
    made = history.make("p1", DEVICE, datetime(2025, 3, 20, tzinfo=UTC), 20, seed=2)
    history.insert(site.url, "p1", made[:-200])
    with Replica(server_folder / "replica", site.server) as replica:
        app = create_app(
            {
                "DATABASE_URL": replica.url(site.url.rpartition("/")[2]),
                "REDIS_URL": "redis://127.0.0.1:1",
                "DEVICE_TOKENS": f"token:{DEVICE}:p1",
            }
        )
        stages = (
            lambda: None,
            site.refresh,
            lambda: history.send(site.url, "p1", made[-200:]),
            site.refresh,
        )
        for stage in stages:
            stage()
            replica.catch_up()
            for width in ("hour", "day", "month"):
                span = {"frame": "year", "date": "2025", "bucket": width}
                answer = app.test_client().get(
                    "/v1/series", query_string={"device_id": DEVICE, **span}, headers=HEADERS
                )
                assert answer.status_code == 200
                told = answer.json["series"]
                assert told == site.series(**span)
                assert told
            sample = {"device_id": DEVICE, "ts": "2025-03-20T00:00:00Z", "power_w": 1}
            refused = app.test_client().post(
                "/v1/ingest",
                json={"samples": [{**sample, "import_power_w": 1}]},
                headers=HEADERS,
            )
            assert refused.status_code == 503
