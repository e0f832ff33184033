"""What this server counts about itself, for Prometheus, right over several workers.

Counters are kept in files (prometheus-client's multiprocess mode), one set for each place that a
worker takes: the next worker in a place goes on counting where the last one ended, so that a death
loses nothing and the files do not grow with every restart. What can be asked anew at any time, the
gauges of devices, is not kept there: multiprocess mode shows 0 for a gauge with a function.
"""

import os
import shutil
import tempfile
from pathlib import Path
from time import perf_counter

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Histogram, multiprocess, values

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
OTHER = "other"  # a path or a method that is none of ours
DURATIONS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The counters of one app; without FOLDER in the environment those of this process only."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "sunspool_http_requests",
            "Requests answered.",
            ["route", "method", "status"],
            registry=self._registry,
        )
        self.durations = Histogram(
            "sunspool_http_request_duration_seconds",
            "Time to answer a request.",
            ["route"],
            buckets=DURATIONS_S,
            registry=self._registry,
        )
        self.samples = Counter(
            "sunspool_samples",
            "Samples that came, by what became of them.",
            ["device", "result"],
            registry=self._registry,
        )

    def register(self, app: Flask) -> None:
        """Count every request of the app."""

        @app.before_request
        def begin() -> None:
            g.began_s = perf_counter()

        @app.after_request
        def count(answer: Response) -> Response:
            route = request.url_rule.rule if request.url_rule else OTHER
            method = request.method if request.method in METHODS else OTHER
            self.count_request(route, method, answer.status_code, g.get("began_s"))
            return answer

    def count_request(self, route: str, method: str, status: int, began_s: float | None) -> None:
        """Count a request that is answered, and its time since `began_s` of the fine clock."""
        self.requests.labels(route, method, str(status)).inc()
        if began_s:
            self.durations.labels(route).observe(perf_counter() - began_s)

    def count_samples(self, device_id: str, **results: int) -> None:
        """Count samples by result: inserted, duplicate or rejected."""
        for result, count in results.items():
            self.samples.labels(device_id, result).inc(count)

    def collectors(self) -> CollectorRegistry:
        """A registry of all that the workers have counted together."""
        if FOLDER not in os.environ:
            return self._registry
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        return registry


class Places:
    """In gunicorn's master: the folder of the files, and which place each worker has."""

    def __init__(self) -> None:
        self._taken: dict[int, int] = {}  # worker's age -> place

    def start(self) -> None:
        """Begin with an empty folder; in the service's own, if it has one."""
        runtime = os.environ.get("RUNTIME_DIRECTORY")
        if runtime:
            folder = Path(runtime.split(":")[0]) / "metrics"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        else:
            folder = Path(tempfile.mkdtemp(prefix="sunspool-metrics-"))
        os.environ[FOLDER] = str(folder)

    def take(self, worker_age: int) -> None:
        """Give a worker that is about to start the first place that is free."""
        taken = set(self._taken.values())
        self._taken[worker_age] = next(n for n in range(len(taken) + 1) if n not in taken)

    def settle(self, worker_age: int) -> None:
        """In the worker, before it makes any metric: write to the files of its place."""
        place = self._taken[worker_age]
        values.ValueClass = values.MultiProcessValue(lambda: place)

    def leave(self, worker_age: int) -> None:
        """A worker has ended."""
        self._taken.pop(worker_age, None)

    def stop(self) -> None:
        """Remove the folder."""
        shutil.rmtree(os.environ.pop(FOLDER, ""), ignore_errors=True)


PLACES = Places()  # of this process, if it is the master
