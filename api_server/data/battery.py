"""What an inverter's battery took and gave in a year, and how well it keeps."""

from typing import Any

_TOLD = """
SELECT EXISTS (
    SELECT FROM sungrow_read_monthly(%s, '-infinity', 'infinity')
    WHERE (charge_total IS NOT NULL OR discharge_total IS NOT NULL)
)
"""


def is_told(cursor: Any, device_id: str) -> bool:
    """Whether an inverter has ever told what its battery took or gave: else it has none."""
    cursor.execute(_TOLD, (device_id,))
    return cursor.fetchone()[0]
