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
