"""The alarms: the bits that have a name, in the sample's form and in words."""

import re

import pytest

from edge_agent.shared import alarms
from edge_agent.shared.alarms import ALARM_WORDS, ALARMS, FAULT_STATES, LANGUAGES
from edge_agent.shared.samples import TEXT
from tests.support.servers import ROOT

FACTS = ROOT / "tests" / "recordings" / "sungrow" / "alarms.md"


def named():
    """The word and bits of each row of what is known about the alarms."""
    for line in FACTS.read_text().splitlines():
        if row := re.fullmatch(r"\| (13\d{3}) \| [^|]*\| (.*) \|", line):
            text = re.sub(r"\([^)]*\)|PV\d(-PV?\d)?|as 13069", "", row[2])
            for first, last in re.findall(r"\b(\d+)(?:-(\d+))?\b", text):
                for bit in range(int(first), int(last or first) + 1):
                    yield int(row[1]), bit


def test_the_table_names_exactly_the_bits_that_are_known():
    assert sorted(ALARMS) == sorted(set(named()))
    assert list(ALARM_WORDS) == list(range(13049, 13079, 2))


def test_every_alarm_and_fault_has_a_short_text_in_each_language():
    for texts in (*ALARMS.values(), *FAULT_STATES.values()):
        assert set(texts) == set(LANGUAGES)
        assert all(3 < len(text) <= 60 for text in texts.values())


def test_everyday_states_are_no_faults():
    assert {0x0100, 0x5500} <= set(FAULT_STATES)
    assert not {0x8100, 0x8200, 0x0000, 0x0040, 0x0008, 0x9100} & set(FAULT_STATES)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ({13049: 1 << 30, 13065: 1 << 14}, "13049.30 13065.14"),
        ({13065: 1 << 14 | 1 << 3 | 1 << 17, 13049: 1}, "13049.0 13065.3 13065.14 13065.17"),
        ({13049: 0, 13051: None}, ""),
        ({13049: 1 << 3, 13075: 0xFFFF, 13077: 0xFFFF_0000}, ""),
        ({13049: 0xFFFF_FFFF, 13051: 1 << 8}, "13051.8"),
        ({13049: 0xFFFF_FFFF, 13051: 0xFFFF_FFFF}, None),
        ({13049: None}, None),
        ({}, None),
    ],
)
def test_set_bits_are_told_in_rising_order(words, text):
    assert alarms.format_alarms(words) == text


def test_a_text_that_would_be_too_long_ends_after_a_whole_entry():
    text = alarms.format_alarms(dict.fromkeys(ALARM_WORDS, 0x7FFF_FFFF))
    assert 390 < len(text) <= 400
    assert TEXT.fullmatch(text)
    entries = text.split(" ")
    assert entries == [f"{word}.{bit}" for word, bit in sorted(ALARMS) if bit != 31][: len(entries)]


@pytest.mark.parametrize(
    ("text", "language", "said"),
    [
        (
            "13049.30 13065.14",
            "en",
            ["energy meter does not answer", "battery: link to the BMS lost"],
        ),
        ("13049.30", "nl", ["energiemeter antwoordt niet"]),
        ("13049.0 13049.12", "en", ["inverter: fan"]),
        ("13075.1 7 13049", "nl", ["13075.1", "7", "13049"]),
        ("", "en", []),
    ],
)
def test_alarms_are_put_into_words_each_once(text, language, said):
    assert alarms.describe_alarms(text, language) == said
