"""Sites with servers of their own, for tests that kill them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import CertificateAuthority, Redis
from tests.support.whole_path import Site


@pytest.fixture
def site(
    migrated: str,
    redis: Redis,
    ca: CertificateAuthority,
    tls: tuple[Path, Path],
    tmp_path: Path,
) -> Iterator[Site]:
    """A running server on an empty database."""
    site = Site(tmp_path, migrated, redis.url, ca, tls)
    with site.api:
        yield site
