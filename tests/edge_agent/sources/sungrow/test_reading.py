"""Zeros that are no readings: each kind is told by the rest of the poll."""

import pytest

from edge_agent.sources.sungrow.normalize import NoPower, normalize
from edge_agent.sources.sungrow.registers import LIVE, OPTIONAL
from tests.support.sungrow import EVENING, NIGHT, NOON, NOW, expected, words_of

SPLIT = ((5007, 14), (5213, 2), (13001, 6), (13007, 22), (13030, 17))
BATTERY_UNKNOWN = {
    "battery_soc_pct": None,
    "battery_soh_pct": None,
    "battery_temp_c": None,
    "battery_power_w": None,
}
GRID_UNKNOWN = {"load_power_w": None, "export_power_w": None}
NO_BATTERY = {
    **dict.fromkeys([5213, 5214, 5630, 5638], 0),
    **dict.fromkeys(range(13019, 13028), 0),
    **dict.fromkeys(range(13038, 13042), 0),
}
QUIET = dict.fromkeys(range(13049, 13079), 0)  # no alarms; a recording tells of none
NIGHT_OUTAGE = {
    **dict.fromkeys([*range(5010, 5014), 5016, 5241, 13033, 13034, 13020, 13021, 5213, 5214], 0),
    12999: 8,
}
CABLE_WITHOUT_BATTERY = {
    **dict.fromkeys([13019, 13022, 13023], 0xFFFF),
    **dict.fromkeys([13020, 13021, 13024], 0x7FFF),
    **dict.fromkeys([5213, 5214], 0),
}
NO_METER = dict.fromkeys([*range(13007, 13011), 5600, 5601], 0)


def signed(address, value):
    """A 32-bit value as its two words."""
    return {address: value & 0xFFFF, address + 1: value >> 16 & 0xFFFF}


def sample_of(words, asked=(*LIVE, *OPTIONAL)):
    blocks = {start: [words.get(start + n, 0) for n in range(count)] for start, count in asked}
    return normalize(blocks, "inverter", NOW).sample


def check(name, changed, differs, asked=(*LIVE, *OPTIONAL)):
    """The sample of a recording, with what must differ where words were changed."""
    sample = sample_of(words_of(name) | changed, asked)
    assert sample | {"alarms": None} == expected(name) | differs


@pytest.mark.parametrize("name", [NOON, EVENING, NIGHT])
def test_without_a_battery_nothing_is_said_of_one(name):
    gone = {"battery_capacity_kwh": None, "charge_total_kwh": None, "discharge_total_kwh": None}
    check(name, NO_BATTERY, BATTERY_UNKNOWN | gone)


@pytest.mark.parametrize(
    "words",
    [
        {13019: 0, 13022: 0},  # SoH and temperature as they were
        CABLE_WITHOUT_BATTERY,
        {13019: 0, 13022: 0, **signed(5213, 3)},
        {13019: 0, 13022: 0, 13023: 0, 13024: 0, **signed(5213, 0)},
    ],
    ids=["voltage and SoC", "a cable's sentinels", "noise", "all but the counters"],
)
def test_an_absent_battery_is_told_by_its_voltage(words):
    check(NOON, words, BATTERY_UNKNOWN)


@pytest.mark.parametrize(
    ("words", "differs"),
    [
        ({13022: 0}, {"battery_soc_pct": 0}),  # a flat pack
        ({13022: 0, 13024: 0}, {"battery_soc_pct": 0, "battery_temp_c": 0}),
        ({13019: 0}, {}),
        ({13023: 0}, {"battery_soh_pct": None}),
        (
            {13022: 0, 13023: 0, 13024: 0},
            {"battery_soc_pct": None, "battery_soh_pct": None, "battery_temp_c": None},
        ),
    ],
    ids=["flat", "flat and freezing", "no voltage only", "no SoH", "no word from the BMS"],
)
def test_a_battery_that_is_there_keeps_what_can_be_true(words, differs):
    check(NOON, words, differs)


