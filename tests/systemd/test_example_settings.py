"""The example settings hold every setting of the programs, with its default."""

import importlib
import re

import pytest

from edge_agent.shared import environment
from tests.systemd.unit_files import text

EXAMPLES = {"edge.env.example": "edge_agent.config", "api.env.example": "api_server.config"}
# Of the installed system: the local database, and where the units put the tokens.
LOCAL = {"DATABASE_URL", "MIGRATE_DATABASE_URL", "REDIS_URL"}
# Defaults that depend on other settings, as the file says beside them.
DEPENDS = {"HW_P1_PORT", "POLL_INTERVAL_S", "SPOOL_PATH", "HEALTH_PATH"}


def _example(name: str) -> dict[str, tuple[bool, str]]:
    """Every setting of the file: whether it is commented out, and its value."""
    lines = re.findall(r"^(#?)([A-Z][A-Z0-9_]*)=(.*)$", text(name), re.MULTILINE)
    assert len({line[1] for line in lines}) == len(lines), "a setting stands there twice"
    return {setting: (bool(comment), value) for comment, setting, value in lines}


def _table(module: str) -> dict[str, environment.Setting]:
    return {setting.name: setting for setting in importlib.import_module(module).TABLE}


@pytest.mark.parametrize(("name", "module"), EXAMPLES.items())
def test_the_file_holds_every_setting_and_no_other(name, module):
    assert set(_example(name)) == set(_table(module))


@pytest.mark.parametrize(("name", "module"), EXAMPLES.items())
def test_what_is_commented_out_is_the_default(name, module):
    table = _table(module)
    wrong = {}
    for setting, (commented, value) in _example(name).items():
        if setting in LOCAL | DEPENDS:
            continue
        parsed = table[setting].parse(value) if value else None
        default = table[setting].default or None
        if not commented or parsed != default:
            wrong[setting] = (value, default)
    assert wrong == {}


@pytest.mark.parametrize(("name", "module"), EXAMPLES.items())
def test_no_secret_stands_in_the_file(name, module):
    secrets = {setting.name for setting in _table(module).values() if setting.secret} - LOCAL
    assert secrets
    shown = _example(name)
    assert [setting for setting in secrets if shown[setting] != (True, "")] == []
