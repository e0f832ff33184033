"""The key that signs the cookies of the pages."""

from typing import Any


def read(cursor: Any) -> bytes:
    """The key of this database."""
    cursor.execute("SELECT value FROM schema_settings WHERE name = 'page_key'")
    return cursor.fetchone()[0].encode()
