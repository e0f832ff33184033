"""The cookie of a login: whose it is, how long it is good, and what nobody can make."""

import base64
from datetime import UTC, datetime, timedelta

import pytest

from api_server.devices import digest
from api_server.pages import session

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = b"the database's"
READER, OTHER = digest(b"reader-token"), digest(b"other-token")


@pytest.fixture
def cookie() -> str:
    return session.make(KEY, READER, NOW)


def test_it_says_who_reads(cookie):
    assert session.read(KEY, cookie, [OTHER, READER], NOW) == READER


def test_it_is_good_for_90_days(cookie):
    last = NOW + timedelta(days=90) - timedelta(seconds=1)
    assert session.read(KEY, cookie, [READER], last) == READER
    assert session.read(KEY, cookie, [READER], NOW + timedelta(days=90)) is None


def test_one_of_the_future_is_not_good(cookie):
    assert session.read(KEY, cookie, [READER], NOW - timedelta(hours=1)) is None


def test_it_ends_with_its_token(cookie):
    assert session.read(KEY, cookie, [OTHER], NOW) is None


def test_another_key_ends_it(cookie):
    assert session.read(b"another", cookie, [READER], NOW) is None


def test_neither_the_token_nor_its_digest_is_in_it(cookie):
    content = base64.urlsafe_b64decode(cookie)
    assert b"reader" not in content
    assert READER[:6] not in content


def test_one_changed_bit_ends_it(cookie):
    content = base64.urlsafe_b64decode(cookie)
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1
        forged = base64.urlsafe_b64encode(bytes(changed)).decode()
        assert session.read(KEY, forged, [READER, OTHER], NOW) is None


@pytest.mark.parametrize("text", ["", "a", "é", "====", "AAAA" * 100, "\0", "x" * 5000])
def test_nonsense_is_nobody(text):
    assert session.read(KEY, text, [READER], NOW) is None
