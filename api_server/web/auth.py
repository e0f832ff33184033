"""Who asks: a bearer token, compared by its digest, gives a device or the right to read some."""

from collections.abc import Mapping
from dataclasses import dataclass

from flask import Flask, current_app, g, request

from api_server.config import Settings
from api_server.devices import Device, Site, digest
from api_server.web import limits
from api_server.web.errors import abort_with


@dataclass(frozen=True)
class Caller:
    """What a token allows: to read `devices`, by their ids, and to write for one."""

    devices: Mapping[str, Device]
    writable_device: Device | None = None


def register(app: Flask, settings: Settings) -> None:
    """Before anything else of a /v1 request: know the caller, or end it with 401 or 429."""
    callers = app.extensions["callers"] = Callers(settings)

    @app.before_request
    def require_token() -> None:
        if not request.path.startswith("/v1/") or request.path == "/v1/openapi.json":
            return
        header = request.headers.get("Authorization", "")
        known = token_digest(header)
        caller = callers.get(known) if known else None
        if known is None or caller is None:
            if " " in header.rstrip():
                limits.count_failed_login(address())
            detail = "A valid token is needed: Authorization: Bearer <token>"
            abort_with(401, detail, WWW_Authenticate="Bearer")
        limits.count_request(known)
        g.caller = caller


def token_digest(header: str) -> bytes | None:
    """The digest of a bearer token, of which only that is looked up: the time that it takes says
    nothing about any token. None for another scheme."""
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        return None
    return digest(token.strip().encode("latin-1", "replace"))


class Callers:
    """Who asks, by the digest of the token."""

    def __init__(self, settings: Settings):
        self._writers = settings.device_tokens
        devices = {}
        if settings.read_tokens:
            devices = {device.device_id: device for device in self._writers.values()}
        self._readers = {
            token: Caller({device_id: devices[device_id] for device_id in device_ids})
            for token, device_ids in settings.read_tokens.items()
        }

    def get(self, token: bytes) -> Caller | None:
        """Made for each request of a device: there may be very many."""
        device = self._writers.get(token)
        return Caller({device.device_id: device}, device) if device else self._readers.get(token)


def address() -> str:
    """Where the request comes from; the proxy on this machine says it in its last entry."""
    if request.remote_addr in (None, "", "127.0.0.1", "::1") and request.access_route:
        return request.access_route[-1]
    return request.remote_addr or ""


def readable_device() -> Device:
    """The device of `?device_id=`, which the caller may read; ends with 403 or 422."""
    device_id = request.args.get("device_id", "")
    if not device_id:
        abort_with(422, "The parameter device_id is required.")
    device = g.caller.devices.get(device_id)
    if device is None:
        abort_with(403, "This token may not read that device.")
    return device


def readable_site() -> Site:
    """The site of `?site=`, each of whose devices the caller may read; ends with 403 or 422."""
    name = request.args.get("site", "")
    if not name:
        abort_with(422, "The parameter site is required.")
    site = readable_sites().get(name)
    if site is None:
        abort_with(403, "This token may not read that site.")
    return site


def readable_sites() -> dict[str, Site]:
    """The sites, by name, whose every device the caller may read."""
    settings: Settings = current_app.config["SETTINGS"]
    return {
        name: site
        for name, site in settings.sites.items()
        if g.caller.devices.keys() >= set(site.device_ids)
    }
