"""The scenarios as objects, read from scenarios.toml and checked."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from loadtests.payloads import Dialect

_FILE = Path(__file__).with_name("scenarios.toml")

#: Figure: (heading, format). `{unit}` becomes the scenario's.
COLUMNS = {
    "cpu_us": ("CPU µs/{unit}", "{:.1f}"),
    "per_second": ("requests/s", "{:,.0f}"),
    "events_per_second": ("events/s", "{:,.0f}"),
    "events_per_read": ("events/read", "{:.1f}"),
    "p50_ms": ("p50 ms", "{:.2f}"),
    "p99_ms": ("p99 ms", "{:.2f}"),
    "ttfc_p50_ms": ("first chunk p50 ms", "{:.2f}"),
    "ttfc_p99_ms": ("first chunk p99 ms", "{:.2f}"),
    "gap_p50_ms": ("gap p50 ms", "{:.2f}"),
    "gap_p99_ms": ("gap p99 ms", "{:.2f}"),
    "busy": ("core busy", "{:.0%}"),
    "load_busy": ("load's core busy", "{:.0%}"),
    "delivered": ("delivered", "{:.1%}"),
    "live": ("live streams", "{:,.0f}"),
    "rss_mb": ("RSS MB", "{:.0f}"),
    "worker_rss_mb": ("largest process MB", "{:.0f}"),
    "idle_rss_mb": ("idle RSS MB", "{:.0f}"),
    "kb_per_stream": ("KB/stream", "{:.1f}"),
    "cancel_p50_ms": ("closed after p50 ms", "{:.2f}"),
    "cancel_max_ms": ("closed after max ms", "{:.2f}"),
    "left_open": ("open after 10 s", "{:.0f}"),
    "cold_s": ("first answer s", "{:.2f}"),
}


@dataclass(frozen=True)
class Scenario:
    """One kind of traffic; scenarios.toml says what the fields mean."""

    name: str
    about: str
    columns: tuple[str, ...]
    kind: Literal["load", "cancel", "cold"] = "load"
    route: Dialect = "openai"
    prompt: int = 800
    stream: bool = False
    connections: int = 1
    rate: float = 0.0
    ramp: float = 0.0
    warm: float = 0.5
    seconds: float = 0.0
    rounds: int = 99
    events: int = 100
    gap_ms: float = 0.0
    first_ms: float = 0.0
    burst: int = 1
    fresh: bool = False
    yields: bool = False
    unit: Literal["request", "event"] = "request"
    compare: Literal["ratio", "added"] = "ratio"
    short: dict[str, Any] = field(default_factory=dict)

    @property
    def primary(self) -> str:
        """The figure that is plotted and compared."""
        return self.columns[0]

    def heading(self, column: str) -> str:
        """A column's heading."""
        return COLUMNS[column][0].format(unit=self.unit)

    def shortened(self) -> Scenario:
        """The scenario as the short form plays it."""
        return replace(self, **self.short)

    def stream_events(self, window: float) -> int:
        """Content events to ask of each stream so that it outlasts `window` seconds, where that is meant."""
        if self.events or not self.gap_ms:
            return self.events or 100
        return int((self.warm + self.ramp + window + 10) * 1000 / self.gap_ms)


def _scenario(name: str, table: dict[str, Any]) -> Scenario:
    known = {entry.name for entry in fields(Scenario)} - {"name"}
    unknown = sorted((table.keys() | table.get("short", {}).keys()) - known) + [
        column for column in table["columns"] if column not in COLUMNS
    ]
    if unknown:
        raise ValueError(f"scenario {name}: unknown {', '.join(unknown)}")
    return Scenario(name=name, **{**table, "columns": tuple(table["columns"])})


def load_scenarios(path: Path = _FILE) -> dict[str, Scenario]:
    """All scenarios by name, in the order of the file. Raises ValueError for a field or column nobody knows."""
    with path.open("rb") as file:
        return {name: _scenario(name, table) for name, table in tomllib.load(file).items()}