def test_without_a_battery_block_a_power_of_zero_is_no_battery_at_rest():
    sample = sample_of(words_of(NOON) | signed(5213, 0), ((5007, 14), (5213, 2)))
    assert sample["battery_power_w"] is None
    split = ((5007, 14), (5213, 2), (13007, 4), (13020, 8))
    assert sample_of(words_of(NOON) | NO_BATTERY, split)["battery_power_w"] is None


@pytest.mark.parametrize("name", [NOON, EVENING, NIGHT])
def test_without_its_meter_load_and_export_are_unknown(name):
    check(name, NO_METER, GRID_UNKNOWN)


@pytest.mark.parametrize(
    "words",
    [
        {13033: 2677},
        {13050: 1 << 14, **signed(13007, 2677), **signed(13033, 2677)},  # mirrored, with the alarm
        {5600: 0xFFFF, 5601: 0x7FFF},  # a cable's sentinel
        signed(13033, 0),
    ],
    ids=["as dumped", "load mirrors the active power", "sentinel", "nothing feeds the house"],
)
def test_a_lost_meter_is_told_by_what_cannot_be_zero_together(words):
    check(NOON, NO_METER | {13049: 0, 13050: 0} | words, GRID_UNKNOWN)


@pytest.mark.parametrize(
    ("name", "words", "watt"),
    [
        (NOON, {}, 2091),
        (EVENING, {}, -41),
        (NIGHT, {}, -412),
        (NOON, signed(5600, 900), -900),
        (NOON, {13033: 0xFFFF, 13034: 0x7FFF}, 2091),
        (NOON, signed(5600, 0), 2094),  # what is left of the active power
        (NIGHT, signed(5600, 0), None),  # or the load is on the backup port
    ],
)
def test_a_dead_export_comes_from_the_meter_or_from_what_is_left(name, words, watt):
    sample = sample_of(words_of(name) | signed(13009, 0) | words)
    assert sample["export_power_w"] == watt
    assert sample["load_power_w"] == expected(name)["load_power_w"]


@pytest.mark.parametrize(
    ("words", "load", "export"),
    [
        (signed(13007, 0), None, 2094),
        ({**signed(13007, 0), **signed(13033, 2110)}, 0, 2094),  # another source feeds the house
        ({**signed(13007, 0), **signed(13009, 0)}, None, 2091),  # only the inverter's own are dead
        ({**QUIET, **signed(13007, 2677), **signed(13009, 0), **signed(5600, 0)}, 2677, 0),
        ({**signed(13007, 2677), **signed(13009, 0), **signed(5600, 0)}, None, None),
        ({**signed(13007, 2728), **signed(13009, 0), **signed(5600, 6)}, 2728, -6),
        ({**signed(13007, 3583)}, 3583, 2094),  # 3 kW on the backup port
    ],
)
def test_load_and_export_are_believed_when_they_add_up(words, load, export):
    sample = sample_of(words_of(NOON) | words)
    assert (sample["load_power_w"], sample["export_power_w"]) == (load, export)


@pytest.mark.parametrize("dead", [[0, 0], [0xFFFF, 0x7FFF], None], ids=["zero", "n/a", "refused"])
@pytest.mark.parametrize(
    ("name", "older", "watt"),
    [
        (NOON, 1620, 1620),
        (NOON, 65536 - 1620, 1620),  # firmware that gives it a sign
        (EVENING, 1874, -1874),
        (NIGHT, 0, 0),
    ],
)
def test_a_dead_battery_power_comes_from_the_older_one_with_the_sign_of_the_current(
    dead, name, older, watt
):
    words = words_of(name) | {13021: older}
    if dead:
        words |= dict(zip((5213, 5214), dead, strict=True))
    asked = [block for block in (*LIVE, *OPTIONAL) if dead or block[0] != 5213]
    assert sample_of(words, asked)["battery_power_w"] == watt


