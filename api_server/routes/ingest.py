"""POST /v1/ingest: read the body within its limits, check it with the contract, store, answer."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, current_app, g, request

from api_server.config import Device, Settings
from api_server.data import agents, battery, capacity, closed, peaks, samples, today
from api_server.data.agents import Agents
from api_server.data.cache import Cache
from api_server.data.database import Store
from api_server.web import bodies, shortcut
from api_server.web.decoding import Problem, decode
from api_server.web.errors import abort_with
from api_server.web.metrics import Metrics
from api_server.web.shortcut import Batch
from edge_agent.shared import logs
from edge_agent.shared.samples import KINDS, P1, Kind

blueprint = Blueprint("ingest", __name__)
log = logging.getLogger(__name__)
MAX_DETAILS = 200  # beyond, each bad sample is named once; agents read 64 KiB of an answer


class Intake:
    """Stores what was checked, and keeps what goes with it."""

    def __init__(
        self, store: Store, cache: Cache, reports: Agents, metrics: Metrics, settings: Settings
    ):
        self._store, self._cache, self._agents, self._metrics = store, cache, reports, metrics
        self._kept_of = today.keys(settings.sites.values())

    def take(self, batch: Batch) -> dict[str, int]:
        """Store a batch of one device, and what its agent told; returns after COMMIT."""
        kind, some = KINDS[batch.device.kind], batch.columns["ts"]
        inserted = samples.insert(self._store, kind, batch.columns) if some else 0
        return self._conclude([batch], {batch.device.device_id: inserted})[batch.device]

    def shares(self, batch: Batch) -> bool:
        """Whether a batch can be stored together with others."""
        return samples.shares(self._store, KINDS[batch.device.kind], batch.columns)

    def take_together(self, batches: list[Batch]) -> dict[Device, dict[str, int]]:
        """Store batches of several devices; returns after COMMIT, without those of devices that
        could not be stored together with the others."""
        columns = [(KINDS[batch.device.kind], batch.columns) for batch in batches]
        return self._conclude(batches, samples.insert_together(self._store, columns))

    def _conclude(
        self, batches: list[Batch], inserted: dict[str, int]
    ) -> dict[Device, dict[str, int]]:
        """What follows for the batches whose new samples were counted, by their device."""
        batches = [batch for batch in batches if batch.device.device_id in inserted]
        outdated = {
            batch.device.device_id: self._outdated(batch.device, batch.columns)
            for batch in batches
            if batch.columns["ts"]
        }
        reports = [agents.checked(batch.told) for batch in batches]
        told = [one for one in zip(batches, reports, strict=True) if one[1]]
        kept = [agents.for_redis(one.device.device_id, report, one.now) for one, report in told]
        cached = bool(outdated or kept) and self._cache.forget(outdated, kept)
        written = [(batch.device.device_id, report, batch.now) for batch, report in told]
        if changed := self._agents.write(written, cached):
            self._cache.forget({device_id: [peaks.key(device_id)] for device_id in changed})
        return {batch.device: self._count(batch, inserted) for batch in batches}

    def _count(self, batch: Batch, inserted: dict[str, int]) -> dict[str, int]:
        device_id, received = batch.device.device_id, len(batch.columns["ts"])
        new = inserted[device_id]
        counts = {"inserted": new, "received": received, "duplicates": received - new}
        logs.event(log, logging.INFO, "ingest", "samples stored", device=device_id, **counts)
        self._metrics.count_samples(device_id, inserted=new, duplicate=received - new)
        return counts

    def _outdated(self, device: Device, columns: dict[str, list[Any]]) -> list[str]:
        """The keys of what is kept in Redis and may be otherwise with samples that came."""
        device_id, oldest, now = device.device_id, min(columns["ts"]), datetime.now(UTC)
        found = closed.outdated(device_id, oldest, now)
        found += self._kept_of.get(device_id, [])
        if device.kind == P1.name:
            return [*found, peaks.key(device_id), *capacity.outdated(device_id, oldest, now)]
        return found + battery.outdated(device_id, columns)


@blueprint.post("/v1/ingest")
def ingest() -> dict[str, int]:
    """Store a batch of one device, and what its agent reports; answered after COMMIT."""
    shortcut.raise_failure(request.environ)
    now = datetime.now(UTC)
    settings: Settings = current_app.config["SETTINGS"]
    body = _parse(bodies.read(settings.max_request_bytes))
    sent = body["samples"]
    if len(sent) > settings.max_samples_per_request:
        abort_with(413, f"At most {settings.max_samples_per_request} samples are taken at once.")
    device: Device | None = g.caller.writable_device
    if device is None:
        abort_with(403, "This token may only read.")
    if _any_foreign(sent, device):
        abort_with(403, "This token may not write samples of that device.")
    columns, problems = decode(KINDS[device.kind], sent, now, settings.keep_samples_days)
    if problems:
        current_app.extensions["metrics"].count_samples(device.device_id, rejected=len(sent))
        abort_with(422, _details(problems, sent, KINDS[device.kind]))
    batch = Batch(device, columns, body.get("agent"), now)
    return current_app.extensions["intake"].take(batch)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        bodies.malformed("The body must be valid JSON in UTF-8.")
    if not isinstance(content, dict) or not isinstance(content.get("samples"), list):
        bodies.malformed('The body must be an object with a list "samples".')
    return content


def _refuse_constant(_name: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


def _any_foreign(samples: list[Any], device: Device) -> bool:
    """Whether any sample names another device; one without a proper name is merely invalid."""
    named = (sample.get("device_id") for sample in samples if isinstance(sample, dict))
    return any(isinstance(name, str) and name != device.device_id for name in named)


def _details(problems: list[Problem], samples: list[Any], kind: Kind) -> list[dict[str, Any]]:
    """What to answer; a sample that is of another kind says just that."""
    misplaced = {one.index: _other_kind(samples[one.index], kind) for one in problems}
    told = {}
    for one in problems:
        other = misplaced[one.index]
        msg = one.msg
        if other:
            msg = f"this token is for kind {kind.name}; write token:device:{other} in DEVICE_TOKENS"
        key = one.index if other or len(problems) > MAX_DETAILS else (one.index, one.field)
        entry = {"loc": ["samples", one.index, one.field], "msg": msg, "type": one.type}
        told.setdefault(key, entry)
    return list(told.values())


def _other_kind(sample: Any, kind: Kind) -> str | None:
    """The other kind whose required fields a sample has all, unless it has its own as well."""
    if not isinstance(sample, dict):
        return None
    complete = [
        other.name
        for other in KINDS.values()
        if all(field.name in sample for field in other.fields if field.required)
    ]
    return complete[0] if complete and kind.name not in complete else None
