"""A private Redis that keeps nothing on disk."""

import shutil
import socket
from pathlib import Path

from tests.support.servers.process import Server, ServerFailed, free_port


class Redis(Server):
    """A Redis on a loopback port."""

    name = "redis"

    def __init__(self, folder: Path | str):
        super().__init__(folder)
        self.port = free_port()

    def command(self) -> list[str]:
        """The server in the foreground, without persistence."""
        program = shutil.which("redis-server")
        if program is None:
            raise ServerFailed("no Redis here: apt install redis-server")
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", ""]
        return [program, *options, "--appendonly", "no", "--dir", str(self.folder)]

    def ready(self) -> bool:
        """True when it answers PING."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(7).startswith(b"+PONG")
        except OSError:
            return False

    @property
    def url(self) -> str:
        """Where it is, for REDIS_URL."""
        return f"redis://127.0.0.1:{self.port}/0"
