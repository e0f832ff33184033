"""Run the benchmarks named on the command line, or all; print and write their ratios."""

import argparse
import importlib
import inspect
import os
import pkgutil
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import benchmarks
from benchmarks import Row

RESULTS = Path(__file__).with_name("results.md")
PACKAGES = ("pymodbus", "flask", "gunicorn", "psycopg2-binary", "redis", "fastapi", "uvicorn")
HEADER = (
    "| what | against | ratio | min - max | target | met | note |\n|---|---|---|---|---|---|---|"
)


def main(arguments: list[str]) -> int:
    """Run, print each row as it comes, and write results.md when all were run."""
    names = [
        module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name[0] != "_"
    ]
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {', '.join(names)}")
    parser.add_argument("--rounds", type=int, default=5, help="rounds after the warm-up (>= 5)")
    parser.add_argument(
        "--before",
        type=lambda path: Path(path).resolve(strict=True),
        metavar="PATH",
        help="a checkout of another version, to measure fleet and homes against",
    )
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(names)
    if unknown:
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    sections = _earlier() if options.names else {}
    for name in options.names or names:
        module = importlib.import_module(f"benchmarks.{name}")
        print(f"\n== {module.NAME}", flush=True)
        wanted = {"before": options.before} if options.before else {}
        known = inspect.signature(module.run).parameters
        more = {name: value for name, value in wanted.items() if name in known}
        sections[module.NAME] = [_line(row) for row in module.run(options.rounds, **more)]
        print(HEADER, *sections[module.NAME], sep="\n", flush=True)
        RESULTS.write_text(_report(sections), encoding="utf-8")
    print(f"\nwritten to benchmarks/{RESULTS.name}")
    return 0


def _line(row: Row) -> str:
    cells = (
        row.what,
        row.against,
        f"{row.ratio:.2f}",
        f"{row.low:.2f} - {row.high:.2f}",
        row.target,
        "yes" if row.met else "**no**",
        row.note,
    )
    return f"| {' | '.join(cells)} |"


def _report(sections: dict[str, list[str]]) -> str:
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    lines = [
        "# Benchmark results",
        "",
        f"Written by `scripts/bench` on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {versions}.",
        "Ratios are medians of interleaved rounds in one run; absolute times are noise.",
    ]
    for name, rows in sections.items():
        lines += ["", f"## {name}", "", HEADER, *rows]
    return "\n".join(lines) + "\n"


def _earlier() -> dict[str, list[str]]:
    """The sections of the last report, so that running one benchmark keeps the others."""
    sections: dict[str, list[str]] = {}
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    for section in text.split("\n## ")[1:]:
        name, *lines = section.splitlines()
        rows = [line for line in lines if line.startswith("| ")]
        sections[name] = rows[1:]
    return sections


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
