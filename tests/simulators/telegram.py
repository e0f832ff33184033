"""The raw telegram (DSMR, e-MUCS) of a Belgian meter, of the same moment as its measurement."""

from datetime import datetime
from typing import Any

from tests.simulators.belgian import BRUSSELS, BelgianMeter

CRLF = "\r\n"


def telegram(meter: BelgianMeter, body: dict[str, Any], now: datetime) -> bytes:
    """What the meter's P1 port says; `body` is its measurement of this moment."""
    power = body["power_w"]
    lines = [
        "/FLU5\\253769484_A",
        "",
        "0-0:96.1.4(50217)",
        "0-0:96.1.1(3153414731313030303030303030)",
        f"0-0:1.0.0({stamp(now)})",
        f"1-0:1.8.1({body['energy_import_t1_kwh']:010.3f}*kWh)",  # T1 is the day in Belgium
        f"1-0:1.8.2({body['energy_import_t2_kwh']:010.3f}*kWh)",
        f"1-0:2.8.1({body['energy_export_t1_kwh']:010.3f}*kWh)",
        f"1-0:2.8.2({body['energy_export_t2_kwh']:010.3f}*kWh)",
        f"0-0:96.14.0({body['tariff']:04})",
        f"1-0:1.4.0({_kw(body['average_power_15m_w'])})",
        *_peaks(meter),
        f"1-0:1.7.0({_kw(max(power, 0))})",
        f"1-0:2.7.0({_kw(max(-power, 0))})",
        "1-0:32.7.0(232.1*V)",
        "0-0:96.3.10(1)",
        "0-0:17.0.0(999.9*kW)",
        "1-0:31.4.0(999*A)",
        "0-0:96.13.0()",
    ]
    text = (CRLF.join(lines) + CRLF + "!").encode()
    return text + f"{crc16(text):04X}{CRLF}".encode()


def _peaks(meter: BelgianMeter) -> list[str]:
    lines = []
    if meter.peak:
        watt, ended = meter.peak
        lines.append(f"1-0:1.6.0({stamp(ended)})({_kw(watt)})")
    months = "".join(
        f"({stamp(month)})({stamp(ended)})({_kw(watt)})" for month, ended, watt in meter.history
    )
    return [*lines, f"0-0:98.1.0({len(meter.history)})(1-0:1.6.0)(1-0:1.6.0){months}"]


def stamp(moment: datetime) -> str:
    """A time as the meter writes it: local, with W for winter or S for summer."""
    local = moment.astimezone(BRUSSELS)
    return f"{local:%y%m%d%H%M%S}{'S' if local.dst() else 'W'}"


def _kw(watt: int) -> str:
    return f"{watt / 1000:06.3f}*kW"


def crc16(data: bytes) -> int:
    """CRC16 with the polynomial x16 + x15 + x2 + 1, as DSMR 5 has it (from / up to and with !)."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc
