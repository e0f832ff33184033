"""What /metrics says of the devices: asked at most every few seconds, and never waited for long."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Any

from prometheus_client.core import GaugeMetricFamily

from api_server.config import Device
from api_server.data import alerts, samples
from api_server.data.agents import Agents
from api_server.data.cache import Cache
from api_server.data.database import DatabaseUnavailable, Store
from edge_agent.shared.samples import KINDS

FRESH_S = 5.0
WAIT_S = 0.5  # a scrape waits no longer for a slow database: it gets what is known
RANGE = 500  # devices in one statement
SILENT_S = 60.0  # a power of a device that is silent for longer is not known
POWERS = {
    "sungrow": {
        "pv": "pv_power_w",
        "battery": "battery_power_w",
        "load": "load_power_w",
        "export": "export_power_w",
    },
    "p1": {"import": "power_w"},
}
FIELDS = {
    "sungrow": (*POWERS["sungrow"].values(), "battery_soc_pct"),
    "p1": tuple(POWERS["p1"].values()),
}


class Gauges:
    """A collector of the gauges of devices and of the servers behind the API."""

    def __init__(self, store: Store, cache: Cache, agents: Agents, devices: Iterable[Device]):
        self._store = store
        self._cache = cache
        self._agents = agents
        self._devices = sorted(set(devices), key=lambda device: device.device_id)
        self._asking: Future | None = None
        self._executor = ThreadPoolExecutor(1, "gauges")
        self._asked_at = float("-inf")
        self._newest: dict[str, dict[str, Any]] = {}
        self._reports: dict[str, dict[str, Any]] = {}
        self._open: list[tuple[str, str]] = []  # device and rule of alerts
        self._database_up = self._redis_up = False

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What is known now; called by prometheus-client at each scrape."""
        if monotonic() - self._asked_at >= FRESH_S:
            if self._asking is None or self._asking.done():
                self._asking = self._executor.submit(self._ask)
            wait([self._asking], WAIT_S)
        yield _gauge("database_up", "Whether the database answers.", [], [([], self._database_up)])
        yield _gauge("redis_up", "Whether Redis answers.", [], [([], self._redis_up)])
        yield from self._of_devices(datetime.now(UTC))

    def _ask(self) -> None:
        self._redis_up = self._cache.state() != "down"
        near: set[str] = set()  # those of a node that is away keep what was known of them
        opened: list[tuple[str, str]] = []
        try:
            for kind in POWERS:
                ids = [device.device_id for device in self._devices if device.kind == kind]
                for first in range(0, len(ids), RANGE):
                    some = samples.reachable(self._store, ids[first : first + RANGE])
                    self._newest |= samples.newest_of(
                        self._store, KINDS[kind], some, FIELDS[kind], datetime.now(UTC)
                    )
                    self._reports |= self._agents.read(some)
                    opened += self._store.run(partial(alerts.find_open, device_ids=some))
                    near.update(some)
            self._open = opened + [known for known in self._open if known[0] not in near]
            self._database_up = True
        except DatabaseUnavailable:
            self._database_up = False
        self._asked_at = monotonic()

    def _of_devices(self, now: datetime) -> Iterator[GaugeMetricFamily]:
        ages, powers, charges, spools = [], [], [], []
        for device in self._devices:
            device_id = device.device_id
            report = self._reports.get(device_id)
            if report and report["spool_count"] is not None:
                spools.append(([device_id], report["spool_count"]))
            newest = self._newest.get(device_id)
            if newest is None:
                continue
            age_s = max(0.0, (now - newest["ts"]).total_seconds())
            ages.append(([device_id], age_s))
            if age_s > SILENT_S:
                continue
            for kind, field in POWERS[device.kind].items():
                if newest[field] is not None:
                    powers.append(([device_id, kind], newest[field]))
            if newest.get("battery_soc_pct") is not None:
                charges.append(([device_id], newest["battery_soc_pct"] / 100))
        one = ["device"]
        yield _gauge("sample_age_seconds", "Age of the newest sample.", one, ages)
        text = "Power of the newest sample: + charging, + export, + import."
        yield _gauge("power_watts", text, ["device", "kind"], powers)
        yield _gauge("battery_charge_ratio", "State of charge, 0 to 1.", one, charges)
        text = "Samples that the agent holds, by its last report."
        yield _gauge("agent_spool_samples", text, one, spools)
        text = "1 for each alert that is open."
        yield _gauge("alert_open", text, ["device", "rule"], [(key, 1) for key in self._open])


def _gauge(
    name: str, text: str, labels: list[str], values: Iterable[tuple[Sequence[str], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"sunspool_{name}", text, labels=labels)
    for named, value in values:
        family.add_metric(named, float(value))
    return family
