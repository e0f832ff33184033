"""Which language a browser gets, and that every language has every word."""

import re
from dataclasses import fields

import pytest
from markupsafe import escape

from api_server.pages import languages
from api_server.pages.languages import FOLDER, choose, load

KNOWN = load()
PAGES = FOLDER.parent


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "en"),
        ("nl-BE,en;q=0.5", "nl"),
        ("NL", "nl"),
        ("en-GB,nl;q=0.9", "en"),
        ("fr,nl;q=0.8,en;q=0.9", "en"),
        ("fr-BE, nl;q=0.3", "nl"),
        ("en;q=0.1,nl;q=0.2", "nl"),
        ("nl;q=0,en;q=0.1", "en"),
        ("fr,de", "en"),
        ("*", "en"),
        ("nl;q=high,en", "en"),
        ("nl;q=nan", "en"),
        (";;;,,=", "en"),
    ],
)
def test_the_first_language_we_have_in_its_order_of_preference(header, code):
    assert choose(None, header, KNOWN).code == code


def test_what_is_asked_for_comes_first():
    assert choose("nl", "en", KNOWN).code == "nl"
    assert choose("tlh", "nl", KNOWN).code == "nl"


def test_every_language_has_the_same_words():
    assert {"en", "nl"} <= KNOWN.keys()
    english = KNOWN["en"].words
    for language in KNOWN.values():
        assert language.words.keys() == english.keys()
        for key, text in language.words.items():
            assert re.findall(r"{\w*}", text) == re.findall(r"{\w*}", english[key]), key
        assert len(language.weekdays) == 7
        assert len(language.months) == 12
        assert all(getattr(language, field.name) for field in fields(language))


def test_what_numbers_are_written_with_needs_no_escaping():
    for language in KNOWN.values():
        units = [language.words[unit] for unit in ("days", "hours", "minutes", "seconds")]
        writing = [language.decimal, language.thousands, language.euro, language.percent, *units]
        assert [escape(one) for one in writing] == writing


def test_a_third_language_is_one_file(tmp_path, monkeypatch):
    for file in FOLDER.glob("*.toml"):
        (tmp_path / file.name).write_text(file.read_text())
    (tmp_path / "fr.toml").write_text((FOLDER / "nl.toml").read_text())
    monkeypatch.setattr(languages, "FOLDER", tmp_path)
    assert choose(None, "fr-BE", load()).code == "fr"


def test_every_word_is_used():
    sources = [*PAGES.rglob("*.html"), *PAGES.rglob("*.py")]
    text = "\n".join(file.read_text() for file in sources)
    groups = r"(error|frame|bucket|kind|source|peak)_\w+"
    unused = [
        key
        for key in KNOWN["en"].words
        if not re.search(rf"\b{key}\b", text) and not re.fullmatch(groups, key)
    ]
    assert unused == []
