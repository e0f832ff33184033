"""Sites with servers of their own, for tests that kill them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.site import Site
from tests.servers import CertificateAuthority, Redis


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
