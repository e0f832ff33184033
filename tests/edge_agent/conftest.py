"""Devices and sources that several modules of tests need."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.sources.p1.meter import P1Source
from tests.simulators.appliances import ApplianceCa
from tests.simulators.homewizard import MeterSimulator
from tests.simulators.ingest_server import IngestServer
from tests.support.p1 import BODY, V1_BODY, Bodies, source
from tests.support.servers import CertificateAuthority
from tests.support.site import Site

Appliances = tuple[ApplianceCa, tuple[Path, Path]]


@pytest.fixture(scope="session")
def appliances(tmp_path_factory: pytest.TempPathFactory) -> Appliances:
    """The CA of the look-alikes, and a certificate of the usual meter."""
    ca = ApplianceCa(tmp_path_factory.mktemp("appliances"))
    return ca, ca.issue()


@pytest.fixture
def v2(appliances: Appliances, tmp_path: Path) -> Iterator[tuple[MeterSimulator, P1Source]]:
    """A device with API v2 and a source that reads it."""
    ca, certificate = appliances
    with MeterSimulator(Bodies(BODY), certificate) as meter:
        reader = source(tmp_path, meter, ca.file)
        yield meter, reader
        reader.close()


@pytest.fixture
def v1(tmp_path: Path) -> Iterator[tuple[MeterSimulator, P1Source]]:
    """A device with API v1 and a source that reads it."""
    with MeterSimulator(Bodies(V1_BODY)) as meter:
        reader = source(tmp_path, meter, None)
        yield meter, reader
        reader.close()


@pytest.fixture
def server(tls: tuple[Path, Path]) -> Iterator[IngestServer]:
    """A server that takes samples and does as told."""
    with IngestServer(tls) as server:
        yield server


@pytest.fixture
def site(
    tmp_path: Path, server: IngestServer, ca: CertificateAuthority
) -> Iterator[Callable[..., Site]]:
    """Makes a site on that server, with settings of the test's own."""
    sites: list[Site] = []

    def build(**changes: object) -> Site:
        sites.append(Site(tmp_path, server, ca, **changes))
        return sites[-1]

    yield build
    for one in sites:
        one.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
