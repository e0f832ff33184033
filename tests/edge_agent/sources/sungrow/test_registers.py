"""The register table against the list of what is known about the inverter."""

import csv

import pytest

from edge_agent.shared.samples import SUNGROW
from edge_agent.sources.sungrow import registers
from edge_agent.sources.sungrow.normalize import SOURCES
from edge_agent.sources.sungrow.registers import (
    FALLBACKS,
    IDENTITY,
    LIVE,
    OPTIONAL,
    REGISTERS,
)
from tests.simulators.inverter_words import RECORDINGS, listed

TABLE = {register.name: register for register in REGISTERS}
with (RECORDINGS / "registers.csv").open(newline="") as file:
    ROWS = [row for row in csv.DictReader(file) if row["table"] == "input" and row["name"] in TABLE]


def test_the_table_holds_only_what_a_winet_serves_in_the_order_of_addresses():
    assert sorted(TABLE) == sorted(row["name"] for row in ROWS)
    served = {row["name"]: row["available_on_SHxRS_via_WiNetS"] for row in ROWS}
    assert served.pop("power_flow_status") == "unknown"  # only a figure that is not 0 is used
    assert set(served.values()) == {"yes"}
    addresses = [register.address for register in REGISTERS]
    assert addresses == sorted(set(addresses))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_each_line_agrees_with_the_list(row):
    register = TABLE[row["name"]]
    assert register.address == int(row["wire_address"])
    assert register.type.name == row["type"]
    assert register.type.words == int(row["words"])
    assert register.type.signed == row["type"].startswith("S")
    assert register.unit == row["unit"]
    assert 1 / register.divisor == float(row["scale"])
    assert register.type.sentinel == int(row["sentinel"], 16)
    assert register.low == float(row["plausible_min"])
    assert register.high == float(row["plausible_max"])


@pytest.mark.parametrize(
    ("name", "plus", "word"),
    [
        ("battery_power", "+ discharging", "discharging"),
        ("battery_current_legacy", "+ discharging", "discharging"),
        ("export_power", "+ export", "exporting"),
        ("meter_active_power", "+ import", "import"),
        ("load_power", "+ consuming", "consumption"),
        ("total_active_power", "+ feeding AC", "inverter feeding AC"),
    ],
)
def test_the_table_says_what_plus_means(name, plus, word):
    row = next(row for row in ROWS if row["name"] == name)
    assert row["sign_convention"].startswith(f"positive = {word}")
    assert TABLE[name].sign.startswith(plus)


BLOCKS = {*LIVE, *OPTIONAL, IDENTITY, *FALLBACKS} | {
    part for parts in FALLBACKS.values() for part in parts
}


@pytest.mark.parametrize("block", sorted(BLOCKS))
def test_every_read_is_small_and_begins_at_a_served_register_and_ends_with_a_whole_one(block):
    start, count = block
    assert 1 <= count <= 100
    assert start in {register.address for register in listed() if register.served}
    inside = range(start, start + count)
    for register in listed():
        covered = sum(address in inside for address in register.addresses)
        assert covered in (0, register.count), register.name


@pytest.mark.parametrize("block", sorted(FALLBACKS))
def test_what_replaces_a_refused_block_is_less_of_it(block):
    start, count = block
    for part_start, part_count in FALLBACKS[block]:
        assert part_count < count
        assert start <= part_start
        assert part_start + part_count <= start + count


def test_the_reads_are_those_of_the_field_notes():
    assert LIVE == ((5007, 14), (5213, 29), (12999, 80))
    assert OPTIONAL == ((5600, 39),)
    assert IDENTITY == (4989, 13)
    assert FALLBACKS[(12999, 80)] == ((12999, 48), (13049, 30))
    assert FALLBACKS[(12999, 48)] == ((13001, 46),)
    assert {(13007, 22), (13030, 17)} <= set(FALLBACKS[(13001, 46)])
    assert registers.MODELS[3352] == "SH4.0RS"


@pytest.mark.parametrize("register", REGISTERS, ids=lambda register: register.name)
def test_no_value_that_the_contract_takes_is_implausible(register):
    """A field's range is the contract's; a register may be wider, or as wide as its words."""
    for field in SUNGROW.fields:
        if register.name == SOURCES.get(field.name):
            top = ((1 << 16 * register.type.words) - 1) / register.divisor
            bottom = -top / 2 if register.type.signed else 0
            assert register.low <= max(field.low, bottom)
            assert register.high >= min(field.high, top / 2 if register.type.signed else top)
