"""The cookie of a browser that has logged in: who it reads as and since when, signed.

It names the read token by a part of a hash of its digest, and is signed with a key that follows
from the database's own and that digest: a token that is taken out of READ_TOKENS takes its
cookies with it, and neither the cookie nor the settings are enough to make one.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime

COOKIE = "__Host-sunspool"
DAYS = 90
LIFE_S = DAYS * 86_400
NAME_BYTES = 8
TIME_BYTES = 5
SIGNATURE_BYTES = 32


def make(key: bytes, token_digest: bytes, now: datetime) -> str:
    """The cookie's value for a read token, good for 90 days from now."""
    head = _name(token_digest) + int(now.timestamp()).to_bytes(TIME_BYTES, "big")
    return base64.urlsafe_b64encode(head + _sign(key, token_digest, head)).decode()


def read(key: bytes, cookie: str, token_digests: Iterable[bytes], now: datetime) -> bytes | None:
    """The digest of the read token that a cookie was made for; None if it is not good."""
    try:
        content = base64.urlsafe_b64decode(cookie.encode())
    except ValueError:
        return None
    head, signature = content[:-SIGNATURE_BYTES], content[-SIGNATURE_BYTES:]
    if len(head) != NAME_BYTES + TIME_BYTES:
        return None
    age_s = now.timestamp() - int.from_bytes(head[NAME_BYTES:], "big")
    if not -60 <= age_s < LIFE_S:
        return None
    for digest in token_digests:
        if head.startswith(_name(digest)):
            good = hmac.compare_digest(signature, _sign(key, digest, head))
            return digest if good else None
    return None


def _name(token_digest: bytes) -> bytes:
    return hashlib.sha256(b"sunspool page reader" + token_digest).digest()[:NAME_BYTES]


def _sign(key: bytes, token_digest: bytes, head: bytes) -> bytes:
    return hmac.digest(key + token_digest, b"sunspool page session" + head, "sha256")
