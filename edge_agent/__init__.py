"""The agent on the Raspberry Pi: reads one device, spools every sample, uploads it over HTTPS."""

from datetime import UTC, datetime

__version__ = "1.1.0"

# When the first version was: a clock that stands before has not been set, and no sample is older.
RELEASED = datetime(2026, 11, 21, tzinfo=UTC)
