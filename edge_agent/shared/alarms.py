"""What an inverter says is wrong: the named bits of its alarm words, and its fault states.

The agent sends the bits that are set; the server puts them into words, English or Dutch. Bits
without a name here mean nothing: the high word of 13077 is all ones on every cable.
"""

from collections.abc import Mapping

NOT_AVAILABLE = 0xFFFF_FFFF
MAX_LENGTH = 400  # of the sample's text
LANGUAGES = ("en", "nl")

# Input register of each 32-bit word, then its bits with what they mean.
_TABLE: dict[int, tuple[tuple[tuple[int, ...], str, str], ...]] = {
    13049: (
        ((0, 12, 13, 28, 29), "inverter: fan", "omvormer: ventilator"),
        ((1, 2, 16), "inverter: surge protection", "omvormer: overspanningsbeveiliging"),
        ((4, 5), "inverter: communication", "omvormer: communicatie"),
        ((8,), "inverter: PV1", "omvormer: PV1"),
        ((9,), "inverter: PV2", "omvormer: PV2"),
        ((10,), "inverter: PV3", "omvormer: PV3"),
        ((11,), "inverter: PV4", "omvormer: PV4"),
        (
            (14,),
            "energy meter reversed or on the wrong terminals",
            "energiemeter omgekeerd of op de verkeerde klemmen",
        ),
        (
            (15,),
            "inverter: parts of its software differ",
            "omvormer: onderdelen van de software verschillen",
        ),
        ((17, 18), "inverter: memory", "omvormer: geheugen"),
        (
            (19, 20, 21, 22, 23, 24, 27),
            "inverter: temperature sensor",
            "omvormer: temperatuursensor",
        ),
        ((25,), "inverter: DC source setting or clock", "omvormer: instelling DC-bron of klok"),
        ((26,), "inverter: PV voltage", "omvormer: PV-spanning"),
        ((30,), "energy meter does not answer", "energiemeter antwoordt niet"),
        ((31,), "inverter: boost circuit short", "omvormer: kortsluiting in boost"),
    ),
    13051: (
        ((0, 1, 13, 25), "grid voltage too high", "netspanning te hoog"),
        (
            (12,),
            "grid voltage too high, mean of ten minutes",
            "netspanning te hoog, gemiddelde van tien minuten",
        ),
        ((2, 3, 24), "grid voltage too low", "netspanning te laag"),
        ((6, 17, 27), "grid frequency too high", "netfrequentie te hoog"),
        ((7, 18, 26), "grid frequency too low", "netfrequentie te laag"),
        ((8,), "grid outage", "stroomuitval"),
        ((10,), "leakage current", "lekstroom"),
        ((14,), "grid: overload", "net: overbelasting"),
        ((15, 28), "grid: unbalance", "net: onbalans"),
        ((22,), "earth wire", "aardleiding"),
        ((5, 29, 30), "grid: overcurrent", "net: overstroom"),
    ),
    13053: (
        ((0, 1), "inverter too hot", "omvormer te warm"),
        ((2,), "insulation resistance", "isolatieweerstand"),
        ((3,), "bypass relay", "bypassrelais"),
        ((4,), "backup relay", "back-uprelais"),
        ((5,), "box relay", "relais van de box"),
        (
            (9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 24, 25, 26),
            "inverter: measuring channel",
            "omvormer: meetkanaal",
        ),
        ((19,), "inverter: supply", "omvormer: voeding"),
        ((20,), "inverter: leakage sensor", "omvormer: lekstroomsensor"),
        ((21, 22), "inverter: inner link", "omvormer: interne verbinding"),
    ),
    13055: (
        ((0,), "inverter too hot", "omvormer te warm"),
        ((1,), "surroundings too hot", "omgeving te warm"),
        ((7,), "surroundings too cold", "omgeving te koud"),
        ((3,), "insulation resistance", "isolatieweerstand"),
        ((11,), "input set-up", "instelling van de ingangen"),
        ((15,), "backup port: overload", "back-upuitgang: overbelasting"),
    ),
    13057: (
        ((4,), "PV connection", "PV-aansluiting"),
        ((9,), "PV1 reversed", "PV1 omgekeerd"),
        ((10,), "PV2 reversed", "PV2 omgekeerd"),
        ((24,), "PV3 reversed", "PV3 omgekeerd"),
        ((28,), "PV4 reversed", "PV4 omgekeerd"),
        ((16, 17, 26), "DC bus voltage", "DC-busspanning"),
        ((18, 22, 23), "DC overcurrent", "DC-overstroom"),
        ((20, 21, 25), "DC boost circuit short", "kortsluiting in DC-boost"),
    ),
    13059: ((tuple(range(12)), "permanent inverter fault", "blijvende fout van de omvormer"),),
    13061: (
        ((0, 1, 16), "battery converter: overcurrent", "batterijomvormer: overstroom"),
        ((5,), "battery converter: pre-charge relay", "batterijomvormer: voorlaadrelais"),
        ((8,), "battery converter: self-test", "batterijomvormer: zelftest"),
        ((12,), "battery converter too hot", "batterijomvormer te warm"),
        ((23,), "battery converter: DSP link", "batterijomvormer: DSP-verbinding"),
        ((24,), "battery converter: soft start", "batterijomvormer: zachte start"),
    ),
    13063: (
        (
            (0, 2, 4, 7),
            "permanent battery converter fault",
            "blijvende fout van de batterijomvormer",
        ),
    ),
    13065: (
        ((3,), "battery voltage too low", "batterijspanning te laag"),
        ((11, 12, 15), "battery voltage too high", "batterijspanning te hoog"),
        ((7,), "battery too hot", "batterij te warm"),
        ((8,), "battery too cold", "batterij te koud"),
        ((14,), "battery: link to the BMS lost", "batterij: verbinding met BMS weg"),
        ((16,), "battery reversed", "batterij omgekeerd"),
        ((17,), "battery: BMS", "batterij: BMS"),
    ),
    13067: (((0, 1), "battery: converter sensor", "batterij: sensor van de omvormer"),),
    13069: (
        ((0,), "BMS warning: voltage high", "BMS-waarschuwing: spanning hoog"),
        ((7,), "BMS warning: voltage low", "BMS-waarschuwing: spanning laag"),
        ((1,), "BMS warning: hot", "BMS-waarschuwing: warm"),
        ((2,), "BMS warning: cold", "BMS-waarschuwing: koud"),
        ((3,), "BMS warning: current", "BMS-waarschuwing: stroom"),
        ((5, 9), "BMS warning: imbalance", "BMS-waarschuwing: onbalans"),
        ((10,), "BMS warning: temperature spread", "BMS-waarschuwing: temperatuurverschil"),
        ((11, 12), "BMS warning: unlike modules", "BMS-waarschuwing: ongelijke modules"),
    ),
    13071: (
        ((0,), "BMS protection: voltage high", "BMS-beveiliging: spanning hoog"),
        ((7,), "BMS protection: voltage low", "BMS-beveiliging: spanning laag"),
        ((1,), "BMS protection: hot", "BMS-beveiliging: warm"),
        ((2,), "BMS protection: cold", "BMS-beveiliging: koud"),
        ((3,), "BMS protection: current", "BMS-beveiliging: stroom"),
        ((4, 5), "BMS protection: power limit", "BMS-beveiliging: vermogenslimiet"),
        ((8,), "BMS protection: other pack", "BMS-beveiliging: ander pakket"),
        ((9,), "BMS protection: pre-charge", "BMS-beveiliging: voorladen"),
        ((11, 12, 13), "BMS protection: sensing", "BMS-beveiliging: meting"),
        ((14,), "BMS protection: inner link", "BMS-beveiliging: interne verbinding"),
        ((15,), "BMS protection: contactor", "BMS-beveiliging: contactor"),
    ),
    13073: (
        ((0,), "BMS fault: switch", "BMS-fout: schakelaar"),
        ((1,), "BMS fault: hardware", "BMS-fout: hardware"),
        ((2,), "BMS fault: current", "BMS-fout: stroom"),
        ((3,), "BMS fault: short circuit", "BMS-fout: kortsluiting"),
        ((4,), "BMS fault: link", "BMS-fout: verbinding"),
        ((5,), "BMS fault: input voltage", "BMS-fout: ingangsspanning"),
        ((7,), "BMS fault: version", "BMS-fout: versie"),
        ((8, 9), "BMS fault: heater", "BMS-fout: verwarming"),
        ((12,), "BMS fault: self-test", "BMS-fout: zelftest"),
    ),
    13075: (),
    13077: (((0,), "battery alarm", "batterijalarm"),),
}

ALARM_WORDS = tuple(_TABLE)
ALARMS = {
    (word, bit): dict(zip(LANGUAGES, texts, strict=True))
    for word, entries in _TABLE.items()
    for bits, *texts in entries
    for bit in bits
}

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
