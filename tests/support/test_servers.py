"""The servers that the other tests stand on."""

import socket
import ssl
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import psycopg2
import pytest

from tests.support.servers import (
    CertificateAuthority,
    Postgres,
    Redis,
    ServerFailed,
    free_port,
    wait_until,
)
from tests.support.servers.process import ROOT, Server, alive, environment

pytestmark = pytest.mark.slow


def rows(url: str, sql: str) -> list[tuple]:
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()
    finally:
        connection.close()


def test_a_database_belongs_to_an_ordinary_owner(database):
    sql = "SELECT current_user, usesuper FROM pg_user WHERE usename = current_user"
    assert rows(database, sql) == [("sunspool_owner", False)]
    assert rows(database, "SELECT 1 FROM pg_roles WHERE rolname = 'sunspool'") == [(1,)]


def test_postgresql_comes_back_after_a_crash(server_folder):
    with Postgres(server_folder, durable=True) as server:
        server.execute("CREATE TABLE kept AS SELECT 7 AS value")
        server.kill()
        assert not server.ready()
        server.start()
        assert server.query("SELECT value FROM kept") == [(7,)]


def test_timescaledb_is_loaded_with_the_licence_asked_for(timescale, timescale_apache):
    for server, licence in ((timescale, "timescale"), (timescale_apache, "apache")):
        assert server.query("SHOW timescaledb.license") == [(licence,)]


def test_redis_can_be_frozen_and_killed_and_comes_back(tmp_path):
    with Redis(tmp_path) as server:
        server.pause()
        assert not server.ready()
        server.resume()
        assert server.ready()
        server.kill()
        server.start()
        assert server.ready()


def test_a_certificate_is_good_for_its_names_only(ca: CertificateAuthority, tls):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*tls)
    client = ssl.create_default_context(cafile=str(ca.file))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    for name, good in (("127.0.0.1", True), ("localhost", True), ("example.org", False)):
        assert _handshake(context, client, name) is good


def _handshake(context: ssl.SSLContext, client: ssl.SSLContext, name: str) -> bool:
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def serve() -> None:
            with suppress(OSError):
                context.wrap_socket(theirs, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            client.wrap_socket(ours, server_hostname=name).close()
        except ssl.SSLCertVerificationError:
            return False
        finally:
            ours.close()
            thread.join(10)
        return True


def test_a_program_that_ends_at_once_fails_with_its_last_lines(tmp_path):
    class Broken(Server):
        def command(self) -> list[str]:
            return ["sh", "-c", "echo no such setting; exit 3"]

        def ready(self) -> bool:
            return False

    with pytest.raises(ServerFailed, match=r"ended with 3\n.*no such setting"):
        Broken(tmp_path).start()


@pytest.mark.parametrize("server", ["Redis", "Postgres"])
def test_servers_end_with_the_process_that_started_them(server_folder: Path, server: str):
    program = (
        f"import sys, os, signal; from tests.support.servers import {server};"
        f"server = {server}(sys.argv[1]).start(); print(server.pid, flush=True);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(server_folder)],
        cwd=ROOT,
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    wait_until(lambda: not alive(int(done.stdout)), 20, f"{server} to end")
    assert done.returncode == -9


def test_a_free_port_is_kept_for_the_server_that_asked():
    port = free_port()
    assert port < 32768
    with socket.socket() as another, pytest.raises(OSError, match="in use"):
        another.bind(("127.0.0.1", port))
    for _ in range(2):  # it may be started again there
        with socket.create_server(("127.0.0.1", port)):
            socket.create_connection(("127.0.0.1", port), 5).close()
