"""What the two programs may know of each other, and of the world."""

import ast
import json
import sys
from pathlib import Path

import pytest

from tests.support.servers import ROOT, run
from tests.support.servers.process import environment

SHARED = {
    "edge_agent",
    "edge_agent.shared",
    "edge_agent.shared.samples",
    "edge_agent.shared.environment",
    "edge_agent.shared.logs",
    "edge_agent.shared.alarms",
    "edge_agent.shared.loops",
}
LOADED = """
import importlib, json, sys
before = set(sys.modules)
importlib.import_module(sys.argv[1])
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""
# Python writes down how it was built in a module whose name has the machine in it.
BUILD = "_sysconfigdata_"


@pytest.mark.parametrize("module", sorted(SHARED))
def test_what_both_programs_share_loads_the_standard_library_only(module):
    loaded = set(json.loads(run([sys.executable, "-c", LOADED, module], cwd=ROOT)))
    strange = loaded - sys.stdlib_module_names - {"edge_agent"}
    assert not {name for name in strange if not name.startswith(BUILD)}


def test_the_server_knows_nothing_else_of_the_agent():
    for file in sorted((ROOT / "api_server").rglob("*.py")):
        strange = {name for name in imports(file) if name.startswith("edge_agent")} - SHARED
        assert not strange, file


def test_the_agent_knows_nothing_of_the_server():
    for file in sorted((ROOT / "edge_agent").rglob("*.py")):
        assert not {name for name in imports(file) if name.startswith("api_server")}, file


# The arrows of the house: what each room may import, beside itself. They go down only.
ARROWS = {
    "edge_agent": {
        "__main__": {"commands"},
        "commands": {"agent", "clock", "config", "left_behind", "shared", "sources", "spool"},
        "agent": {"clock", "config", "health", "poller", "shared", "sources", "spool", "upload"},
        "poller": {"clock", "health", "shared", "sources", "spool", "upload"},
        "health": {"clock", "left_behind", "shared"},
        "left_behind": {"shared", "spool"},
        "sources": {"clock", "config", "http", "shared"},
        "spool": {"clock", "shared"},
        "upload": {"config", "http", "shared"},
        "clock": {"shared"},
        "config": {"shared"},
        "http": set(),
        "shared": set(),
    },
    "api_server": {
        "": {"config", "data", "pages", "routes", "web"},
        "gunicorn.conf": {"config", "migrations", "web"},
        "migrate": {"migrations"},
        "rollups": {"config", "data", "migrations"},
        "pages": {"config", "data", "devices", "web"},
        "routes": {"config", "data", "migrations", "openapi", "web"},
        "alerts": {"config", "data", "devices"},
        "web": {"config", "data", "devices"},
        "migrations": {"config", "data"},
        "openapi": {"config"},
        "data": {"config", "devices", "tariffs"},
        "config": {"devices", "tariffs"},
        "tariffs": set(),
        "devices": set(),
    },
}


@pytest.mark.parametrize("program", ARROWS)
def test_every_arrow_of_the_house_is_drawn_and_goes_down(program):
    drawn: dict[str, set[str]] = {}
    for file in sorted((ROOT / program).rglob("*.py")):
        own = _room(program, ".".join(file.relative_to(ROOT).with_suffix("").parts))
        rooms = {_room(program, name) for name in imports(file) if name.startswith(f"{program}.")}
        drawn.setdefault(own, set()).update(rooms - {own, ""})
    rooms = list(ARROWS[program])
    for room, targets in drawn.items():
        assert targets <= ARROWS[program].get(room, set()), f"a new arrow: {room} -> {targets}"
        assert all(rooms.index(room) < rooms.index(target) for target in targets), room


def _room(program: str, module: str) -> str:
    """The room of a module: what stands first in its name below the program."""
    inside = module.removeprefix(program).removeprefix(".").removesuffix("__init__")
    return inside if inside == "gunicorn.conf" else inside.partition(".")[0]


def imports(file: Path) -> set[str]:
    """The modules a file imports, also those named after `import`."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                is_module = ROOT.joinpath(*inner.split(".")).with_suffix(".py").exists()
                found.add(inner if is_module else node.module)
    return found


@pytest.mark.parametrize("package", ["edge_agent", "api_server"])
def test_nothing_happens_at_import_time(package):
    """No module needs a setting, and none connects anywhere, to be imported."""
    modules = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in sorted((ROOT / package).rglob("*.py"))
        if file.name not in ("__main__.py", "__init__.py", "gunicorn.conf.py")
    ]
    program = """
import importlib, socket, sys, threading
def refuse(*_): raise SystemExit("a connection at import time")
socket.socket.connect = refuse
for module in sys.argv[1:]:
    importlib.import_module(module)
sys.exit(threading.active_count() - 1)
"""
    run([sys.executable, "-W", "error", "-c", program, *modules], cwd=ROOT, env=environment({}))
    assert modules
