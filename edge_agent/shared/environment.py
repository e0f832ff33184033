"""Reading settings from the environment, and secrets also from files and systemd credentials.

A program lists its settings in one table and reads them all at once, so that every problem is
known before anything starts. Secrets are never part of a message. Standard library only: the
server reads its settings with this module too.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

MASK = "***"


class InvalidSettings(Exception):
    """The program can not start; `problems` says for each wrong setting what would be right."""

    def __init__(self, problems: Sequence[str]):
        super().__init__("; ".join(problems))
        self.problems = list(problems)


@dataclass(frozen=True)
class Setting:
    """One setting: `parse` turns its text into a value or raises ValueError("must be ...")."""

    name: str
    parse: Callable[[str], Any]
    default: Any = None
    required: bool = False
    secret: bool = False
    empty_counts: bool = False  # set but empty is a value of its own

    @property
    def attribute(self) -> str:
        """Its name in the program, and that of its systemd credential."""
        return self.name.lower()

    @property
    def elsewhere(self) -> str:
        """Where else than in its variable a secret may stand."""
        if not self.secret:
            return ""
        return f" (or its file in {self.name}_FILE, or the credential {self.attribute})"


def setting(parse: Callable[[str], Any], default: Any = None, **more: bool) -> Any:
    """A field of a dataclass that is a setting, named as in the environment but in lower case."""
    return field(repr=not more.get("secret"), metadata={"parse": parse, "default": default, **more})


def table(settings: type) -> tuple[Setting, ...]:
    """The settings among the fields of a dataclass."""
    return tuple(
        Setting(each.name.upper(), **each.metadata) for each in fields(settings) if each.metadata
    )


def read(table: Sequence[Setting], environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Read every setting of the table: values by attribute name, and all problems found."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for setting in table:
        values[setting.attribute] = setting.default
        try:
            text = _text(setting, environ)
            if text is not None:
                values[setting.attribute] = setting.parse(text)
            elif setting.required:
                problems.append(f"{setting.name} is required{setting.elsewhere}")
        except ValueError as error:
            problems.append(f"{setting.name} {error}")
    return values, problems


def shown(table: Sequence[Setting], values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they may be printed: secrets that are set are masked."""
    result = {}
    for setting in table:
        value = values[setting.attribute]
        if setting.secret and value not in (None, "", {}, ()):
            value = MASK
        elif not isinstance(value, str | int | float | None):
            value = str(value)
        result[setting.name] = value
    return result


def secret_file(name: str, environ: Mapping[str, str]) -> Path | None:
    """The file that a secret is read from: `NAME_FILE`, else its systemd credential, else None."""
    if environ.get(name + "_FILE"):
        return Path(environ[name + "_FILE"])
    if environ.get("CREDENTIALS_DIRECTORY"):
        credential = Path(environ["CREDENTIALS_DIRECTORY"], name.lower())
        return credential if credential.exists() else None
    return None


def _text(setting: Setting, environ: Mapping[str, str]) -> str | None:
    text = environ.get(setting.name)
    if setting.secret and not _is_set(setting, text):
        path = secret_file(setting.name, environ)
        text = _contents(path) if path else None
    return text.strip() if _is_set(setting, text) else None


def _is_set(setting: Setting, text: str | None) -> bool:
    return text is not None and (setting.empty_counts or bool(text.strip()))


def _contents(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        cause = error.strerror
    except UnicodeDecodeError:
        cause = "it is not UTF-8 text"
    raise ValueError(f"can not be read from {path}: {cause}")


def integer(low: int, high: int) -> Callable[[str], int]:
    """A parser of whole numbers from low to high."""
    return _between(low, high, int, r"[+-]?[0-9]{1,18}", "a whole number")


def number(low: float, high: float) -> Callable[[str], float]:
    """A parser of decimal numbers from low to high."""
    return _between(low, high, float, r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?", "a number")


def _between(low: Any, high: Any, kind: type, form: str, what: str) -> Callable[[str], Any]:
    def parse(value: str) -> Any:
        if not re.fullmatch(form, value) or not low <= kind(value) <= high:
            raise ValueError(f"must be {what} from {low} to {high}")
        return kind(value)

    return parse


def choice(*options: str) -> Callable[[str], str]:
    """A parser of one of the options."""

    def parse(value: str) -> str:
        if value not in options:
            raise ValueError(f"must be one of {', '.join(options)}")
        return value

    return parse


def pattern(regex: str, what: str) -> Callable[[str], str]:
    """A parser of text that matches the whole regular expression; `what` describes it."""

    def parse(value: str) -> str:
        if not re.fullmatch(regex, value, re.ASCII):
            raise ValueError(f"must be {what}")
        return value

    return parse


def https_url(value: str) -> str:
    """An https:// base URL without user, query or fragment; a trailing slash is dropped."""
    try:
        parts = urlsplit(value)
        good = parts.scheme == "https" and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or re.search(r"[\s\x00-\x1f]", value):
        raise ValueError("must be an https:// URL with a host, like https://sunspool.example.org")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must be a base URL without user, query or fragment")
    return value.rstrip("/")


def zone(value: str) -> ZoneInfo:
    """A time zone by its IANA name."""
    try:
        return ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError("must be an IANA time zone, like Europe/Brussels") from None


def readable_file(value: str) -> Path:
    """The path of a file that can be read."""
    path = Path(value)
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ValueError(f"must name a file that can be read, and {value} can not")
    return path
