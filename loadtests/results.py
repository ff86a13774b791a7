"""What a run found: rounds, the rows they make, and the file that keeps them."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import sysconfig
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Round:
    """One measurement: figures by column name, errors by kind, quantiles of the times by kind."""

    figures: dict[str, float]
    errors: dict[str, int] = field(default_factory=dict)
    curves: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass
class Row:
    """All rounds of one target in one scenario. Only rounds without a single error have a say in its figures."""

    rounds: list[Round] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def clean(self) -> list[Round]:
        """The rounds that count."""
        return [entry for entry in self.rounds if not entry.errors]

    def values(self, column: str) -> list[float]:
        """A figure in every clean round that has it."""
        return [entry.figures[column] for entry in self.clean if column in entry.figures]

    def median(self, column: str) -> float | None:
        """The median of a figure, None without a clean round."""
        values = self.values(column)
        return statistics.median(values) if values else None

    def trouble(self) -> str:
        """What went wrong, and how many rounds were left out for it; empty when nothing did."""
        counts: dict[str, int] = {}
        for entry in self.rounds:
            for kind, count in entry.errors.items():
                counts[kind] = counts.get(kind, 0) + count
        parts = [f"{count} × {kind}" for kind, count in counts.items()] + sorted(set(self.failures))
        total = len(self.rounds) + len(self.failures)
        return f"{total - len(self.clean)} of {total} rounds left out: {'; '.join(parts)}" if parts else ""


@dataclass
class Results:
    """A whole run: how it was made, and rows by scenario and target in the order they were played."""

    made: dict[str, Any] = field(default_factory=dict)
    scenarios: dict[str, dict[str, Row]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the run as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read a run back. Raises OSError or ValueError where there is none."""
        data = json.loads(path.read_text())
        return cls(
            data["made"],
            {
                scenario: {
                    target: Row([Round(**entry) for entry in row["rounds"]], row["failures"])
                    for target, row in rows.items()
                }
                for scenario, rows in data["scenarios"].items()
            },
        )


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def circumstances() -> dict[str, Any]:
    """Commit, interpreter and machine: what a figure cannot be read without."""
    flags = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return {
        "commit": _git("rev-parse", "--short", "HEAD"),
        "modified": bool(_git("status", "--porcelain", "--untracked-files=no", "--", "proxy", "adapters", "loadtests")),
        "python": platform.python_version(),
        # A distribution's interpreter is built with optimisations, though its flags do not say so.
        "optimised_build": "--enable-optimizations" in flags or sys.base_prefix == "/usr",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
    }
