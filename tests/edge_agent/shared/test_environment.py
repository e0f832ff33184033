"""Settings from the environment, from files and from systemd credentials."""

import os

import pytest

from edge_agent.shared import environment
from edge_agent.shared.environment import MASK, Setting, read, shown

TABLE = (
    Setting("PLACE", str, required=True),
    Setting("PORT", environment.integer(1, 65535), default=502),
    Setting("TOKEN", environment.pattern("[a-f0-9]{4}", "4 hex digits"), secret=True),
    Setting("USERS", str, secret=True, required=True, empty_counts=True),
)
GOOD = {"PLACE": "attic", "USERS": "u"}


def test_defaults_apply_to_what_is_unset_or_empty():
    values, problems = read(TABLE, {**GOOD, "PORT": "", "TOKEN": "  "})
    assert problems == []
    assert values == {"place": "attic", "port": 502, "token": None, "users": "u"}


def test_all_problems_are_found_at_once_and_no_secret_is_printed():
    _, problems = read(TABLE, {"PORT": "70000", "TOKEN": "hunter2"})
    assert [problem.split()[0] for problem in problems] == ["PLACE", "PORT", "TOKEN", "USERS"]
    assert "hunter2" not in " ".join(problems)
    assert "from 1 to 65535" in problems[1]


def test_a_setting_that_may_be_empty_is_taken_empty():
    values, problems = read(TABLE, {**GOOD, "USERS": ""})
    assert problems == []
    assert values["users"] == ""


def test_a_secret_comes_from_the_variable_then_the_file_then_the_credential(tmp_path):
    (tmp_path / "file").write_text("bbbb\n")
    (tmp_path / "token").write_text("cccc\n")
    environ = {
        **GOOD,
        "TOKEN": "aaaa",
        "TOKEN_FILE": str(tmp_path / "file"),
        "CREDENTIALS_DIRECTORY": str(tmp_path),
    }
    found = []
    for name in ("TOKEN", "TOKEN_FILE", "CREDENTIALS_DIRECTORY"):
        found.append(read(TABLE, environ)[0]["token"])
        del environ[name]
    assert found == ["aaaa", "bbbb", "cccc"]
    assert read(TABLE, environ)[0]["token"] is None


@pytest.mark.parametrize("empty", ["", " \n"])
def test_an_empty_variable_leaves_the_word_to_the_file(tmp_path, empty):
    (tmp_path / "file").write_text("bbbb\n")
    environ = {**GOOD, "TOKEN": empty, "TOKEN_FILE": str(tmp_path / "file")}
    assert read(TABLE, environ)[0]["token"] == "bbbb"


def test_an_empty_credential_is_unset_but_counts_where_empty_is_a_value(tmp_path):
    (tmp_path / "token").write_text("")
    (tmp_path / "users").write_text("\n")
    values, problems = read(TABLE, {"PLACE": "attic", "CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert problems == []
    assert values["token"] is None
    assert values["users"] == ""


def test_a_file_that_can_not_be_read_is_a_problem_that_names_it(tmp_path):
    missing = tmp_path / "missing"
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for path in (missing, binary):
        _, problems = read(TABLE, {**GOOD, "TOKEN_FILE": str(path)})
        assert len(problems) == 1
        assert str(path) in problems[0]


def test_what_is_shown_masks_secrets_that_are_set():
    values, _ = read(TABLE, {**GOOD, "TOKEN": "abcd"})
    assert shown(TABLE, values) == {"PLACE": "attic", "PORT": 502, "TOKEN": MASK, "USERS": MASK}
    values, _ = read(TABLE, {**GOOD, "USERS": ""})
    assert shown(TABLE, values)["TOKEN"] is None
    assert shown(TABLE, values)["USERS"] == ""


@pytest.mark.parametrize(
    ("parse", "good", "bad"),
    [
        (environment.integer(20, 500), ["20", "500"], ["19", "2.5", "x", "1e3", "٢٠", "9" * 30]),
        (environment.number(1, 30), ["1", "2.5", "30"], ["0.9", "31", "nan", "inf", "1e1"]),
        (environment.choice("v1", "v2"), ["v1"], ["V1", "v3"]),
        (environment.zone, ["Europe/Brussels", "UTC"], ["Mars/Base", "../etc/passwd", "Europe"]),
        (
            environment.https_url,
            ["https://a.example", "https://a.example:8443/base/", "https://[::1]:1"],
            [
                "http://a.example",
                "a.example",
                "https://",
                "https://u:p@a.example",
                "https://a.example?x=1",
                "https://a.example#x",
                "https://a.example:99999",
                "https://a b.example",
            ],
        ),
    ],
)
def test_parsers_accept_and_refuse(parse, good, bad):
    for value in good:
        assert parse(value) is not None
    for value in bad:
        with pytest.raises(ValueError, match="must be"):
            parse(value)


def test_a_trailing_slash_of_a_base_url_is_dropped():
    assert environment.https_url("https://a.example/base/") == "https://a.example/base"


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
def test_an_unreadable_file_is_refused(tmp_path):
    path = tmp_path / "ca.pem"
    path.touch(mode=0o000)
    with pytest.raises(ValueError, match=str(path)):
        environment.readable_file(str(path))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must name a file"):
        environment.readable_file(str(tmp_path / "missing.pem"))
