"""Imports only point down. This table is the one place that says where down is."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# A module imports from its own floor or a lower one, never from above, and never in a circle. A package's name stands
# for all that is in it. What only a type checker imports does not count: it does not run.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("adapters",),
    (
        "errors",
        "ports",
        "seams",
        "turns",
        "scopes",
        "usage_columns",
        "routes",
        "address",
        "metadata",
        "prices",
        "trace",
    ),  # nouns
    ("limits", "exchange", "headers"),
    ("config", "health", "vault"),  # raw → validated → compiled
    (
        "keys",
        "routing",
        "board",
        "usage",
        "metrics",
        "models",
        "capabilities",
        "budgets",
        "loglevel",
    ),  # policy: state, no sockets
    ("transport", "store", "journal", "redis_link", "leases", "bodies", "datalock"),  # bytes to providers and to disk
    (
        "relay",
        "verbatim",
        "outcome",
        "outbound",
        "credentials",
        "attempt",
        "retry",
        "race",
        "resume",
        "cache",
        "forward",
    ),
    ("pipeline", "dispatch", "live", "openapi", "inference", "admin", "explain", "download"),  # the life of a request
    ("server",),  # the edge
    ("app", "telemetry", "gauges", "supervisor", "workers", "cli", "mock", "__main__"),  # assembly
)
FLOOR_OF = {name if name == "adapters" else f"proxy.{name}": floor for floor, row in enumerate(FLOORS) for name in row}

# The adapters are pure: bytes in, bytes out. Whatever would let them wait, tell the time, throw dice or look around
# comes in as an argument instead.
PURE = frozenset(
    (
        "__future__", "base64", "binascii", "bisect", "collections", "dataclasses", "enum", "fnmatch", "functools",
        "hashlib", "hmac", "itertools", "json", "math", "msgspec", "operator", "re", "string", "struct", "types",
        "typing",
    )
)  # fmt: skip


def modules(package: str) -> Iterator[tuple[str, Path]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict((*modules("adapters"), *modules("proxy")))


def named(node: ast.AST, name: str) -> set[str]:
    """The modules that a statement of the module `name` imports."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if not isinstance(node, ast.ImportFrom):
        return set()
    assert node.level == 0, f"{name} imports relatively"
    assert node.module is not None
    below = {f"{node.module}.{alias.name}" for alias in node.names}
    return below & MODULES.keys() | ({node.module} if below - MODULES.keys() else set())


def imports(name: str) -> set[str]:
    """The names of all modules that a module imports, at its top or later."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(MODULES[name].read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
            continue
        found |= named(node, name)
        waiting += ast.iter_child_nodes(node)
    return found


def ours(name: str) -> set[str]:
    return {found for found in imports(name) if found in MODULES and found not in ("proxy", "adapters")}


def floor(name: str) -> int:
    """The floor of a module; -1 for the root packages, which hold a version and nothing else."""
    if name == "proxy":
        return -1
    return FLOOR_OF["adapters" if name.startswith("adapters") else ".".join(name.split(".")[:2])]


def test_every_module_has_a_floor_and_every_floor_its_modules() -> None:
    top = {".".join(name.split(".")[:2]) for name in MODULES if name.startswith("proxy.")}
    assert top | {"adapters"} == set(FLOOR_OF)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_from_its_own_floor_or_below(name: str) -> None:
    above = {found for found in ours(name) if floor(found) > floor(name)}
    assert not above, f"{name} (floor {floor(name)}) imports from above: {sorted(above)}"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("adapters")])
def test_an_adapter_imports_nothing_that_waits_or_looks_around(name: str) -> None:
    foreign = {found for found in imports(name) if found.split(".")[0] not in PURE | {"adapters"}}
    assert not foreign


def test_no_module_imports_itself_in_a_circle() -> None:
    done: set[str] = set()

    def follow(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join((*path[path.index(name) :], name))
        if name not in done:
            for found in sorted(ours(name)):
                follow(found, (*path, name))
            done.add(name)

    for name in MODULES:
        follow(name, ())


ALONE = """
import importlib, json, os, sys
foreign, after = map(json.loads, sys.argv[1:])
for name in foreign:
    importlib.import_module(name)
def follow(before):
    for name in after.get(before, ()):
        child = os.fork()
        if child == 0:
            try:
                importlib.import_module(name)
            except BaseException as error:
                print(f"{name}: {error!r}", file=sys.stderr, flush=True)
                os._exit(1)
            follow(name)
            sys.stdout.flush()
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            os._exit(1)
    print(before)
follow("")
"""


def first(name: str) -> str:
    """Which of our modules must be loaded before anything else of this one is: its package, or what its first import
    names. "" if there is none."""
    package = name.rpartition(".")[0]
    if "." in package and (ours(package) or first(package)):
        return package
    for statement in ast.parse(MODULES[name].read_text(encoding="utf-8")).body:
        found = {module for module in named(statement, name) if module in MODULES and "." in module}
        if found:
            only = found.pop()
            return "" if found or only.startswith(f"{name}.") else only
    return ""


def test_every_module_can_be_imported_alone() -> None:
    # Each in a fork of an interpreter that has loaded what is foreign and none of ours: order must never matter. One
    # that begins by importing another goes on in a fork of where that was loaded alone, which comes to the same.
    foreign = {found for name in MODULES for found in imports(name) if found.split(".")[0] not in ("proxy", "adapters")}
    after: dict[str, list[str]] = {}
    for name in MODULES:
        if not name.endswith("__main__"):
            after.setdefault(first(name), []).append(name)
    arguments = [json.dumps(sorted(foreign)), json.dumps(after)]
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert set(ran.stdout.split()) == {name for name in MODULES if not name.endswith("__main__")}


def test_the_version_is_told_without_loading_the_server() -> None:
    script = (
        "import sys; sys.argv = ['loopway', 'version']\n"
        "from proxy.__main__ import main\n"
        "try:\n    main()\n"
        "except SystemExit as done:\n    assert not done.code, done.code\n"
        "heavy = {'aiohttp', 'uvloop', 'gunicorn', 'cryptography'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_a_gateway_loads_neither_database_nor_redis_nor_tracing_that_it_may_not_need() -> None:
    script = (
        "import sys, proxy.app\n"
        "unasked = {'redis', 'psycopg', 'opentelemetry', 'yoyo'} & sys.modules.keys()\n"
        "assert not unasked, unasked\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
