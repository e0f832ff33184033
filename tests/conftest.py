"""The servers that tests share, and the databases they get from them."""

import glob
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.servers import (
    CertificateAuthority,
    CitusCluster,
    Postgres,
    Redis,
    migrated_database,
    open_folder,
)
from tests.support.servers.postgres import programs


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no worker ends long after the others."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """A folder for a server of the test's own: PostgreSQL's user can enter it, as root too."""
    with open_folder("sunspool-test-") as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A plain PostgreSQL."""
    with open_folder("sunspool-pg-") as folder, Postgres(folder) as server:
        yield server


@pytest.fixture(scope="session")
def timescale() -> Iterator[Postgres]:
    """PostgreSQL with TimescaleDB, Community edition."""
    _need("timescaledb-tsl-*.so", "install TimescaleDB Community (packages of timescale.com)")
    with open_folder("sunspool-ts-") as folder, Postgres(folder, "community") as server:
        yield server


@pytest.fixture(scope="session")
def timescale_apache() -> Iterator[Postgres]:
    """PostgreSQL with TimescaleDB, Apache edition."""
    _need("timescaledb.so", "install TimescaleDB (Debian 13: postgresql-17-timescaledb)")
    with open_folder("sunspool-ta-") as folder, Postgres(folder, "apache") as server:
        yield server


@pytest.fixture(scope="session")
def citus() -> Iterator[CitusCluster]:
    """A Citus coordinator with two workers."""
    _need("citus.so", "build Citus")
    with open_folder("sunspool-citus-") as folder, CitusCluster(folder) as cluster:
        yield cluster


def _need(file: str, way: str) -> None:
    libraries = programs().parent / "lib"
    if not glob.glob(str(libraries / file)):
        pytest.skip(f"no {file} in {libraries}: {way} for this PostgreSQL")


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    """A Redis."""
    with open_folder("sunspool-redis-") as folder, Redis(folder) as server:
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """URL of an empty database on plain PostgreSQL, as its ordinary owner."""
    url = postgres.create_database()
    yield url
    postgres.drop_database(_name(url))


@pytest.fixture
def migrated(postgres: Postgres) -> Iterator[str]:
    """URL of a migrated database on plain PostgreSQL, as its ordinary owner."""
    url = migrated_database(postgres)
    yield url
    postgres.drop_database(_name(url))


def _name(url: str) -> str:
    return urlsplit(url).path[1:]


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """A certificate authority for this run."""
    return CertificateAuthority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def tls(ca: CertificateAuthority) -> tuple[Path, Path]:
    """A server certificate for loopback, and its key."""
    return ca.issue("server")
