"""Pairing with a HomeWizard meter: somebody presses its button, it gives a token, we store it."""

import hashlib
import json
import os
import re
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Event
from typing import TextIO

from edge_agent.config import TABLE
from edge_agent.http import Answer, Connection, NoAnswer
from edge_agent.shared import environment
from edge_agent.sources.p1.tls import Identity, WrongIdentity, write_whole

ASK_FOR_S = 120.0
ASK_EVERY_S = 1.0

# Exit codes as in sysexits.h.
OK, UNAVAILABLE, CANNOT_STORE, NOT_PRESSED, REFUSED, WRONG_METER, CONFIG = 0, 69, 73, 75, 76, 77, 78
INTERRUPTED = 130


_NEEDED = ("HOST", "PORT", "SERIAL", "CA_FILE", "TIMEOUT_S", "API")
_TABLE = [setting for setting in TABLE if setting.name.removeprefix("HW_P1_") in _NEEDED]


class PairingFailed(Exception):
    """No token; `code` is what the program exits with."""

    def __init__(self, code: int, msg: str):
        super().__init__(msg)
        self.code = code


def pair(environ: Mapping[str, str], out: TextIO, ask_for_s: float = ASK_FOR_S) -> int:
    """Wait for the button and store the token in HW_P1_TOKEN_FILE; returns the exit code.

    Everything that could fail without the meter is tried before anybody is asked to press.
    """
    try:
        _pair(environ, lambda line: print(line, file=out, flush=True), ask_for_s)
    except PairingFailed as failure:
        print(f"Not paired: {failure}", file=out)
        return failure.code
    except KeyboardInterrupt:
        print("\nNot paired: interrupted.", file=out)
        return INTERRUPTED
    return OK


def _pair(environ: Mapping[str, str], say: Callable[[str], None], ask_for_s: float) -> None:
    settings, path = _settings(environ)
    draft = _draft_beside(path)
    try:
        identity = Identity(settings["hw_p1_ca_file"], settings["hw_p1_serial"])
        host, port = settings["hw_p1_host"], settings["hw_p1_port"] or 443
        connection = Connection(host, port, identity.secure)
        request = partial(
            connection.request,
            "POST",
            "/api/user",
            {"X-Api-Version": "2"},
            json.dumps({"name": _user_name(path)}).encode(),
            within_s=settings["hw_p1_timeout_s"],
        )
        with closing(connection):
            token = _ask(request, identity, say, ask_for_s)
        _store(token, draft, path)
    finally:
        draft.unlink(missing_ok=True)
    say(f"Paired with the meter {identity.proven}; its token is in {path} (HW_P1_TOKEN_FILE).")
    say(f"Next: put HW_P1_SERIAL={identity.proven} into the agent's settings, so that it trusts")
    say("no other meter; try it with --once; restart the agent.")
    if environ.get("HW_P1_TOKEN"):
        say("Remove HW_P1_TOKEN from its settings: it comes before the file and is void now.")


def _settings(environ: Mapping[str, str]) -> tuple[dict, Path]:
    values, problems = environment.read(_TABLE, environ)
    path = environ.get("HW_P1_TOKEN_FILE")
    if not path:
        problems.append("HW_P1_TOKEN_FILE is required: the file that the token shall be stored in")
    if not values["hw_p1_host"] and not any(text.startswith("HW_P1_HOST ") for text in problems):
        problems.append("HW_P1_HOST is required: the address of the meter")
    if values["hw_p1_api"] == "v1":
        problems.append("HW_P1_API is v1, which needs no token: there is nothing to pair")
    if problems:
        raise PairingFailed(CONFIG, "; ".join(problems))
    return values, Path(os.path.realpath(path))


def _user_name(path: Path) -> str:
    """What the meter shall call us: the same for each pairing of this installation, and no other.

    The meter replaces the token of a name that it knows: pairing again leaves no dead user in
    its small memory, and a second installation must not take ours.
    """
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        machine = ""
    installation = f"{machine.strip()} {socket.gethostname()} {path}"
    return "local/sunspool-" + hashlib.sha256(installation.encode()).hexdigest()[:12]


def _ask(
    request: Callable[[], Answer], identity: Identity, say: Callable[[str], None], ask_for_s: float
) -> str:
    """Ask for a token until the button is pressed; asking is harmless."""
    pause, until, met = Event(), time.monotonic() + ask_for_s, False
    while True:
        try:
            answer = request()
        except WrongIdentity as error:
            raise PairingFailed(WRONG_METER, str(error)) from error
        except NoAnswer as error:
            if not met:
                raise PairingFailed(UNAVAILABLE, f"{error}. {_UNREACHABLE}") from error
        else:
            body = answer.json()
            body = body if isinstance(body, dict) else {}
            if answer.status == 200:
                return _token(body)
            _check_refusal(answer.status, body.get("error"))
            if not met:
                say(f"Found the meter {identity.proven}. Press its button now, for one second")
                say(f"(not longer); waiting for {ask_for_s:.0f} s ...")
            met = True
        if time.monotonic() >= until:
            raise PairingFailed(NOT_PRESSED, f"nobody pressed the button in {ask_for_s:.0f} s.")
        pause.wait(ASK_EVERY_S)


_UNREACHABLE = (
    "Is HW_P1_HOST its address? A meter with firmware before 6.00 has no API v2: "
    "update it in the HomeWizard app, or set HW_P1_API=v1, which needs no token."
)


def _token(body: dict) -> str:
    token = body.get("token")
    if not isinstance(token, str) or not re.fullmatch("[0-9A-Fa-f]{32}", token):
        raise PairingFailed(REFUSED, "the meter answered 200, but with no token in it.")
    return token


def _check_refusal(status: int, error: object) -> None:
    """Raise PairingFailed unless the answer means: ask again."""
    if error == "user:no-storage":
        cause = "the meter cannot store another user: delete unused ones in its app."
    elif status == 404:
        cause = f"the device answered 404. {_UNREACHABLE}"
    elif status in (403, 429) or status >= 500:
        return
    else:
        known = isinstance(error, str) and re.fullmatch(r"[a-z0-9:_-]{1,60}", error)
        cause = f"the meter answered {status}{f' {error}' if known else ''}."
    raise PairingFailed(REFUSED, cause)


def _draft_beside(path: Path) -> Path:
    """An empty file for the token, readable by its owner only; proves that it can be stored."""
    if path.exists() and not path.is_file():
        raise PairingFailed(CONFIG, f"HW_P1_TOKEN_FILE must name a file, and {path} is none.")
    if not path.parent.is_dir():
        raise PairingFailed(CONFIG, f"the directory {path.parent} does not exist: create it first.")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    except OSError as error:
        raise PairingFailed(CANNOT_STORE, f"cannot write in {path.parent}: {error}") from error
    os.close(handle)
    return Path(name)


def _store(token: str, draft: Path, path: Path) -> None:
    """Put the token in place of the old one, for the same owner."""
    try:
        if path.exists() and os.geteuid() == 0:
            owner = path.stat()
            os.chown(draft, owner.st_uid, owner.st_gid)
        write_whole(draft, path, token + "\n")
    except OSError as error:
        raise PairingFailed(CANNOT_STORE, f"cannot write {path}: {error}") from error
