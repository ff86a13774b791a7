"""Programs of users, run as they run them: each in a process of its own, told where the gateway is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.fakes.gateway import Gateway, clean_environment

HERE = Path(__file__).parent
NODE_HOME = HERE / "node"
ADDRESS = "http://127.0.0.1:8787/v1"
"""The base URL that the programs name; the tests put their gateway's in its place."""

_PATIENCE = 60.0


def python(program: str, gateway: Gateway) -> str:
    """Runs a Python program of `seed/`; returns what it prints."""
    return _run([sys.executable, "-"], _pointed(program, gateway), HERE)


def node(program: str, gateway: Gateway) -> str:
    """Runs a Node program of `seed/`; returns what it prints."""
    return _run(
        [*_node(), "--import", "./interop.mjs", "--input-type=module", "-"], _pointed(program, gateway), NODE_HOME
    )


def scenario(name: str, gateway: Gateway, **arguments: Any) -> Any:
    """Runs one function of `node/scenarios.mjs` with the arguments, and `url` and `key`; returns what it returns."""
    given = {"url": gateway.url, "key": gateway.api_key, **arguments}
    return json.loads(_run([*_node(), "scenarios.mjs", name, json.dumps(given)], "", NODE_HOME))


def _pointed(program: str, gateway: Gateway) -> str:
    text = (HERE / "seed" / program).read_text()
    assert text.count(ADDRESS) == 1
    return text.replace(ADDRESS, gateway.v1)


def _node() -> list[str]:
    found = shutil.which("node")
    assert found, "there is no node on the PATH; install Node.js 18 or newer"
    assert (NODE_HOME / "node_modules" / "portkey-ai").is_dir(), (
        "the Node SDKs are not installed; run: make tests/e2e/node/node_modules/.stamp"
    )
    return [found]


def _run(command: list[str], text: str, directory: Path) -> str:
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=_PATIENCE, cwd=directory, env=clean_environment()
    )
    assert done.returncode == 0, f"{command[1:3]} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout
