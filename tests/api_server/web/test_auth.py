"""Who may read a site: whose token reads every device of it."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api_server import create_app
from api_server.web.auth import readable_site

TOKENS = "a:roof,b:shed,c:meter:p1,d:barn,e:counter:p1"
READERS = "all:roof+shed+meter+barn+counter,villa:meter+roof+shed,part:meter+roof"


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    """Of an API with a route that needs a site and nothing else."""
    app: Flask = create_app(
        {
            "DATABASE_URL": "postgresql:///none",
            "REDIS_URL": "redis://127.0.0.1:1/0",
            "DEVICE_TOKENS": TOKENS,
            "READ_TOKENS": READERS,
            "SITES": "villa:roof+meter+shed,farm:barn+counter",
        }
    )
    app.add_url_rule("/v1/site", view_func=lambda: {"site": readable_site().name})
    return app.test_client()


@pytest.mark.parametrize(
    ("token", "query", "status"),
    [
        ("all", "site=villa", 200),
        ("all", "site=farm", 200),
        ("villa", "site=villa", 200),
        ("villa", "site=farm", 403),
        ("part", "site=villa", 403),
        ("a", "site=villa", 403),
        ("c", "site=villa", 403),
        ("all", "site=home", 403),
        ("all", "site=nowhere", 403),
        ("all", "", 422),
        ("all", "site=", 422),
        ("part", "device_id=roof", 422),
        ("wrong", "site=villa", 401),
    ],
)
def test_a_site_is_read_by_who_reads_all_its_devices(client, token, query, status):
    answer = client.get(f"/v1/site?{query}", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == status
    if status == 200:
        assert answer.json == {"site": query.removeprefix("site=")}
    else:
        assert set(answer.json) == {"detail"}
