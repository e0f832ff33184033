"""What the normaliser makes of an inverter's words."""

import json
from random import Random

import pytest

from edge_agent.shared.samples import SUNGROW, decode
from edge_agent.sources.sungrow import normalize as module
from edge_agent.sources.sungrow.normalize import NoPower, normalize
from edge_agent.sources.sungrow.registers import (
    LIVE,
    OPTIONAL,
    REGISTERS,
    S16,
    S32,
    U16,
    U32,
    UTF8,
    Register,
)
from tests.support.sungrow import CAPTURE, EVENING, NIGHT, NOON, NOW, expected, words_of

NAMED = {register.name: register for register in REGISTERS}


def blocks_of(words, *, asked=(*LIVE, *OPTIONAL)):
    """The replies of one poll."""
    return {
        start: [words.get(address, 0) for address in range(start, start + count)]
        for start, count in asked
    }


def sample_of(words, **more):
    return normalize(blocks_of(words, **more), "inverter", NOW).sample


def noon(**changes):
    """The words of noon, with some registers holding other words: name=[...]."""
    words = words_of(NOON)
    for name, changed in changes.items():
        words.update(enumerate(changed, NAMED[name].address))
    return words


@pytest.mark.parametrize("name", [NOON, EVENING, NIGHT, CAPTURE])
def test_a_recording_gives_its_sample_exactly(name):
    sample = sample_of(words_of(name))
    assert sample == expected(name)
    assert json.loads(json.dumps(sample)) == sample
    assert "00000" not in json.dumps(sample), "decimals must be those of the device"


@pytest.mark.parametrize("name", [NOON, EVENING, NIGHT, CAPTURE])
def test_the_server_takes_every_recording(name):
    _, problems = decode(SUNGROW, [sample_of(words_of(name))], NOW)
    assert problems == []


def test_only_pv_and_load_power_make_or_break_a_sample():
    words = noon()
    for register in REGISTERS:
        if register.type is not UTF8 and register.name not in ("total_dc_power", "load_power"):
            sentinel = register.type.sentinel
            words.update(
                enumerate(
                    (sentinel & 0xFFFF, sentinel >> 16)[: register.type.words], register.address
                )
            )
    sample = sample_of(words)
    known = {name for name, value in sample.items() if value is not None}
    assert known == {"device_id", "ts", "sample_count", "pv_power_w", "load_power_w"}


@pytest.mark.parametrize(
    ("register", "words", "address"),
    [
        ("total_dc_power", [0xFFFF, 0xFFFF], 5016),
        ("total_dc_power", [20_001, 0], 5016),
        ("load_power", [0xFFFF, 0x7FFF], 13007),
        ("load_power", [0, 1], 13007),
    ],
)
def test_without_pv_or_load_power_the_error_names_register_and_words(register, words, address):
    with pytest.raises(
        NoPower, match=rf"{register} at {address}: words \[{words[0]}, {words[1]}\]"
    ):
        sample_of(noon(**{register: words}))


def test_power_that_was_not_read_is_said_so():
    with pytest.raises(NoPower, match="load_power at 13007: not served"):
        sample_of(noon(), asked=LIVE[:2])


@pytest.mark.parametrize(("words", "watt"), [([65535, 65535], -1), ([35535, 65535], -30_001)])
def test_a_load_below_zero_is_read_with_its_sign(words, watt):
    assert sample_of(noon(load_power=words))["load_power_w"] == watt


@pytest.mark.parametrize(
    ("export", "meter", "watt"),
    [
        ([0, 0], [500, 0], 0),
        ([65535, 65535], [500, 0], -1),
        ([0xFFFF, 0x7FFF], [500, 0], -500),
        ([0xFFFF, 0x7FFF], [65036, 65535], 500),
        ([51_000, 0], [500, 0], -500),
        ([0xFFFF, 0x7FFF], [0xFFFF, 0x7FFF], 2094),  # what is left: 2677 - 583
        ([0xFFFF, 0x7FFF], [0, 0], 2094),  # no meter: a WiNet-S says 0
    ],
)
def test_export_comes_from_the_first_that_knows_it(export, meter, watt):
    sample = sample_of(noon(export_power=export, meter_active_power=meter))
    assert sample["export_power_w"] == watt


