"""POST /v1/ingest: read the body within its limits, check it with the contract, store, answer."""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, current_app, g

from api_server import bodies
from api_server.config import Device, Settings
from api_server.errors import problem
from edge_agent import logs
from edge_agent.samples import KINDS, Problem, decode

blueprint = Blueprint("ingest", __name__)
log = logging.getLogger(__name__)


@blueprint.post("/v1/ingest")
def ingest() -> dict[str, int]:
    """Store a batch of one device; answered after COMMIT."""
    settings: Settings = current_app.config["SETTINGS"]
    samples = _samples(bodies.read(settings.max_request_bytes))
    if len(samples) > settings.max_samples_per_request:
        problem(413, f"At most {settings.max_samples_per_request} samples are taken at once.")
    if g.caller.writes is None:
        problem(403, "This token may only read.")
    device = g.caller.writes
    if any(map(_foreign_to(device), samples)):
        problem(403, "This token may not write samples of that device.")
    columns, problems = decode(KINDS[device.kind], samples, datetime.now(UTC))
    if problems:
        problem(422, [_entry(one, samples, device) for one in problems])
    return _store(device, columns, len(samples))


def _foreign_to(device: Device) -> Callable[[Any], bool]:
    """Whether a sample names another device; one without a proper name is merely invalid."""

    def foreign(sample: Any) -> bool:
        device_id = sample.get("device_id") if isinstance(sample, dict) else None
        return isinstance(device_id, str) and device_id != device.device_id

    return foreign


def _store(device: Device, columns: dict[str, list[Any]], received: int) -> dict[str, int]:
    inserted, differing = 0, 0
    if received:
        inserted, differing = current_app.extensions["store"].insert(KINDS[device.kind], columns)
        current_app.extensions["cache"].forget(device.device_id)
    counts = {"inserted": inserted, "received": received, "duplicates": received - inserted}
    logs.event(log, logging.INFO, "ingest", "samples stored", device=device.device_id, **counts)
    if differing:
        msg = f"{differing} known samples came again with other values; the first ones are kept"
        fields = {"device": device.device_id, "differing": differing}
        logs.event(log, logging.WARNING, "conflict", msg, **fields)
    return counts


def _samples(body: bytes) -> list[Any]:
    try:
        content = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        bodies.malformed("The body must be valid JSON in UTF-8.")
    if not isinstance(content, dict) or not isinstance(content.get("samples"), list):
        bodies.malformed('The body must be an object with a list "samples".')
    return content["samples"]


def _refuse_constant(_name: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


def _entry(one: Problem, samples: list[Any], device: Device) -> dict[str, Any]:
    msg = one.msg
    if one.type == "missing" and _other_kind(samples[one.index], device.kind):
        msg += (
            f"; this token is for kind {device.kind}: "
            "write token:device:p1 in DEVICE_TOKENS if this is a meter, token:device otherwise"
        )
    return {"loc": ["samples", one.index, one.field], "msg": msg, "type": one.type}


def _other_kind(sample: Any, kind: str) -> bool:
    """Whether a sample has all the keys that another kind requires."""
    return isinstance(sample, dict) and any(
        all(field.name in sample for field in other.fields if field.required)
        for other in KINDS.values()
        if other.name != kind
    )
