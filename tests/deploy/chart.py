"""Helm, as a process of its own: lints the chart and renders it with values.

Helm is a Go program, here a library. A Go runtime with its threads and signal handlers has no business in the tests'
own process, hence the pipe: cases come as JSON on standard input, what became of each goes to standard output.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "loopway"


def helm(cases: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By case: `messages` of the linter at or above a warning, and `files` (rendered text by template) or `error`."""
    command = [sys.executable, "-m", "tests.deploy.chart"]
    ran = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, dict[str, Any]] = json.loads(ran.stdout)
    return found


def _one(values: dict[str, Any]) -> dict[str, Any]:
    import helm_python

    report = helm_python.lint(CHART, values, strict=True)
    found: dict[str, Any] = {"messages": [each["error"] for each in report["messages"] if each["severity"] > 1]}
    with helm_python.Chart.load(CHART) as chart:
        try:
            found["files"] = chart.render(values, name="test", namespace="default")
        except helm_python.HelmError as error:
            found["error"] = str(error)
    return found


if __name__ == "__main__":
    print(json.dumps({name: _one(values) for name, values in json.load(sys.stdin).items()}))
