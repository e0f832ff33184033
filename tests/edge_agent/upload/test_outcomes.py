"""What each answer means: the table, row by row."""

import json

import pytest

from edge_agent.http import Answer
from edge_agent.upload.outcomes import Action, classify

TROUBLE, DEPLOYMENT, WRONG = "it has trouble", "set up wrongly", "wrong server"


def said(status, body=b"", sent=3, gzipped=False, **headers):
    body = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return classify(Answer(status, headers, body), sent, gzipped)


@pytest.mark.parametrize("inserted", [0, 2, 3])
def test_only_the_proof_confirms(inserted):
    for body in ({"inserted": inserted}, {"inserted": inserted, "received": 3, "more": []}):
        outcome = said(200, body)
        assert (outcome.action, outcome.inserted) == (Action.CONFIRM, inserted)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Welcome to nginx</html>",
        b"\xff\xfe",
        b"[" * 60_000,
        None,  # longer than 64 KiB
        {},
        [],
        "inserted",
        3,
        {"inserted": True},
        {"inserted": 3.0},
        {"inserted": "3"},
        {"inserted": None},
        {"inserted": -1},
        {"inserted": 4},
        {"inserted": 3, "received": 2},
        {"inserted": 3, "received": 4},
        {"inserted": 3, "received": 3.0},
        {"inserted": 3, "received": None},
        {"inserted": 1, "received": True},
        {"received": 3},
    ],
    ids=str,
)
def test_a_200_without_the_proof_is_the_wrong_server(body):
    outcome = said(200, body)
    assert outcome.action is Action.HOLD
    assert WRONG in outcome.cause


@pytest.mark.parametrize(
    ("status", "action", "words"),
    [
        *((status, Action.HOLD, WRONG) for status in (201, 202, 204, 206, 299)),
        *((status, Action.HOLD, WRONG) for status in (300, 301, 302, 303, 304, 307, 308)),
        *((status, Action.HOLD_LONG, "token") for status in (401, 403)),
        *(
            (status, Action.HOLD, DEPLOYMENT)
            for status in (404, 405, 410, 411, 415, 501, 402, 418, 499)
        ),
        (413, Action.SEND_LESS, "too much"),
        *((status, Action.HOLD, "names no sample") for status in (400, 422)),
        *(
            (status, Action.HOLD, TROUBLE)
            for status in (408, 425, 429, 500, 502, 503, 504, 520, 599, 999)
        ),
    ],
)
def test_every_other_status_has_one_meaning_whatever_the_body_says(status, action, words):
    for body in (b"", {"inserted": 3, "received": 3}, {"detail": "no"}):
        outcome = said(status, body)
        assert outcome.action is action
        assert f"answered {status}: " in outcome.cause
        assert words in outcome.cause


def test_415_to_gzip_asks_for_plain():
    assert said(415, gzipped=True).action is Action.SEND_PLAIN
    assert said(415, gzipped=False).action is Action.HOLD


def test_refused_samples_are_named_with_their_reasons():
    detail = [
        {"loc": ["samples", 0, "pv_power_w"], "msg": "must be a number", "type": "type"},
        {"loc": ["samples", 2, "ts"], "msg": "is required", "type": "missing"},
        {"loc": ["samples", 2, "load_power_w"], "msg": "must not be null", "type": "null"},
    ]
    for status in (400, 422):
        outcome = said(status, {"detail": detail})
        assert outcome.action is Action.SET_ASIDE
        assert outcome.refused == {
            0: "pv_power_w: must be a number",
            2: "ts: is required; load_power_w: must not be null",
        }


@pytest.mark.parametrize(
    "detail",
    [
        "text",
        None,
        [],
        ["text", 1, None],
        [{"loc": ["body"], "msg": "m"}],
        [{"loc": "samples", "msg": "m"}],
        [{"loc": ["samples", 3, "f"]}, {"loc": ["samples", -1, "f"]}],  # not of this batch
        [{"loc": ["samples", True, "f"]}, {"loc": ["samples", "0", "f"]}, {"loc": ["samples"]}],
    ],
    ids=str,
)
def test_anything_else_names_no_sample(detail):
    outcome = said(422, {"detail": detail})
    assert (outcome.action, outcome.refused) == (Action.HOLD, {})


def test_the_way_other_frameworks_name_samples_is_read_too():
    detail = [{"loc": ["body", "samples", 1, "ts"], "msg": "bad"}]
    assert said(422, {"detail": detail}).refused == {1: "ts: bad"}


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("0", 0),
        ("17", 17),
        ("3601", 3600),
        ("999999999", 3600),
        ("Sat, 21 Nov 2026 12:00:30 GMT", 30),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 0),
        ("Sun, 22 Nov 2026 12:00:00 GMT", 3600),
        ("-5", 0),
        ("1.5", 0),
        ("soon", 0),
        ("Sat, 99 Nov 2026 12:00:00 GMT", 0),
        ("", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date_by_the_servers_own_clock(value, wait_s):
    outcome = said(503, Retry_After=value, Date="Sat, 21 Nov 2026 12:00:00 GMT")
    assert outcome.retry_after_s == wait_s
