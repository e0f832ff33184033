"""The pages: their bytes with everything, how long the server takes after five years of a house on
plain PostgreSQL, beside the API's answers that a page shows, and how long a browser does.

PAGES_STEP_S=300 and PAGES_MONTHS=1 in the environment make a quick run of less data.
"""

import http.client
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.cookies import SimpleCookie
from urllib.parse import urlsplit

import pytest
import redis

from api_server.data import closed, peaks, today
from api_server.data.cache import quarter_key
from api_server.devices import Site as House
from benchmarks import Row, _cost, _viewers
from benchmarks._site import Site, site
from tests.support.browser import browse
from tests.support.servers import ROOT, Api, CertificateAuthority

STEP_S = float(os.environ.get("PAGES_STEP_S", "60"))
MONTHS = int(os.environ.get("PAGES_MONTHS", "60"))
NAME = f"Pages after {MONTHS} months of a sample every {STEP_S:g} s, on plain PostgreSQL"
REQUESTS = 20  # of each page and round
LONGEST_S = 60  # of one page
SERVER_MS, UNCACHED_MS, MORE_MS, COMPLETE_MS, MAX_BYTES = 25, 150, 100, 300, 100_000
# What new samples of both devices have forgotten, and what late ones do.
NEW = [key for keys in today.keys([House("home", "meter", ("roof",))]).values() for key in keys]
NEW += [peaks.key("meter"), *map(quarter_key, ("meter", "roof"))]
REALTIME = ("realtime:roof", "realtime:meter")  # of all databases
LATE = [*NEW, *(f"{name}:{device}" for name in closed.NAMES for device in ("roof", "meter"))]
COOKIE = "__Host-sunspool"

_HOUSE = """
INSERT INTO sungrow_samples (device_id, ts, pv_power_w, battery_power_w, battery_soc_pct,
    load_power_w, pv_total_kwh, charge_total_kwh, discharge_total_kwh)
SELECT 'roof', ts, 2000 + 2000 * sin(h), 500 * cos(h), 50, 400, round((2 * h)::numeric, 1),
    round((h / 5)::numeric, 1), round((h / 6)::numeric, 1)
FROM ({times}) AS times;
INSERT INTO p1_samples (device_id, ts, power_w, import_power_w, energy_import_kwh,
    energy_export_kwh)
SELECT 'meter', ts, 1500 + 1500 * sin(h), 1500 + 1500 * sin(h), round((1.5 * h)::numeric, 3), 7
FROM ({times}) AS times
"""
_TIMES = """
SELECT ts, extract(epoch FROM ts - timestamptz '2020-01-01')::double precision / 3600 AS h
FROM generate_series(now() - {months} * interval '1 month', now() + interval '1 hour',
    {step} * interval '1 second') AS ts
"""


class Visitor:
    """Has logged in, and reads the API as well; a connection for each request."""

    def __init__(self, place: Site, api: Api):
        self.servers = api.pid, place.postgres.pid, place.redis.pid
        self.http = http.client.HTTPConnection(urlsplit(api.url).netloc, timeout=60)
        self.http.request("POST", "/ui/login", "token=reader")
        answer = self.http.getresponse()
        answer.read()
        value = SimpleCookie(answer.headers["Set-Cookie"])[COOKIE].value
        self.headers = {"Cookie": f"{COOKIE}={value}", "Authorization": "Bearer reader"}

    def get(self, path: str) -> bytes:
        """The body of a good answer."""
        self.http.close()  # a connection that waited too long for an answer takes no more
        self.http.request("GET", path, headers=self.headers)
        answer = self.http.getresponse()
        body = answer.read()
        assert answer.status == 200, (path, answer.status, body)
        return body

    def cpu_s(self) -> float:
        """The processor time of all servers."""
        return sum(map(_cost.tree_s, self.servers))


def run(rounds: int) -> list[Row]:
    """Each page over HTTP, the curve when nobody has asked for it yet, and a browser."""
    with site() as place:
        place.env |= {
            "DEVICE_TOKENS": f"roof:roof,meter:meter:p1,{_viewers.TOKENS}",
            "READ_TOKENS": "reader:roof+meter",
            "SITES": "home:roof+meter",
            "GRID_AREA": "west",
        }
        _fill(place)
        with Api(place.folder / "api", place.env) as api:
            visitor = Visitor(place, api)
            rows = [row for page in _shown().items() for row in _page(visitor, *page, rounds)]
            rows += _anew(place, visitor, rounds)
            cookie = visitor.headers["Cookie"]
            rows.append(_viewers.measure(api.url, cookie, visitor.cpu_s, rounds))
        # A browser keeps the cookie over HTTPS only.
        certificate = CertificateAuthority(place.folder / "tls").issue("server")
        with Api(place.folder / "https", place.env, certificate) as api:
            return [*rows, *_browser(api, rounds)]