def test_export_is_not_taken_from_two_moments():
    none = [0xFFFF, 0x7FFF]
    words = noon(export_power=none, meter_active_power=none)
    split = (*LIVE[:2], (13007, 22), (13030, 17))
    assert sample_of(words, asked=split)["export_power_w"] is None
    whole = (*LIVE[:2], (13001, 46))
    assert sample_of(words, asked=whole)["export_power_w"] == 2094


def test_a_lifetime_total_of_zero_is_unknown_but_a_day_or_a_power_of_zero_is_not():
    totals = ("total_pv_generation", "total_import_energy", "total_export_energy")
    totals += ("total_battery_charge", "total_battery_discharge")
    zeros = {name: [0, 0] for name in (*totals, "total_dc_power")}
    words = noon(**zeros, daily_pv_generation=[0])
    normalized = normalize(blocks_of(words), "inverter", NOW)
    assert all(normalized.sample[name] is None for name in SUNGROW.counters)
    assert normalized.sample["pv_daily_kwh"] == normalized.sample["pv_power_w"] == 0
    assert set(normalized.unusable) == set(totals)


def test_what_can_not_be_used_is_counted_with_its_words():
    words = noon(battery_soc=[1001], battery_temperature=[0x7FFF], grid_frequency=[0])
    normalized = normalize(blocks_of(words), "inverter", NOW)
    assert normalized.unusable == {
        "battery_soc": [1001],
        "battery_temperature": [0x7FFF],
        "grid_frequency": [0],
    }
    assert normalized.sample["battery_soc_pct"] is None
    assert normalized.sample["battery_temp_c"] is None
    assert normalized.sample["grid_frequency_hz"] is None


@pytest.mark.parametrize("zeros", [range(5007, 5021), range(12999, 13047)])
def test_a_block_of_nothing_but_zeros_is_no_reading(zeros):
    with pytest.raises(NoPower, match="nothing but zeros"):
        sample_of(noon() | dict.fromkeys(zeros, 0))


def test_a_battery_block_of_zeros_is_a_battery_at_rest():
    asked = ((5007, 14), (5213, 2), (12999, 48))
    words = noon() | dict.fromkeys((5213, 5214), 0)
    assert sample_of(words, asked=asked)["battery_power_w"] == 0


def test_soh_above_what_the_contract_bears_is_unknown():
    assert sample_of(noon(battery_soh=[1050]))["battery_soh_pct"] is None


NUMBERS = {
    U16: lambda raw: raw,
    S16: lambda raw: raw - 65536 * (raw >= 32768),
    U32: lambda raw: raw,
    S32: lambda raw: raw - 2**32 * (raw >= 2**31),
}


@pytest.mark.parametrize("type_", NUMBERS, ids=lambda type_: type_.name)
def test_decoding_any_number_gives_the_number_or_nothing(type_):
    random = Random(type_.name)
    top = 1 << 16 * type_.words
    register = Register("any", 0, type_, "", 1, -(2.0**31), 2.0**32)
    edges = [0, 1, top // 2 - 2, top // 2, top // 2 + 1, top - 2, top - 1, 0xFFFF, 0x7FFF]
    for raw in [*edges, *(random.randrange(top) for _ in range(2000))]:
        value = module.decode(register, raw)
        if raw == type_.sentinel:
            assert value is None
        else:
            assert value == NUMBERS[type_](raw)


def test_a_decimal_is_the_nearest_to_what_the_device_shows():
    for scale, digits in ((0.1, 1), (0.01, 2), (0.001, 3)):
        register = Register("any", 0, U16, "", scale, 0, 65_535)
        for raw in range(0, 65_535, 7):
            shown = f"{raw:0{digits + 1}}"
            assert module.decode(register, raw) == float(f"{shown[:-digits]}.{shown[-digits:]}")


def test_any_words_make_a_sample_the_server_takes_or_none():
    random = Random(3)
    samples = []
    for _ in range(300):
        words = noon()
        for address in random.sample(sorted(words), 40):
            words[address] = random.choice((0, 1, 0x7FFF, 0x8000, 0xFFFF, random.randrange(65536)))
        try:
            samples.append(sample_of(words))
        except NoPower:
            continue
    assert len(samples) > 20
    assert decode(SUNGROW, samples, NOW)[1] == []
