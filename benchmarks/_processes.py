"""Processes that a benchmark watches."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks._site import Site
from tests.support.servers import ROOT
from tests.support.servers.process import environment


@contextmanager
def alerts_process(place: Site) -> Iterator[int]:
    """The process of alerts of an installation; its id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "api_server.alerts"],
        cwd=ROOT,
        env=environment(place.env),
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)
