"""What an inverter says is wrong: the named bits of its alarm words, and its fault states.

The agent sends the bits that are set; the server puts them into words, English or Dutch. Bits
without a name in alarms.csv mean nothing: the high word of 13077 is all ones on every cable.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

NOT_AVAILABLE = 0xFFFF_FFFF
MAX_LENGTH = 400  # of the sample's text
LANGUAGES = ("en", "nl")

ALARM_WORDS = tuple(range(13049, 13079, 2))  # input registers of 32 bits each


def _read_table() -> dict[tuple[int, int], dict[str, str]]:
    """The texts of each bit of each word, from the table beside this file."""
    with Path(__file__).with_name("alarms.csv").open(encoding="utf-8", newline="") as file:
        return {
            (int(row["word"]), int(bit)): {language: row[language] for language in LANGUAGES}
            for row in csv.DictReader(file)
            for bit in row["bits"].split()
        }


ALARMS = _read_table()

# Values of running_state that are faults. 0x8100 (derating) and 0x8200 (dispatch) are everyday
# values of models that run; stops by command or by a person are no faults.
FAULT_STATES = {
    0x0100: {"en": "inverter fault", "nl": "omvormer in storing"},
    0x0200: {"en": "inverter update failed", "nl": "update van de omvormer mislukt"},
    0x2500: {"en": "inverter: inner link fault", "nl": "omvormer: interne communicatie gestoord"},
    0x5500: {"en": "inverter fault", "nl": "omvormer in storing"},
}


def format_alarms(words: Mapping[int, int | None]) -> str | None:
    """The set bits that have a name, as `13049.30 13065.14`; "" = none, None = nothing was read."""
    known = {word: bits for word, bits in words.items() if bits not in (None, NOT_AVAILABLE)}
    if not any(known.values()):
        return "" if known else None
    text = ""
    for word, bit in sorted(ALARMS):
        if known.get(word, 0) >> bit & 1:
            longer = f"{text} {word}.{bit}".lstrip()
            if len(longer) > MAX_LENGTH:
                break
            text = longer
    return text


def describe_alarms(alarms: str, language: str) -> list[str]:
    """What the alarms of a sample mean, each text once; an entry without a name as it stands."""
    texts = []
    for entry in alarms.split():
        word, _, bit = entry.partition(".")
        known = word.isdecimal() and bit.isdecimal() and ALARMS.get((int(word), int(bit)))
        text = known[language] if known else entry
        if text not in texts:
            texts.append(text)
    return texts
