"""The agent on the Raspberry Pi: reads one device, spools every sample, uploads it over HTTPS."""

from datetime import UTC, datetime

__version__ = "1.0.0"

# A clock that stands before this has not been set: no sample can be older than its own program.
RELEASED = datetime(2026, 11, 21, tzinfo=UTC)
