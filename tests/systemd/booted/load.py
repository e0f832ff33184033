"""Asks the installed API again and again, from within the machine, and counts what is not a 200.

    python load.py URL CA TOKEN_FILE DEVICE SECONDS

The token is read before every request, so that it can be replaced meanwhile.
"""

import json
import ssl
import sys
import threading
import time
from collections import Counter
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

CLIENTS = 4


def main(url: str, ca: str, token_file: str, device: str, seconds: str) -> int:
    """Print how often which status came; network errors go by their names."""
    until = time.monotonic() + float(seconds)
    counts: Counter[str] = Counter()
    clients = [
        threading.Thread(target=_ask, args=(url, ca, Path(token_file), device, until, counts))
        for _ in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    print(json.dumps(counts))
    return 0


def _ask(url: str, ca: str, token: Path, device: str, until: float, counts: Counter[str]) -> None:
    host = urlsplit(url).netloc
    connection = HTTPSConnection(host, timeout=30, context=ssl.create_default_context(cafile=ca))
    while time.monotonic() < until:
        for method, path, body in (
            ("POST", "/v1/ingest", '{"samples": []}'),
            ("GET", f"/v1/realtime?device_id={device}", None),
        ):
            headers = {"Authorization": f"Bearer {token.read_text().strip()}"}
            try:
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                answer.read()
                result = str(answer.status)
            except (OSError, HTTPException) as error:
                connection.close()
                result = type(error).__name__
            counts[result] += 1
            time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