@pytest.mark.parametrize(
    ("words", "watt"),
    [
        ({13020: 0}, 1620),  # charging, by the flow
        ({13020: 0, 13000: 45}, -1620),
        ({13020: 0, 13000: 0}, None),  # which way? Some firmware never tells the flow
        ({13020: 0, 13000: 9}, None),  # neither way
        ({13020: 0, 13021: 7}, 7),
        ({13020: 0, 13021: 7, 13000: 0}, None),
        ({13021: 0}, None),
        ({13020: 0x7FFF, 13021: 0x7FFF}, 0),
    ],
)
def test_a_power_of_zero_is_a_battery_at_rest_if_nothing_says_otherwise(words, watt):
    sample = sample_of(words_of(NOON) | signed(5213, 0) | words)
    assert sample["battery_power_w"] == watt


AC_FIELDS = {
    "pv_daily_kwh": None,
    "battery_soc_pct": None,
    "battery_temp_c": None,
    "load_power_w": None,
    "pv_total_kwh": None,
    "import_total_kwh": None,
    "export_total_kwh": None,
    "charge_total_kwh": None,
    "discharge_total_kwh": None,
    "battery_soh_pct": None,
    "running_state": None,
}


@pytest.mark.parametrize(
    "survives",
    [
        {13019: 1144, 13024: 77},
        {},
        {13022: 634},
        {13007: 583, 13009: 2094},
        {13001: 143, 12999: 64},
    ],
)
@pytest.mark.parametrize("block", [(12999, 80), (12999, 48), (13001, 46)])
def test_a_block_that_is_zero_but_for_a_word_or_two_is_not_believed(survives, block):
    zeros = dict.fromkeys(range(12999, 13047), 0) | survives
    asked = (*LIVE[:2], block, *OPTIONAL)
    check(NOON, zeros, AC_FIELDS | {"export_power_w": 2091}, asked)


@pytest.mark.parametrize(("word", "alarms"), [(0, None), (1 << 14, "13065.14")])
def test_no_alarms_beside_a_block_of_zeros_are_no_news(word, alarms):
    words = words_of(NOON) | QUIET | dict.fromkeys(range(12999, 13047), 0) | {13065: word}
    asked = (*LIVE[:2], (12999, 48), (13049, 30))
    assert sample_of(words, asked)["alarms"] == alarms
    assert sample_of(words_of(NOON) | QUIET, asked)["alarms"] == ""


def test_parts_of_a_split_block_are_judged_too():
    words = words_of(NOON) | dict.fromkeys(range(13007, 13047), 0) | {13019: 1144, 13024: 77}
    sample = sample_of(words, SPLIT)
    assert sample["battery_power_w"] == 1620
    unknown = {name for name, value in AC_FIELDS.items() if sample[name] == value}
    assert unknown == AC_FIELDS.keys() - {"pv_daily_kwh", "pv_total_kwh"}


@pytest.mark.parametrize("survives", [{}, {5007: 412}, {5012: 77, 5007: 1144}, {5016: 1144}])
def test_a_dc_block_without_voltage_while_the_grid_is_there_is_no_reading(survives):
    with pytest.raises(NoPower, match="nothing but zeros"):
        sample_of(words_of(NOON) | dict.fromkeys(range(5007, 5021), 0) | survives)


@pytest.mark.parametrize(
    ("words", "watt"),
    [
        ({5241: 0}, 4415),  # an outage
        ({12999: 0x1000}, 4415),  # off the grid
        ({}, 4415),  # the strings say the same: only the voltage is dead
        ({**NIGHT_OUTAGE}, 0),
    ],
)
def test_a_voltage_of_zero_alone_does_not_cost_the_sun(words, watt):
    assert sample_of(words_of(NOON) | {5018: 0} | words)["pv_power_w"] == watt


def test_strings_without_volts_and_amperes_do_not_give_power():
    sample = sample_of(words_of(NOON) | dict.fromkeys(range(5010, 5014), 0))
    assert {sample[name] for name in sample if name.startswith("mppt")} == {None}
    one = sample_of(words_of(NOON) | dict.fromkeys((5012, 5013), 0))
    assert (one["mppt2_voltage_v"], one["mppt2_current_a"]) == (0, 0), "a dead string is one"


def test_the_yield_of_a_day_is_unknown_where_that_of_all_days_is():
    dead = dict.fromkeys((13001, 13002, 13003), 0)
    check(NOON, dead, {"pv_daily_kwh": None, "pv_total_kwh": None})
