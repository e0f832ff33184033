"""The answers about the peak and the money: what each property is."""

from api_server.openapi.schemas import (
    COMPLETE,
    DAY,
    DEVICE,
    EUR,
    KWH,
    MONTH,
    SOURCE,
    WATTS,
    boolean,
    choice,
    integer,
    listed,
    nullable,
    number,
    obj,
    text,
    time,
)

CAPACITY_MONTH = obj(
    "The quarters of a month and its peaks.",
    month=MONTH,
    device_id=DEVICE,
    peaks=listed(
        obj(
            "A quarter of an hour.",
            bucket=time(),
            avg_power_w=integer("Mean of the sampled import.", 0),
            coverage=number("Share of its minutes with a sample.", 0, 1),
            register_w=WATTS,
        )
    ),
    monthly_peak_w=WATTS,
    monthly_peak_ts=nullable(time()),
    monthly_peak_coverage=nullable(number("", 0, 1)),
    official_peak_w=WATTS,
    official_peak_ts=nullable(time()),
    register_peak_w=WATTS,
    register_peak_ts=nullable(time()),
    billed_peak_w=WATTS,
    billed_peak_source=SOURCE,
)
CAPACITY_NOW = obj(
    "The running quarter.",
    device_id=DEVICE,
    ts=time(),
    quarter_start=time(),
    quarter_end=time(),
    elapsed_s=number("", 0, 900),
    average_w=integer(),
    power_w=integer(),
    projected_w=integer(),
    month_peak_w=WATTS,
    month_peak_source=SOURCE,
    limit_w=integer(),
    headroom_w=integer("", 0),
    new_peak=boolean(),
)
CAPACITY_YEAR = obj(
    "Twelve months of peaks.",
    device_id=DEVICE,
    until=MONTH,
    months=listed(
        obj(
            "A month; null where nothing is known.",
            month=MONTH,
            peak_w=WATTS,
            peak_ts=nullable(time()),
            source=nullable(choice("official", "register", "sampled", "meter_history")),
            billed_w=WATTS,
            complete=COMPLETE,
        ),
        minItems=12,
        maxItems=12,
    ),
    mean_w=WATTS,
    months_known=integer("", 0, 12),
)
COST = obj(
    "What electricity costs.",
    device_id=DEVICE,
    currency=choice("EUR"),
    vat_included=boolean(),
    months=listed(
        obj(
            "A month.",
            month=MONTH,
            complete=COMPLETE,
            import_kwh=KWH,
            export_kwh=KWH,
            mean_peak_w=WATTS,
            capacity_eur=EUR,
            grid_eur=EUR,
            capped=nullable(boolean()),
            data_eur=EUR,
            import_eur=EUR,
            export_eur=nullable(number("Negative when it is paid to you.")),
            levies_eur=EUR,
            fixed_eur=EUR,
            total_eur=EUR,
            missing=listed(text("A rate that is lacking.")),
        )
    ),
    total_eur=EUR,
)
DAILY_ENERGY = obj(
    "The energies of the local day.",
    device_id=DEVICE,
    date=DAY,
    import_today_kwh=KWH,
    export_today_kwh=KWH,
    sample_count=integer("", 1),
)
