"""The answers of the routes, by the name of the route's function: what each property is."""

from api_server.openapi.schemas import (
    COMPLETE,
    DAY,
    DEVICE,
    KWH,
    MONTH,
    PCT,
    SITE,
    WATTS,
    ZONE,
    Schema,
    W,
    boolean,
    choice,
    integer,
    listed,
    nullable,
    number,
    obj,
    of_field,
    text,
    time,
)
from edge_agent.shared.samples import KINDS, P1, Kind

_NAMED = {"service": choice("sunspool"), "version": text()}


def sample(kind: Kind) -> Schema:
    """A sample as it is stored."""
    fields = {field.name: of_field(field) for field in kind.fields}
    return obj(f"A sample of a {kind.name} device.", device_id=DEVICE, ts=time(), **fields)


def realtime(kind: Kind) -> Schema:
    """The newest sample and its age."""
    stored = sample(kind)["properties"]
    return obj("The newest sample.", **stored, age_s=number("Its age.", 0))


def series(kind: Kind) -> Schema:
    """Buckets of a device's history."""
    gauges = dict.fromkeys(kind.rollup.order, W)
    if kind is P1:
        gauges = dict.fromkeys(kind.rollup.order, WATTS)
    bucket = obj(
        "The time from its start to the start of the next, or the end of the frame.",
        bucket=time("Where it begins, with the site's offset."),
        sample_count=integer("", 0),
        **gauges,
        **dict.fromkeys(kind.rollup.energies, KWH),
        complete=COMPLETE,
    )
    return obj(
        f"The history of a {kind.name} device.",
        device_id=DEVICE,
        frame=choice(*kind.frames),
        timezone=ZONE,
        series=listed(bucket, "Oldest first."),
    )


INGEST = obj(
    "What became of a batch.",
    inserted=integer("Rows that are new in the table.", 0),
    received=integer("Samples that came.", 0),
    duplicates=integer("Samples that were there already.", 0),
)
ROOT = obj("Who answers.", status=choice("ok"), **_NAMED)
_PARTS = {
    "status": choice("ok", "degraded", "down"),
    **_NAMED,
    "db": choice("ok", "down"),
    "redis": choice("ok", "down", "read-only"),
    "schema": choice("ok", "behind", "unknown", "unusable"),
}
HEALTH = obj("The state of the parts.", **_PARTS)
UNUSABLE = obj("A database that can not be written to.", **_PARTS, detail=text("The ways out."))
_PEAK_OF_MONTH = obj("A past month's peak.", month=MONTH, w=number(), ts=nullable(time()))
AGENT = obj(
    "The last report of a device's agent; unknown is null.",
    version=nullable(text()),
    poll_interval_s=nullable(number()),
    uptime_s=nullable(number()),
    spool_count=nullable(integer()),
    oldest_ts=nullable(time()),
    set_aside_count=nullable(integer()),
    thinned=nullable(integer()),
    dropped=nullable(integer()),
    lost=nullable(integer()),
    clock_warning={"type": ["string", "boolean", "null"]},
    last_error=nullable(text()),
    peaks=nullable(listed(_PEAK_OF_MONTH)),
    reported_ts=time(),
)
DEVICES = obj(
    "Devices and sites that the token may read.",
    devices=listed(
        obj(
            "A device.",
            device_id=DEVICE,
            kind=choice(*KINDS),
            site=nullable(SITE),
            newest_ts=nullable(time()),
            age_s=nullable(number("", 0)),
            agent=nullable(AGENT),
        )
    ),
    sites=listed(obj("A site.", site=SITE, meter=DEVICE, inverters=listed(DEVICE))),
)
COMPLETENESS = obj(
    "How much of a local day the samples cover.",
    device_id=DEVICE,
    date=DAY,
    timezone=ZONE,
    interval_s=number("Between two polls."),
    sample_count=integer("", 0),
    expected_count=integer("", 0),
    covered_s=number("", 0),
    missing_s=number("", 0),
    gaps=listed(
        obj("A gap.", **{"from": time(), "to": time()}, missing_s=number("", 0)), "Oldest first."
    ),
    agent=nullable(AGENT),
)
BALANCE = obj(
    "The balance of a house.",
    site=SITE,
    frame=choice("day", "week", "month", "year", "all"),
    timezone=ZONE,
    series=listed(
        obj(
            "A bucket.",
            bucket=time(),
            pv_kwh=KWH,
            grid_import_kwh=KWH,
            grid_export_kwh=KWH,
            charge_kwh=KWH,
            discharge_kwh=KWH,
            consumption_kwh=KWH,
            self_sufficiency_pct=PCT,
            self_consumption_pct=PCT,
            clamped=boolean("Whether anything here was cut."),
            inverter_import_kwh=KWH,
            inverter_export_kwh=KWH,
            complete=COMPLETE,
        )
    ),
)
NOW = obj(
    "What flows now; a device silent for over 60 s makes its values null.",
    site=SITE,
    ts=time("The oldest of the samples."),
    age_s=number("", 0),
    pv_power_w=W,
    battery_power_w=nullable(number("+ charging, - discharging.")),
    battery_soc_pct=PCT,
    grid_power_w=nullable(number("+ import, - export.")),
    home_power_w=W,
    devices={
        "type": "object",
        "description": "The age of each device's newest sample in seconds.",
        "additionalProperties": nullable(number("", 0)),
    },
)
_USE = {
    "charge_kwh": KWH,
    "discharge_kwh": KWH,
    "equivalent_cycles": nullable(number()),
    "efficiency_pct": nullable(number()),
}
BATTERY = obj(
    "What a battery took and gave in a year.",
    device_id=DEVICE,
    year=integer(),
    months=listed(obj("A month with samples.", month=MONTH, **_USE, soh_pct=PCT)),
    **_USE,
    capacity_kwh=nullable(number("", 0)),
)
STRINGS = obj(
    "What each string of panels gave in a day.",
    device_id=DEVICE,
    date=DAY,
    strings=listed(
        obj(
            "A string.",
            string=integer("", 1),
            energy_kwh=KWH,
            max_power_w=W,
            hours=listed(
                obj("An hour.", bucket=time(), avg_power_w=W, share_pct=PCT, usual_share_pct=PCT)
            ),
            verdict=choice("ok", "unknown", "weak", "dead"),
            since=nullable(text("The first day of the run, or the moment it died.")),
        )
    ),
)
ALERTS = obj(
    "What is wrong with a device, and what was.",
    alerts=listed(
        obj(
            "An alert.",
            rule=choice("silence", "fault", "peak", "loss", "string", "battery"),
            device_id=DEVICE,
            opened_ts=time(),
            closed_ts=nullable(time()),
            text=text(),
            value=nullable(number()),
            sent=boolean("Whether every channel took the newest message."),
        ),
        "Open ones first, then the newest that were closed.",
    ),
)
