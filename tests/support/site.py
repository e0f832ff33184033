"""A spool with samples, a misbehaving server, and an uploader between them."""

from collections import Counter
from pathlib import Path
from typing import Any

from edge_agent.spool.queue import Spool
from edge_agent.upload.uploader import Uploader
from tests.simulators.ingest_server import IngestServer
from tests.support.agent import numbers, sample, settings
from tests.support.servers import CertificateAuthority


class Site:
    """A spool with samples, a server, and an uploader between them."""

    def __init__(
        self,
        folder: Path,
        server: IngestServer,
        ca: CertificateAuthority,
        count: int = 20,
        **changes: Any,
    ):
        self.server = server
        self.settings = settings(
            folder, VPS_INGEST_URL=server.url, VPS_CA_FILE=ca.file, **({"BATCH_SIZE": 10} | changes)
        )
        self.spool = Spool(self.settings.spool_path, device_id=self.settings.device_id)
        self.heard = []
        self.report = {}
        self.uploader = Uploader(
            self.settings,
            self.spool,
            report=lambda: dict(self.report),
            on_server_time=self.heard.append,
        )
        self.total = 0
        self.fill(count)

    def fill(self, count: int) -> None:
        """Spool so many more samples."""
        for number in range(self.total, self.total + count):
            self.spool.enqueue(sample(number))
        self.total += count

    def drain(self, passes: int = 500) -> float:
        """Let it work until it pauses; returns that pause."""
        for _ in range(passes):
            if wait_s := self.uploader.tick():
                return wait_s
        raise AssertionError("it never pauses")

    def work(self, passes: int) -> None:
        """Let it do so many passes, whatever pauses it asks for."""
        for _ in range(passes):
            self.uploader.tick()

    @property
    def sizes(self) -> list[int]:
        """How many samples each request brought."""
        return [len(request.samples) for request in self.server.requests]

    @property
    def pending(self) -> int:
        """How many samples wait."""
        return self.spool.status()["pending"]

    @property
    def aside(self) -> dict[int, str]:
        """The set-aside samples with their reasons."""
        rejected = self.spool.status()["rejected"]
        return {round(one["sample"]["pv_power_w"]): one["reason"] for one in rejected}

    def check_ledger(self, pending: int = 0) -> None:
        """Every sample is in the database, set aside or pending, none twice, none lost."""
        left = [round(e.sample["pv_power_w"]) for e in self.spool.peek(10_000)]
        assert len(left) == self.pending == pending
        everywhere = Counter(numbers(self.server.stored)) + Counter([*self.aside, *left])
        assert everywhere == Counter(range(self.total))

    def close(self) -> None:
        """Let go of everything."""
        self.uploader.close()
        self.spool.close()
