"""Sends slow requests to the API's socket, and a signal while they are on their way.

    python slow_ingest.py SOCKET TOKEN_FILE COMMAND

Prints the statuses that came.
"""

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

CLIENTS = 6
BODY = b'{"samples": []}'


def main(path: str, token_file: str, command: str) -> int:
    """Send half of each request, run the command, send the rest."""
    token = Path(token_file).read_text().strip()
    head = (
        f"POST /v1/ingest HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Length: {len(BODY)}\r\nConnection: close\r\n\r\n"
    )
    clients = [_begin(path, head.encode() + BODY[:5]) for _ in range(CLIENTS)]
    time.sleep(1)
    told = threading.Thread(target=subprocess.run, args=(command,), kwargs={"shell": True})
    told.start()
    time.sleep(3)
    statuses = [_finish(client) for client in clients]
    told.join()
    print(json.dumps(statuses))
    return 0


def _begin(path: str, half: bytes) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(path)
    client.sendall(half)
    return client


def _finish(client: socket.socket) -> str:
    try:
        client.sendall(BODY[5:])
        return client.recv(4096).decode()[9:12]
    except OSError as error:
        return type(error).__name__


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
