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


class Meaning(Enum):
    """The rows of the table of answers, each with what a log line calls it."""

    CONFIRMED = "confirmed"  # delete what was sent
    WRONG_SERVER = "wrong server: this is not how Sunspool answers"  # hold
    LOGIN = "the token is not accepted"  # hold for long, read its file again
    DEPLOYMENT = "the server is set up wrongly"  # hold
    NO_GZIP = "it does not take gzip"  # send plain from now on
    TOO_LARGE = "too much at once"  # send less
    REFUSED = "it refuses samples"  # find out which
    TROUBLE = "it has trouble"  # hold, it may be over soon


@dataclass(frozen=True)
class Verdict:
    """The meaning of one answer; `named` are the refused samples by their place in the batch."""

    meaning: Meaning
    cause: str
    inserted: int = 0
    named: dict[int, str] = field(default_factory=dict)
    retry_after_s: float = 0.0


_BY_STATUS = {
    400: Meaning.REFUSED,
    401: Meaning.LOGIN,
    403: Meaning.LOGIN,
    408: Meaning.TROUBLE,
    413: Meaning.TOO_LARGE,
    422: Meaning.REFUSED,
    425: Meaning.TROUBLE,
    429: Meaning.TROUBLE,
    501: Meaning.DEPLOYMENT,
}
_BY_CLASS = {2: Meaning.WRONG_SERVER, 3: Meaning.WRONG_SERVER, 4: Meaning.DEPLOYMENT}


def judge(answer: Answer, sent: int, gzipped: bool) -> Verdict:
    """Return what an answer to a batch of `sent` samples means."""
    status = answer.status
    body = answer.json()
    retry_after_s = _retry_after_s(answer)
    if status == 200 and (inserted := _proof(body, sent)) is not None:
        return Verdict(Meaning.CONFIRMED, Meaning.CONFIRMED.value, inserted)
    meaning = _BY_STATUS.get(status) or _BY_CLASS.get(status // 100, Meaning.TROUBLE)
    if status == 415 and gzipped:
        meaning = Meaning.NO_GZIP
    named = _named(body, sent) if meaning is Meaning.REFUSED else {}
    cause = f"the server answered {status}: {meaning.value}{_detail(body)}"
    return Verdict(meaning, cause, named=named, retry_after_s=retry_after_s)


def _proof(body: Any, sent: int) -> int | None:
    """How many rows are new, if the body proves that everything sent is in the database."""
    if not isinstance(body, dict):
        return None
    inserted = body.get("inserted")
    if type(inserted) is not int or not 0 <= inserted <= sent:
        return None
    received = body.get("received", sent)
    return inserted if type(received) is int and received == sent else None


def _named(body: Any, sent: int) -> dict[int, str]:
    """The reasons by place in the batch, from {"detail": [{"loc": ["samples", i, field], ...}]}."""
    named: dict[int, str] = {}
    details = body.get("detail") if isinstance(body, dict) else None
    for entry in details if isinstance(details, list) else ():
        if not isinstance(entry, dict) or not isinstance(entry.get("loc"), list):
            continue
        match entry["loc"]:
            case ["samples", int(index), *rest] | ["body", "samples", int(index), *rest]:
                if type(index) is int and 0 <= index < sent:
                    reason = ".".join(map(str, rest)) + ": " + str(entry.get("msg", "refused"))
                    known = named.get(index)
                    named[index] = (f"{known}; {reason}" if known else reason)[:REASON_LENGTH]
    return named


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
