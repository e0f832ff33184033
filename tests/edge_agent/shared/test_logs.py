"""Log lines are JSON objects, and no secret passes through them."""

import json
import logging
import subprocess
import sys

from edge_agent.shared import logs
from edge_agent.shared.logs import JsonLines, event


def line(record_of, secrets=()):
    """Format the one record that `record_of(log)` logs."""
    log, records = logging.Logger("sunspool.test"), []
    handler = logging.Handler()
    handler.emit = records.append
    log.addHandler(handler)
    record_of(log)
    before = logs.known_secrets
    for secret in secrets:
        logs.mask(secret)
    try:
        return json.loads(JsonLines().format(records[0]))
    finally:
        logs.known_secrets = before


def test_an_event_has_its_fields_beside_the_standard_ones():
    found = line(lambda log: event(log, logging.WARNING, "poll_failed", "No answer", cause="x\ny"))
    assert found["event"] == "poll_failed"
    assert found["level"] == "WARNING"
    assert found["logger"] == "sunspool.test"
    assert found["msg"] == "No answer"
    assert found["cause"] == "x\ny"
    assert found["ts"].endswith("+00:00")


def test_a_secret_in_a_message_a_field_or_a_trace_is_masked():
    def fail(log):
        try:
            raise ValueError('token "hunter2" refused')
        except ValueError:
            log.exception("with hunter2", extra={"fields": {"url": "https://x/?t=hunter2"}})

    found = line(fail, secrets=["hunter2", ""])
    assert "hunter2" not in json.dumps(found)
    assert "***" in found["trace"]


def test_a_token_that_is_a_word_does_not_spoil_the_logs():
    found = line(lambda log: event(log, logging.INFO, "stop", "stopped"), secrets=["ts", "stop"])
    assert (found["event"], found["msg"]) == ("stop", "stopped")


def test_a_secret_that_is_learnt_later_is_masked_as_well():
    program = (
        "import logging; from edge_agent.shared import logs; logs.set_up('INFO', ['a-token']);"
        "logs.mask('a-token-and-more'); logging.error('a-token a-token-and-more')"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert json.loads(said.stderr)["msg"] == "*** ***"


def test_a_line_of_any_library_is_one_json_object_on_stderr():
    program = (
        "import logging; from edge_agent.shared import logs; logs.set_up('INFO');"
        "logging.getLogger('urllib3').warning('two\\nlines %s', object())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == ""
    (printed,) = done.stderr.splitlines()
    assert json.loads(printed)["logger"] == "urllib3"
