"""The languages of the pages: one file of words each, and how a browser's wish is understood."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

FOLDER = Path(__file__).parent / "words"
DEFAULT = "en"


@dataclass(frozen=True)
class Language:
    """Words by their keys, and how numbers and dates are written."""

    code: str
    words: Mapping[str, str]
    decimal: str
    thousands: str
    euro: str
    percent: str
    weekdays: tuple[str, ...]
    weekdays_short: tuple[str, ...]
    months: tuple[str, ...]
    months_short: tuple[str, ...]

    @cached_property
    def separators(self) -> dict[int, str]:
        """What stands in a number for Python's, for str.translate."""
        return {ord(","): self.thousands, ord("."): self.decimal}


def load() -> dict[str, Language]:
    """Every language that has a file, by its code."""
    return {file.stem: _read(file) for file in sorted(FOLDER.glob("*.toml"))}


def _read(file: Path) -> Language:
    content = tomllib.loads(file.read_text(encoding="utf-8"))
    writing = content["writing"]
    lists = {name: tuple(one) for name, one in writing.items() if isinstance(one, list)}
    return Language(file.stem, content["words"], **writing | lists)


def choose(asked: str | None, header: str, known: Mapping[str, Language]) -> Language:
    """The language of `?lang=` if there is one, else of `Accept-Language`, else English."""
    if asked in known:
        return known[asked]
    for tag in _by_preference(header):
        code = tag.partition("-")[0].lower()
        if code in known:
            return known[code]
    return known[DEFAULT]


def _by_preference(header: str) -> list[str]:
    """The tags of an Accept-Language header, best first; what is refused or malformed is out."""
    weighed = []
    for entry in header.split(","):
        tag, _, rest = entry.partition(";")
        name, _, weight = rest.strip().partition("=")
        try:
            quality = float(weight) if name.strip().lower() == "q" else 1.0
        except ValueError:
            continue
        if 0 < quality <= 1:
            weighed.append((-quality, tag.strip()))
    return [tag for _, tag in sorted(weighed, key=lambda one: one[0])]