def _shown() -> dict[str, list[str]]:
    """Every page and the answers of the API that it shows."""
    year, month = (datetime.now(UTC).strftime(form) for form in ("%Y", "%Y-%m"))
    now = ["/v1/balance/now?site=home", "/v1/capacity/now?device_id=meter"]
    peaks = [
        f"/v1/capacity/month/{month}?device_id=meter",
        "/v1/capacity/year?device_id=meter",
        f"/v1/cost?device_id=meter&frame=year&date={year}",
    ]
    days = [f"/v1/completeness?device_id={name}" for name in ("roof", "meter")]
    return {
        "/ui/": [*now, "/v1/balance?site=home&frame=day&bucket=day"],
        "/ui/live": now,
        **{
            f"/ui/history?frame={frame}": [f"/v1/balance?site=home&frame={frame}"]
            for frame in ("day", "month", "year", "all")
        },
        "/ui/peaks": peaks,
        "/ui/health": ["/v1/devices", *days],
    }


def _page(visitor: Visitor, path: str, answers: list[str], rounds: int) -> Iterator[Row]:
    size = _weigh(visitor, path)
    page, api, cpu_s = [], [], 0.0
    ends = time.monotonic() + LONGEST_S
    while len(page) < 2 or (len(page) < rounds * REQUESTS and time.monotonic() < ends):
        cpu_s -= visitor.cpu_s()
        page.append(_time(lambda: visitor.get(path)))
        cpu_s += visitor.cpu_s()
        api.append(_time(lambda: [visitor.get(answer) for answer in answers]))
    p95 = _percentile(page)
    more_ms = 1000 * (statistics.median(page) - statistics.median(api))
    ratio = SERVER_MS / 1000 / p95
    note = (
        f"p95 {1000 * p95:.1f} ms, processor time of the servers {1000 * cpu_s / len(page):.1f} ms;"
        f" {more_ms:+.1f} ms beside the API's answers; {size} bytes"
    )
    met = p95 * 1000 <= SERVER_MS and more_ms <= MORE_MS and size <= MAX_BYTES
    low, high = SERVER_MS / 1000 / max(page), SERVER_MS / 1000 / min(page)
    target = ">= 1 x, <= 100 ms more, <= 100000 bytes"
    yield Row(f"{path}: p95", f"{SERVER_MS} ms", ratio, low, high, target, met, note)


def _anew(place: Site, visitor: Visitor, rounds: int) -> Iterator[Row]:
    """Pages that nobody has asked for since samples came."""
    cache = redis.Redis.from_url(place.redis.url)
    pages = {path: ("new", SERVER_MS, NEW) for path in _shown() if path != "/ui/health"}
    for path, (samples, limit_ms, keys) in [*pages.items(), ("/ui/", ("late", UNCACHED_MS, LATE))]:
        times, cpu_s = [], 0.0
        for _ in range(rounds * REQUESTS):
            cache.delete(*REALTIME, *(f"{place.name}:{key}" for key in keys))
            cpu_s -= visitor.cpu_s()
            times.append(_time(lambda path=path: visitor.get(path)))
            cpu_s += visitor.cpu_s()
        limit, p95 = limit_ms / 1000, _percentile(times)
        spent = f"processor time of the servers {1000 * cpu_s / len(times):.1f} ms"
        yield Row(
            f"{path} after {samples} samples: p95", f"{limit_ms} ms", limit / p95,
            limit / max(times), limit / min(times), ">= 1 x", p95 <= limit,
            f"p95 {1000 * p95:.1f} ms, {spent}",
        )  # fmt: skip
    cache.close()


def _browser(api: Api, rounds: int) -> Iterator[Row]:
    """Until a page and all that it needs has been loaded, on loopback."""
    try:
        with browse(api.url) as browser:
            browser.open("/ui/")
            browser.find("#token").send_keys("reader")
            browser.find("main button").click()
            for path in ("/ui/", "/ui/history?frame=month", "/ui/peaks", "/ui/health"):
                times = []
                for _ in range(rounds * 3):
                    browser.open(path)
                    script = "return performance.getEntriesByType('navigation')[0].loadEventEnd"
                    times.append(browser.run(script) / 1000)
                limit, median = COMPLETE_MS / 1000, statistics.median(times)
                yield Row(
                    f"{path} complete in the browser", f"{COMPLETE_MS} ms", limit / median,
                    limit / max(times), limit / min(times), ">= 1 x", median <= limit,
                    f"median {1000 * median:.0f} ms",
                )  # fmt: skip
    except pytest.skip.Exception as reason:
        print(f"no browser: {reason}")


def _weigh(visitor: Visitor, path: str) -> int:
    """The bytes of a page with everything that it asks for."""
    body = visitor.get(path)
    static = set(re.findall(rb'(?:href|src)="(/ui/static/[^"]+)"', body))
    return len(body) + sum(len(visitor.get(one.decode())) for one in static)


def _fill(place: Site) -> None:
    times = _TIMES.format(months=MONTHS, step=STEP_S)
    name = place.url.rpartition("/")[2]
    place.postgres.execute(_HOUSE.format(times=times), name)
    first = datetime.now(UTC).year - MONTHS // 12 - 1
    command = [sys.executable, "-m", "api_server.rollups", "--since", f"{first}-01-01"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **place.env}, check=True)
    place.postgres.execute("VACUUM ANALYZE", name)


def _time(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _percentile(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[18]
