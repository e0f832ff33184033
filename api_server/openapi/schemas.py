"""Short ways to write JSON schemas: every object lists its properties, all of them required."""

from typing import Any

from edge_agent.shared.samples import DEVICE_ID, Field

Schema = dict[str, Any]

_UNITS = {
    "_w": "W",
    "_kwh": "kWh",
    "_pct": "%",
    "_c": "degC",
    "_v": "V",
    "_a": "A",
    "_hz": "Hz",
    "_s": "s",
    "_eur": "EUR",
}
TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?(Z|[+-]\d\d:\d\d)$"


def unit_of(name: str) -> str | None:
    """The unit that a name ends with."""
    return next((unit for end, unit in _UNITS.items() if name.endswith(end)), None)


def obj(text: str, /, **properties: Schema) -> Schema:
    """An object with exactly these properties; each gets the unit that its name tells."""
    return {
        "type": "object",
        "description": text,
        "properties": {name: _with_unit(name, schema) for name, schema in properties.items()},
        "required": list(properties),
        "additionalProperties": False,
    }


def _with_unit(name: str, schema: Schema) -> Schema:
    unit = unit_of(name)
    numeric = {"number", "integer"} & set(_types(schema))
    return {**schema, "x-unit": unit} if unit and numeric else schema


def _types(schema: Schema) -> list[str]:
    types = schema.get("type", [])
    return [types] if isinstance(types, str) else types


def listed(items: Schema, text: str = "", **more: Any) -> Schema:
    """A list."""
    return {"type": "array", "items": items, "description": text, **more}


def columns_of(answer: Schema, rows: str) -> tuple[str, ...]:
    """The names of what each entry of an answer's list holds, in order."""
    return tuple(answer["properties"][rows]["items"]["properties"])


def nullable(schema: Schema) -> Schema:
    """The schema, or null where it is not known."""
    if "type" not in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    changed = {**schema, "type": [*_types(schema), "null"]}
    if "enum" in schema:
        changed["enum"] = [*schema["enum"], None]
    return changed


def text(description: str = "", **more: Any) -> Schema:
    """A string."""
    return {"type": "string", "description": description, **more}


def time(description: str = "") -> Schema:
    """An RFC 3339 time with an offset."""
    return text(description, pattern=TIME)


def choice(*values: str) -> Schema:
    """One of some words."""
    return {"type": "string", "enum": list(values)}


def number(description: str = "", low: float | None = None, high: float | None = None) -> Schema:
    """A number, within limits where they are given."""
    return _limited({"type": "number", "description": description}, low, high)


def integer(description: str = "", low: int | None = None, high: int | None = None) -> Schema:
    """A whole number."""
    return _limited({"type": "integer", "description": description}, low, high)


def _limited(schema: Schema, low: float | None, high: float | None) -> Schema:
    limits = {"minimum": low, "maximum": high}
    return schema | {name: limit for name, limit in limits.items() if limit is not None}


def boolean(description: str = "") -> Schema:
    """True or false."""
    return {"type": "boolean", "description": description}


def of_field(field: Field) -> Schema:
    """What a field of a sample may be."""
    made = {
        "float": lambda: number("", field.low, field.high),
        "int": lambda: integer("", int(field.low), int(field.high)),
        "time": time,
        "text": lambda: text("", maxLength=400, pattern="^[0-9. ]*$"),
    }[field.type]()
    return nullable(made) if field.nullable else made


DEVICE = text("A device.", pattern=f"^{DEVICE_ID.pattern}$")
SITE = text("A site.")
MONTH = text("A month like 2026-11.", pattern=r"^\d{4}-(0[1-9]|1[0-2])$")
DAY = text("A local day like 2026-11-21.", pattern=r"^\d{4}-\d\d-\d\d$")


# What several answers share.
KWH = nullable(number("Energy in this bucket; null where the counter is unknown."))
W = nullable(number())
WATTS = nullable(integer())
PCT = nullable(number("", 0, 100))
EUR = nullable(number("Including VAT; null where a rate is lacking."))
ZONE = text("The IANA name of the zone that days begin in.")
COMPLETE = boolean("False while the period is running.")
SOURCE = nullable(choice("official", "register", "sampled"))
