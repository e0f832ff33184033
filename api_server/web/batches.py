"""Reads an ordinary batch at once: JSON, types and limits in one pass of msgspec.

The types are made from the contract. Whatever is in any way out of the ordinary (an unknown field,
a fraction for an integer, anything wrong) is left to the careful way, which decides what it is:
what is read here is exactly what that one would have read.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from api_server.data import agents
from api_server.web.decoding import time_span
from edge_agent.shared.samples import KINDS, P1, TEXT, Field, Kind, parse_time, parse_times

Columns = dict[str, list[Any]]


class Reader:
    """Reads the batches of one kind."""

    def __init__(self, kind: Kind):
        self._kind = kind
        fields = [("device_id", str), ("ts", str), *map(_declared, kind.fields)]
        strict = {"kw_only": True, "forbid_unknown_fields": True}
        sample = msgspec.defstruct(f"{kind.name}_sample", fields, gc=False, **strict)
        report = ("agent", msgspec.Raw, msgspec.Raw(b"null"))
        body = msgspec.defstruct("body", [("samples", list[sample]), report], **strict)
        self._read: Callable[[bytes], Any] = msgspec.json.Decoder(body).decode
        self._special = {
            field.name: _text_is_fine if field.type == "text" else _times_of
            for field in kind.fields
            if field.type in ("text", "time")
        }

    def read(
        self, body: bytes, device_id: str, now: datetime, keep_days: int | None
    ) -> tuple[Columns, Any] | None:
        """The columns of the samples and the agent's report; None if it needs a closer look."""
        try:
            batch = self._read(body)
            rows = map(msgspec.structs.astuple, batch.samples)
            values = map(list, zip(*rows, strict=True))
            columns = dict(zip(self._kind.columns, values, strict=True))
            if columns["device_id"].count(device_id) != len(batch.samples):
                return None
            times = columns["ts"] = parse_times(columns["ts"])
            earliest, latest = time_span(now, keep_days)
            if min(times) < earliest or max(times) > latest:
                return None
            for name, read in self._special.items():
                columns[name] = read(columns[name])
            # Compared before anything is rounded: both are whole numbers here.
            if self._kind is P1 and columns["import_power_w"] != [
                max(power, 0) for power in columns["power_w"]
            ]:
                return None
            return columns, agents.parse(batch.agent)
        except (ValueError, RecursionError):  # also what msgspec raises, and an empty batch
            return None


def readers() -> dict[str, Reader]:
    """One for each kind."""
    return {name: Reader(kind) for name, kind in KINDS.items()}


def _declared(field: Field) -> tuple[str, Any] | tuple[str, Any, Any]:
    """A field as msgspec is told it."""
    if field.type in ("text", "time"):
        type_: Any = str
    else:
        plain = float if field.type == "float" else int
        type_ = Annotated[plain, Meta(ge=plain(field.low), le=plain(field.high))]
    if field.nullable and field.default is None:
        type_ = type_ | None
    return (field.name, type_) if field.required else (field.name, type_, field.default)


def _text_is_fine(values: list[str | None]) -> list[str | None]:
    if not all(TEXT.fullmatch(value or "") for value in set(values)):
        raise ValueError("a text that is none")
    return values


def _times_of(values: list[str | None]) -> list[datetime | None]:
    known = {value: parse_time(value) for value in set(values) if value is not None}
    return [known.get(value) for value in values]
