"""What is known of devices: their newest samples, their sites, their agents."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from api_server.data import samples
from api_server.data.agents import Agents
from api_server.data.database import Store
from api_server.devices import Device, Site
from edge_agent.shared.samples import format_time


def answer(
    store: Store,
    agents: Agents,
    devices: Iterable[Device],
    sites: dict[str, Site],
    readable: Iterable[Site],
    now: datetime,
) -> dict[str, Any]:
    """Each of the devices by its id, and the sites of which all devices may be read."""
    devices = sorted(devices, key=lambda device: device.device_id)
    site_of = {device_id: site.name for site in sites.values() for device_id in site.device_ids}
    reports = agents.read(device.device_id for device in devices)
    newest = samples.newest_times(store, devices, now)
    return {
        "devices": [
            {
                "device_id": device.device_id,
                "kind": device.kind,
                "site": site_of.get(device.device_id),
                **_age(newest.get(device.device_id), now),
                "agent": reports.get(device.device_id),
            }
            for device in devices
        ],
        "sites": [
            {"site": site.name, "meter": site.meter, "inverters": list(site.inverters)}
            for site in readable
        ],
    }


def _age(time: datetime | None, now: datetime) -> dict[str, Any]:
    if time is None:
        return {"newest_ts": None, "age_s": None}
    # A sample that is ahead of the clock is of this moment.
    age_s = round(max((now - time).total_seconds(), 0), 3)
    return {"newest_ts": format_time(time), "age_s": age_s}
