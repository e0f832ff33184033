"""What each answer of the server means; pure, so that the table can be read and tested as one.

Only a 200 with the proof in its body confirms a batch. Everything else keeps the samples, except
that the server may name samples it will never take, or call a single one too large.
"""

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from edge_agent.http import Answer, parse_http_date

LONGEST_RETRY_AFTER_S = 3600.0
REASON_LENGTH = 200


class Action(Enum):
    """What the uploader has to do after an answer."""

    CONFIRM = "delete what was sent"
    HOLD = "keep everything, wait, send again"
    HOLD_LONG = "the same, with the longest wait and a token read again"
    SEND_PLAIN = "send without gzip from now on"
    SEND_LESS = "send fewer samples at once"
    SET_ASIDE = "set aside the refused samples"


@dataclass(frozen=True)
class Outcome:
    """One answer, classified; `refused` has reasons by the place of a sample in the batch."""

    action: Action
    cause: str
    inserted: int = 0
    refused: dict[int, str] = field(default_factory=dict)
    retry_after_s: float = 0.0


_WRONG_SERVER = (Action.HOLD, "wrong server: this is not how Sunspool answers")
_DEPLOYMENT = (Action.HOLD, "the server is set up wrongly")
_TROUBLE = (Action.HOLD, "it has trouble")
_TOKEN = (Action.HOLD_LONG, "the token is not accepted")
_REFUSED = (Action.SET_ASIDE, "it refuses samples")
_TOO_LARGE = (Action.SEND_LESS, "too much at once")

_BY_STATUS = {
    400: _REFUSED,
    401: _TOKEN,
    403: _TOKEN,
    408: _TROUBLE,
    413: _TOO_LARGE,
    422: _REFUSED,
    425: _TROUBLE,
    429: _TROUBLE,
    501: _DEPLOYMENT,
}
_BY_CLASS = {2: _WRONG_SERVER, 3: _WRONG_SERVER, 4: _DEPLOYMENT}


def classify(answer: Answer, sent: int, gzipped: bool) -> Outcome:
    """Return what an answer to a batch of `sent` samples means."""
    status, body = answer.status, answer.json()
    if status == 200 and (inserted := _proof(body, sent)) is not None:
        return Outcome(Action.CONFIRM, "confirmed", inserted)
    action, words = _BY_STATUS.get(status) or _BY_CLASS.get(status // 100, _TROUBLE)
    if status == 415 and gzipped:
        action, words = Action.SEND_PLAIN, "it does not take gzip"
    refused = _refused(body, sent) if action is Action.SET_ASIDE else {}
    if action is Action.SET_ASIDE and not refused:
        action, words = Action.HOLD, "it refuses the batch and names no sample"
    cause = f"the server answered {status}: {words}{_detail(body)}"
    return Outcome(action, cause, refused=refused, retry_after_s=_retry_after_s(answer))


def _proof(body: Any, sent: int) -> int | None:
    """How many rows are new, if the body proves that everything sent is in the database."""
    if not isinstance(body, dict):
        return None
    inserted = body.get("inserted")
    if type(inserted) is not int or not 0 <= inserted <= sent:
        return None
    received = body.get("received", sent)
    return inserted if type(received) is int and received == sent else None


def _refused(body: Any, sent: int) -> dict[int, str]:
    """The reasons by place in the batch, from {"detail": [{"loc": ["samples", i, field], ...}]}."""
    refused: dict[int, str] = {}
    details = body.get("detail") if isinstance(body, dict) else None
    for entry in details if isinstance(details, list) else ():
        if not isinstance(entry, dict) or not isinstance(entry.get("loc"), list):
            continue
        match entry["loc"]:
            case ["samples", int(index), *rest] | ["body", "samples", int(index), *rest]:
                if type(index) is int and 0 <= index < sent:
                    reason = ".".join(map(str, rest)) + ": " + str(entry.get("msg", "refused"))
                    known = refused.get(index)
                    refused[index] = (f"{known}; {reason}" if known else reason)[:REASON_LENGTH]
    return refused


def _detail(body: Any) -> str:
    detail = body.get("detail") if isinstance(body, dict) else None
    return f" ({json.dumps(detail)[:REASON_LENGTH]})" if detail else ""


def _retry_after_s(answer: Answer) -> float:
    """The wait the server asks for, as seconds or a date by its own clock; garbage is no wait."""
    text = answer.headers.get("Retry-After", "").strip()
    if re.fullmatch("[0-9]{1,9}", text):
        wait_s = float(text)
    elif date := parse_http_date(text):
        wait_s = (date - (answer.date or datetime.now(UTC))).total_seconds()
    else:
        return 0.0
    return min(max(wait_s, 0.0), LONGEST_RETRY_AFTER_S)
