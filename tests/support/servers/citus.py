"""A Citus cluster on loopback: a coordinator and workers, set up as a superuser would."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Self

from tests.support.servers.postgres import API_ROLE, OWNER, Postgres
from tests.support.servers.process import run


class CitusNode(Postgres):
    """A PostgreSQL with Citus, its files made anew or copied from a node that never ran."""

    def __init__(self, folder: Path, blank: Self | None = None, durable: bool = False) -> None:
        folder.mkdir(mode=0o711)
        if blank:
            run(["cp", "-a", f"{blank.folder}/.", folder])
        super().__init__(folder, durable=durable)

    def options(self) -> list[str]:
        """Few shards, and connections without TLS: quick on one machine."""
        return [
            *super().options(),
            "shared_preload_libraries=citus",
            "citus.node_conninfo=sslmode=disable",
            "citus.shard_count=4",
            "citus.enable_statistics_collection=off",
            "wal_level=logical",  # shards are moved by logical replication
            "max_connections=150",
            "max_worker_processes=24",
            "max_replication_slots=16",
            "log_min_messages=notice",  # what `citus.log_remote_commands` tells
        ]


class CitusCluster:
    """A coordinator and its workers; databases are of the ordinary owner on all of them."""

    timescaledb = None  # as of a Postgres

    def __init__(self, folder: Path, workers: int = 2, durable: bool = False) -> None:
        self.folder = folder
        self.durable = durable
        self._numbers = count(1)
        self._blank = CitusNode(folder / "blank")
        self._blank.make()
        self.coordinator = CitusNode(folder / "coordinator", self._blank, durable)
        self.workers: list[CitusNode] = []
        for _ in range(workers):
            self._new_worker()

    @property
    def nodes(self) -> list[CitusNode]:
        """All of them, the coordinator first."""
        return [self.coordinator, *self.workers]

    def _new_worker(self) -> CitusNode:
        worker = CitusNode(self.folder / f"worker{len(self.workers)}", self._blank, self.durable)
        self.workers.append(worker)
        return worker

    def __enter__(self) -> "CitusCluster":
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.finish_start()
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.ask_to_stop()
        for node in self.nodes:
            node.stop()

    def create_database(self, name: str | None = None) -> str:
        """Make a database on all nodes and return its URL, as the owner, on the coordinator."""
        name = name or f"test_{next(self._numbers)}"
        self._on_all(lambda node: node.create_database(name), self.nodes)
        self.create_extension(name)
        self.join_workers(name)
        return self.coordinator.url(name)

    def create_extension(self, database: str) -> None:
        """Have the extension on all nodes, which tell each other their password."""
        self._on_all(lambda node: _create_extension(node, database), self.nodes)

    def join_workers(self, database: str) -> None:
        """Make them nodes of a database."""
        place = ("127.0.0.1", self.coordinator.port)
        self.coordinator.query("SELECT citus_set_coordinator_host(%s, %s)", place, database)
        for worker in self.workers:
            self._join(worker, database)

    @staticmethod
    def _on_all(work: Callable[[CitusNode], object], nodes: list[CitusNode]) -> None:
        with ThreadPoolExecutor() as threads:
            list(threads.map(work, nodes))

    def drop_database(self, name: str) -> None:
        """Remove a database from all nodes, whoever is connected to it."""
        self._on_all(lambda node: node.drop_database(name), self.nodes)

    def add_worker(self, database: str) -> CitusNode:
        """A further worker, started, which has no shards yet."""
        worker = self._new_worker()
        worker.start()
        worker.create_database(database)
        _create_extension(worker, database)
        self._join(worker, database)
        return worker

    def _join(self, worker: CitusNode, database: str) -> None:
        place = ("127.0.0.1", worker.port)
        self.coordinator.query("SELECT citus_add_node(%s, %s)", place, database)


def _create_extension(node: CitusNode, database: str) -> None:
    node.execute("CREATE EXTENSION citus", database)
    for role in (OWNER, API_ROLE, "postgres"):
        node.execute(
            f"INSERT INTO pg_dist_authinfo VALUES (0, '{role}', 'password={node.password}')",
            database,
        )
