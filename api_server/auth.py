"""Who asks: a bearer token, compared by its digest, gives a device or the right to read some."""

from dataclasses import dataclass

from flask import current_app, request

from api_server.config import Device, Settings, digest
from api_server.errors import problem


@dataclass(frozen=True)
class Caller:
    """What a token allows: to read `devices`, and to write as `writes`."""

    token_digest: bytes
    devices: frozenset[str]
    writes: Device | None = None


def caller() -> Caller:
    """The caller by its token; ends the request with 401 if it is not known."""
    settings: Settings = current_app.config["SETTINGS"]
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    # Looking a digest up takes a time that says nothing about any token.
    known = digest(token.strip().encode("latin-1", "replace"))
    if scheme.lower() == "bearer" and token.strip():
        if known in settings.device_tokens:
            device = settings.device_tokens[known]
            return Caller(known, frozenset({device.device_id}), device)
        if known in settings.read_tokens:
            return Caller(known, settings.read_tokens[known])
    problem(
        401, "A valid token is needed: Authorization: Bearer <token>", WWW_Authenticate="Bearer"
    )


def readable_device() -> Device:
    """The device of `?device_id=`, which the caller may read; ends with 401, 403 or 422."""
    who = caller()
    device_id = request.args.get("device_id", "")
    if not device_id:
        problem(422, "The parameter device_id is required.")
    if device_id not in who.devices:
        problem(403, "This token may not read that device.")
    kinds = current_app.extensions["kinds"]
    return Device(device_id, kinds[device_id])
