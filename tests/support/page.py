"""What a page says: its numbers with their names, and its text, read without a browser."""

from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Number:
    """An element that holds a number of the API."""

    field: str
    value: str
    device: str | None
    bucket: str | None  # of the row or table around it
    in_table: bool
    text: str = ""


@dataclass
class _Open:
    tag: str
    bucket: str | None
    number: Number | None = None


VOID = {"meta", "link", "input", "br"}


@dataclass
class Page(HTMLParser):
    """Reads a page when it is made."""

    html: str
    numbers: list[Number] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[_Open] = []
        self.feed(self.html)
        assert not self._open, "an element was not closed"
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember where we are, and note a number."""
        given = dict(attrs)
        assert "style" not in given, "the policy forbids inline style"
        assert not [name for name in given if name.startswith("on")]
        if tag == "a":
            self.links.append(given["href"] or "")
        outer = self._open[-1].bucket if self._open else None
        one = _Open(tag, given.get("data-bucket") or outer)
        if "data-field" in given:
            in_table = any(parent.tag == "table" for parent in self._open)
            name, value = given["data-field"] or "", given["data-value"] or ""
            one.number = Number(name, value, given.get("data-device"), one.bucket, in_table)
            self.numbers.append(one.number)
        if tag not in VOID:
            self._open.append(one)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element of a drawing that holds nothing."""

    def handle_endtag(self, tag: str) -> None:
        """Leave an element."""
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        """Text belongs to the page and to the number around it."""
        self.text += data
        for one in self._open:
            if one.number:
                one.number.text += data

    def number(self, field: str, device: str | None = None, bucket: str | None = None) -> Number:
        """The only number of that name."""
        found = [
            one
            for one in self.numbers
            if one.field == field
            and (device is None or one.device == device)
            and (bucket is None or one.bucket == bucket)
        ]
        assert len(found) == 1, (field, found)
        return found[0]
