"""What the normaliser makes of an inverter's words."""

import json
from random import Random

import pytest

from api_server.web.decoding import decode
from edge_agent.shared.samples import SUNGROW
from edge_agent.sources.sungrow.normalize import NoPower, normalize
from edge_agent.sources.sungrow.reading import decode as decode_register
from edge_agent.sources.sungrow.registers import (
    LIVE,
    OPTIONAL,
    REGISTERS,
    S16,
    S32,
    U16,
    U32,
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


def test_only_pv_power_makes_or_breaks_a_sample():
    words = noon()
    for register in REGISTERS:
        if register.name != "total_dc_power":
            sentinel = register.type.sentinel
            words.update(
                enumerate(
                    (sentinel & 0xFFFF, sentinel >> 16)[: register.type.words], register.address
                )
            )
    for sample in (sample_of(words), sample_of(noon(), asked=LIVE[:1])):
        known = {name for name, value in sample.items() if value is not None}
        strings = {"inverter_temp_c", *(name for name in sample if name.startswith("mppt"))}
        assert known - strings == {"device_id", "ts", "sample_count", "pv_power_w"}


@pytest.mark.parametrize(("words", "said"), [([0xFFFF, 0xFFFF], "65535, 65535"), ([1, 1], "1, 1")])
def test_without_pv_power_the_error_names_register_and_words(words, said):
    with pytest.raises(NoPower, match=rf"total_dc_power at 5016: words \[{said}\]"):
        sample_of(noon(total_dc_power=words))


@pytest.mark.parametrize("watt", [20_500, 50_000])
def test_pv_power_is_taken_as_far_as_the_contract_goes(watt):
    assert sample_of(noon(total_dc_power=[watt, 0]))["pv_power_w"] == watt


def test_power_that_was_not_read_is_said_so():
    with pytest.raises(NoPower, match="total_dc_power at 5016: not served"):
        sample_of(noon(), asked=LIVE[1:])


@pytest.mark.parametrize("words", [[0xFFFF, 0x7FFF], [0, 1]])
def test_a_load_that_cannot_be_used_is_unknown(words):
    sample = sample_of(noon(load_power=words))
    assert sample["load_power_w"] is None
    assert sample["export_power_w"] == 2094


@pytest.mark.parametrize(("words", "watt"), [([65535, 65535], -1), ([35535, 65535], -30_001)])
def test_a_load_below_zero_is_read_with_its_sign(words, watt):
    assert sample_of(noon(load_power=words))["load_power_w"] == watt


@pytest.mark.parametrize(
    ("export", "meter", "watt"),
    [
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
    del zeros["total_pv_generation"]
    words = noon(**zeros, daily_pv_generation=[0])
    normalized = normalize(blocks_of(words), "inverter", NOW)
    unknown = {name for name in SUNGROW.counters if normalized.sample[name] is None}
    assert unknown == {*SUNGROW.counters} - {"pv_total_kwh"}
    assert normalized.sample["pv_daily_kwh"] == normalized.sample["pv_power_w"] == 0
    assert set(normalized.unusable) == set(zeros) - {"total_dc_power"}


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


@pytest.mark.parametrize(
    ("sample_words", "kwh"),
    [({5638: 960, 13038: 96}, 9.6), ({5638: 1024}, 10.24), ({5638: 0, 13038: 102}, 10.2)],
)
def test_the_capacity_comes_from_the_finer_register(sample_words, kwh):
    assert sample_of(noon() | sample_words)["battery_capacity_kwh"] == kwh


@pytest.mark.parametrize(
    ("words", "alarms"),
    [
        ({}, ""),
        ({13050: 1 << 14, 13065: 1 << 14}, "13049.30 13065.14"),
        ({13078: 0xFFFF, 13077: 1}, "13077.0"),
        ({13075: 0xFFFF, 13049: 1 << 3}, ""),  # bits without a name
        (dict.fromkeys(range(13049, 13079), 0xFFFF), None),
        (dict.fromkeys(range(13049, 13077), 0xFFFF), ""),
    ],
)
def test_the_alarms_are_the_named_bits_that_are_set(words, alarms):
    quiet = dict.fromkeys(range(13049, 13079), 0)
    assert sample_of(noon() | quiet | words)["alarms"] == alarms


def test_alarms_that_were_not_read_are_unknown():
    assert sample_of(noon(), asked=((5007, 14), (12999, 48)))["alarms"] is None


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
        value = decode_register(register, raw)
        if raw == type_.sentinel:
            assert value is None
        else:
            assert value == NUMBERS[type_](raw)


def test_a_decimal_is_the_nearest_to_what_the_device_shows():
    for divisor, digits in ((10, 1), (100, 2), (1000, 3)):
        register = Register("any", 0, U16, "", divisor, 0, 65_535)
        for raw in range(0, 65_535, 7):
            shown = f"{raw:0{digits + 1}}"
            assert decode_register(register, raw) == float(f"{shown[:-digits]}.{shown[-digits:]}")


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
