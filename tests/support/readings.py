"""Readings for the tests of the spool, told apart by their number."""

from datetime import UTC, datetime, timedelta
from typing import Any

from edge_agent.shared.samples import format_time

START = datetime(2026, 11, 21, tzinfo=UTC)


def reading(number: int, interval_s: float = 5, start: datetime = START) -> dict[str, Any]:
    """An inverter's reading whose power is its number."""
    return {
        "device_id": "roof",
        "ts": format_time(start + timedelta(seconds=interval_s * number)),
        "pv_power_w": number,
        "battery_power_w": -1200.0,
        "battery_soc_pct": 63.4,
        "load_power_w": 812.0,
        "export_power_w": 2403.0,
        "pv_total_kwh": 18456.2,
        "import_total_kwh": 5210.7,
        "export_total_kwh": 9021.4,
        "charge_total_kwh": 4410.1,
        "discharge_total_kwh": 4105.9,
        "mppt1_voltage_v": 371.2,
        "mppt1_current_a": 6.1,
        "mppt2_voltage_v": 365.0,
        "mppt2_current_a": 5.8,
        "inverter_temp_c": 41.2,
        "grid_frequency_hz": 49.98,
        "running_state": 64,
    }


def meter_reading(number: int, interval_s: float = 5, start: datetime = START) -> dict[str, Any]:
    """A meter's reading whose power is its number."""
    return {
        "device_id": "meter",
        "ts": format_time(start + timedelta(seconds=interval_s * number)),
        "power_w": number,
        "import_power_w": number,
        "energy_import_kwh": 13779.338,
        "energy_export_kwh": 4110.002,
        "tariff": 1,
    }
