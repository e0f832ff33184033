"""The README names everything the programs offer, as the programs themselves list it."""

import re
import sys
from pathlib import Path

import pytest
from flask import Flask

import api_server.config
import edge_agent.config
from api_server import create_app
from edge_agent.shared.environment import Setting
from edge_agent.shared.samples import KINDS
from tests.support.servers import ROOT, run
from tests.support.servers.process import environment

README = ROOT / "README.md"
COMMANDS = {
    "python -m edge_agent": [sys.executable, "-m", "edge_agent", "--help"],
    "python -m api_server.migrate": [sys.executable, "-m", "api_server.migrate", "--help"],
    "python -m api_server.tariffs": [sys.executable, "-m", "api_server.tariffs", "--help"],
    "scripts/demo": [str(ROOT / "scripts/demo"), "--help"],
}
SCRIPTS = ("scripts/demo", "scripts/test", "scripts/bench")
INSTALLERS = ("systemd/install-api", "systemd/install-edge")


@pytest.fixture(scope="module")
def readme() -> str:
    return README.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def app() -> Flask:
    """The API, which connects to nothing before it is asked."""
    servers = {"DATABASE_URL": "postgresql:///none", "REDIS_URL": "redis://127.0.0.1:1/0"}
    return create_app(servers | {"DEVICE_TOKENS": ""})


def missing(readme: str, words: list[str]) -> list[str]:
    """The words that do not occur as whole words."""
    return [word for word in words if not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", readme)]


def settings_of(module: object) -> list[str]:
    """The names in the tables of settings of a module."""
    tables = [value for value in vars(module).values() if isinstance(value, tuple)]
    return [entry.name for table in tables for entry in table if isinstance(entry, Setting)]


def test_every_setting_is_named(readme):
    for module in (edge_agent.config, api_server.config):
        names = settings_of(module)
        assert len(names) > 10
        assert missing(readme, names) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_named_with_its_options(readme, command):
    said = run(COMMANDS[command], env=environment({}), cwd=ROOT)
    options = set(re.findall(r"(?<!\S)--[a-z][a-z-]+", said)) - {"--help", "--version"}
    assert options
    assert missing(readme, [command, *sorted(options)]) == []


def test_every_script_and_installer_is_named(readme):
    assert missing(readme, [*SCRIPTS, *INSTALLERS]) == []
    offered = re.findall(r"^ +(--[a-z]+)\)", (ROOT / "scripts/test").read_text(), re.MULTILINE)
    assert missing(readme, [f"scripts/test {option}" for option in offered]) == []


def test_every_route_is_named_and_read_with_curl(readme, app: Flask):
    lines = [line for line in readme.splitlines() if line.lstrip().startswith("curl ")]
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/ui"):  # read with a browser, which finds the way by itself
            continue
        path = re.sub(r"<[^>]+>", r"[^ ?'`]+", rule.rule)
        places = lines if "GET" in rule.methods else [readme]
        assert any(re.search(rf"{path}([?' \"`]|$)", text) for text in places), rule.rule


def test_every_page_is_named(readme, app: Flask):
    pages = [rule.rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/ui/")]
    assert "/ui/" in pages
    whole = [page for page in pages if page not in ("/ui/live", "/ui/today")]
    assert [page for page in whole if "static" not in page and page not in readme] == []


def test_every_frame_is_named(readme):
    frames = {frame for kind in KINDS.values() for frame in kind.frames}
    assert len(frames) > 4
    assert [frame for frame in frames if not re.search(rf"(frame=|`){frame}\b", readme)] == []


def test_every_file_it_points_to_exists(readme):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", readme)
    assert [link for link in links if not Path(ROOT, link).exists()] == []
