"""What the demo shows: a line for each new sample as the API tells it, then the curl lines."""

import http.client
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from edge_agent.spool.status import read_status
from scripts.demonstration.house import INVERTER, METER, ZONE, House
from tests.support.servers import ServerFailed

LOOK_S = 0.3
SITE = "home"  # of one meter and one inverter, whatever they are called


def watch(house: House, seconds: float | None) -> None:
    """Show the samples for so long, or until interrupted; fail if a device stayed silent."""
    end = None if seconds is None else time.monotonic() + seconds
    shown = dict.fromkeys(house.agents, 0)
    newest: dict[str, str | None] = dict.fromkeys(house.agents)
    told = False
    print("Waiting for the first samples; Ctrl-C ends the demo.", flush=True)
    while end is None or time.monotonic() < end:
        house.check()
        for device_id in house.agents:
            sample = ask(house, f"/v1/realtime?device_id={device_id}")
            if sample and sample["ts"] != newest[device_id]:
                newest[device_id] = sample["ts"]
                shown[device_id] += 1
                depth = read_status(house.spool_of(device_id))["pending"]
                print(line(device_id, sample, depth), flush=True)
        if not told and all(shown.values()) and read_back(house):
            told = True
            print_curl_lines(house)
            print_page(house)
        time.sleep(LOOK_S if end is None else max(0, min(LOOK_S, end - time.monotonic())))
    if not told:
        silent = [name for name, count in shown.items() if not count]
        errors = [f"; {name}: {house.agents[name].health().get('last_error')}" for name in silent]
        what = f"samples of {', '.join(silent)}" if silent else "history"
        raise ServerFailed(f"no {what} came back through the API{''.join(errors)}")
    print(
        "Samples read back through the API: " + ", ".join(f"{n} of {d}" for d, n in shown.items())
    )
    print_summary(house)


def read_back(house: House) -> bool:
    """Whether the history of every device tells its samples too."""
    answers = [ask(house, f"/v1/series?device_id={name}&frame=day") for name in house.agents]
    return all(answer and answer["series"] for answer in answers)


def print_summary(house: House) -> None:
    """What the house made, took and gave in this run, and what is missing of it."""
    balance = ask(house, f"/v1/balance?site={SITE}&frame=day")
    for bucket in balance["series"] if balance else ():
        print(f"Balance from {bucket['bucket'][11:16]}: " + energies(bucket))
    for device_id in house.agents:
        known = ask(house, f"/v1/completeness?device_id={device_id}")
        if known:
            # The house's past has a sample a minute only, which is a gap each.
            gaps = [
                gap for gap in known["gaps"] if datetime.fromisoformat(gap["from"]) >= house.started
            ]
            missing_s = sum(gap["missing_s"] for gap in gaps)
            print(
                f"Completeness of {device_id}: {known['sample_count']} samples today, one every"
                f" {known['interval_s']:g} s in this run; {missing_s:.0f} s of it missing in"
                f" {len(gaps)} gaps"
            )


def energies(bucket: Mapping[str, Any]) -> str:
    """The energies of a bucket as a person reads them."""
    names = {
        "pv_kwh": "PV",
        "grid_import_kwh": "import",
        "grid_export_kwh": "export",
        "charge_kwh": "charge",
        "discharge_kwh": "discharge",
        "consumption_kwh": "house",
    }
    told = ((word, bucket[name]) for name, word in names.items())
    return ", ".join(f"{word} {'?' if kwh is None else f'{kwh:.3f}'} kWh" for word, kwh in told)


def ask(house: House, path: str) -> dict[str, Any] | None:
    """The body of a good answer, or None."""
    connection = http.client.HTTPSConnection(
        "127.0.0.1", house.api.port, timeout=5, context=house.trusting()
    )
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {house.read_token}"})
        answer = connection.getresponse()
        body = answer.read()
        return json.loads(body) if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def line(device_id: str, sample: Mapping[str, Any], depth: int) -> str:
    """One sample as a person reads it."""
    local = datetime.fromisoformat(sample["ts"]).astimezone(ZONE)
    age = (datetime.now(UTC) - local).total_seconds()
    values = LINES[device_id](sample)
    return f"{local:%H:%M:%S}  {values}   spool {depth}   in the database, {age:.1f} s old"


def _inverter(sample: Mapping[str, Any]) -> str:
    battery = directed(sample["battery_power_w"], "charging", "discharging")
    grid = directed(sample["export_power_w"], "exporting", "importing")
    level = "? %" if sample["battery_soc_pct"] is None else f"{sample['battery_soc_pct']:.0f} %"
    return (
        f"inverter  PV {watts(sample['pv_power_w'])}   battery {battery} {level}"
        f"   load {watts(sample['load_power_w'])}   grid {grid}"
    )


def _meter(sample: Mapping[str, Any]) -> str:
    grid = directed(sample["power_w"], "importing", "exporting")
    counters = [
        f"{way} {sample[f'energy_{way}_kwh']:.3f} kWh"
        for way in ("import", "export")
        if sample[f"energy_{way}_kwh"] is not None
    ]
    return "   ".join([f"P1 meter  grid {grid}", *counters])


LINES: dict[str, Callable[[Mapping[str, Any]], str]] = {INVERTER: _inverter, METER: _meter}


def watts(value: float | None) -> str:
    """A power with its unit."""
    return "? W" if value is None else f"{value:.0f} W"


def directed(value: float | None, positive: str, negative: str) -> str:
    """A power with its direction in words."""
    if not value:
        return watts(value)
    return f"{positive if value > 0 else negative} {watts(abs(value))}"


def print_curl_lines(house: House) -> None:
    """Ready to paste into another shell while the demo runs."""
    month = datetime.now(ZONE).strftime("%Y-%m")
    paths = [
        f"/v1/realtime?device_id={INVERTER}",
        f"/v1/series?device_id={INVERTER}&frame=day",
        f"/v1/realtime?device_id={METER}",
        f"/v1/balance?site={SITE}&frame=day",
        f"/v1/balance/now?site={SITE}",
        f"/v1/battery?device_id={INVERTER}",
        f"/v1/strings?device_id={INVERTER}",
        f"/v1/completeness?device_id={INVERTER}",
        f"/v1/series?device_id={METER}&frame=day",
        f"/v1/daily-energy?device_id={METER}",
        f"/v1/capacity/month/{month}?device_id={METER}",
    ]
    print("\nTo paste into another shell while this runs:")
    for path in paths:
        print(house.curl(path))
    print(house.curl("/health", token=False) + "\n", flush=True)


def print_page(house: House) -> None:
    """How to log in with a browser."""
    print(f"The page:    {house.page}")
    print(f"Log in with: {house.read_token}")
    print(
        "The browser will warn, for the certificate is this demo's own: go on all the same, or let"
        f" it trust {house.ca.file}\n",
        flush=True,
    )
