"""The real servers and programs that tests and the demo run, each a private process of its own.

Each is started on a free loopback port with its files in a folder of its own, is stopped by its
process id, and is ended by the kernel when the process that started it dies. Start them from a
thread that lives as long as they should: that thread is the parent the kernel watches.
"""

from tests.support.servers.citus import CitusCluster
from tests.support.servers.migrated import migrated_database
from tests.support.servers.postgres import Postgres, Replica
from tests.support.servers.process import (
    ROOT,
    Server,
    ServerFailed,
    free_port,
    open_folder,
    run,
    wait_until,
)
from tests.support.servers.programs import Api, EdgeAgent, Simulator, migrate
from tests.support.servers.redis import Redis
from tests.support.servers.tls import CertificateAuthority

__all__ = [
    "ROOT",
    "Api",
    "CertificateAuthority",
    "CitusCluster",
    "EdgeAgent",
    "Postgres",
    "Redis",
    "Replica",
    "Server",
    "ServerFailed",
    "Simulator",
    "free_port",
    "migrate",
    "migrated_database",
    "open_folder",
    "run",
    "wait_until",
]
