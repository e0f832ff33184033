"""Holds many half-sent requests open at the proxy, from within the machine.

    python half_sent.py HOST CA COUNT SECONDS

Prints a line once all are there.
"""

import socket
import ssl
import sys
import time

REQUEST = "POST /v1/ingest HTTP/1.1\r\nHost: {}\r\nContent-Length: 1000\r\n\r\n{{"


def main(host: str, ca: str, count: str, seconds: str) -> int:
    """Open them, say so, wait."""
    context = ssl.create_default_context(cafile=ca)
    held = []
    for number in range(int(count)):
        connection = socket.create_connection((host, 443), timeout=10)
        held.append(context.wrap_socket(connection, server_hostname=host))
        # Every second one is cut off within its headers.
        half = REQUEST.format(host).encode()[: None if number % 2 else -30]
        held[-1].sendall(half)
    print(f"{len(held)} half-sent requests", flush=True)
    time.sleep(float(seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
