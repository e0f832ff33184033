"""Who asks: a bearer token, compared by its digest, gives a device or the right to read some."""

from dataclasses import dataclass

from flask import current_app, g, request

from api_server import limits
from api_server.config import Device, Settings, digest
from api_server.errors import problem


@dataclass(frozen=True)
class Caller:
    """What a token allows: to read `devices`, and to write as `writes`."""

    devices: frozenset[str]
    writes: Device | None = None


def require_token() -> None:
    """Before anything else of a /v1 request: know the caller, or end it with 401 or 429."""
    if not request.path.startswith("/v1/"):
        return
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    # Looking a digest up takes a time that says nothing about any token.
    known = digest(token.strip().encode("latin-1", "replace"))
    caller = _caller(known) if scheme.lower() == "bearer" else None
    if caller is None:
        if token:
            limits.count_failed_login(_address())
        detail = "A valid token is needed: Authorization: Bearer <token>"
        problem(401, detail, WWW_Authenticate="Bearer")
    limits.count_request(known)
    g.caller = caller


def _caller(token_digest: bytes) -> Caller | None:
    settings: Settings = current_app.config["SETTINGS"]
    device = settings.device_tokens.get(token_digest)
    if device:
        return Caller(frozenset({device.device_id}), device)
    devices = settings.read_tokens.get(token_digest)
    return Caller(devices) if devices else None


def _address() -> str:
    """Where the request comes from; the proxy on this machine says it in its last entry."""
    if request.remote_addr in (None, "", "127.0.0.1", "::1") and request.access_route:
        return request.access_route[-1]
    return request.remote_addr or ""


def readable_device() -> Device:
    """The device of `?device_id=`, which the caller may read; ends with 403 or 422."""
    device_id = request.args.get("device_id", "")
    if not device_id:
        problem(422, "The parameter device_id is required.")
    if device_id not in g.caller.devices:
        problem(403, "This token may not read that device.")
    return current_app.extensions["devices"][device_id]
