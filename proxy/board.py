"""What is known of targets, shown to administrators and to the other workers of the host.

Each worker writes its open circuits, and those that closed a moment ago, to `health-PID.json` in the run directory
twice a second, and reads what the others wrote. All workers of a host share the monotonic clock, so times mean the same
to all. Who learns of an open circuit from another opens its own, for two seconds longer: so the one that saw the
failures probes first, and the others hear how that went before they would probe themselves.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from proxy.health import Circuit, Health, Healths, Speed

_LATER = 2.0  # seconds that a circuit heard of stays open beyond its own time
_NEWS = 5.0  # seconds that a circuit which closed is told


class News(msgspec.Struct, frozen=True, gc=False):
    """One circuit of one worker. Times are seconds of the monotonic clock; `until` 0: it has closed."""

    identity: str
    circuit: str
    opened_at: float
    until: float
    closed_at: float
    times: int


_decode = msgspec.json.Decoder(list[News]).decode


def shown(healths: Healths, now: float) -> list[dict[str, Any]]:
    """Every target whose health is watched, as plain data."""
    return [_entry(health, now) for health in healths]


def _entry(health: Health, now: float) -> dict[str, Any]:
    return {
        "target": health.name,
        "in_flight": health.in_flight,
        "left_alone_for": round(max(0.0, health.aside - now), 3),
        "retries_refused": health.budget.refused,
        "circuits": [
            {
                "model": model or None,
                "config": msgspec.to_builtins(rules),
                "state": circuit.state(now),
                "failures": circuit.failures,
                "successes": circuit.successes,
                "ejections": circuit.times,
                "open_for": round(max(0.0, circuit.until - now), 3),
            }
            for (model, rules), circuit in health.circuits.items()
        ],
        "latency": [
            {"model": model or None, "streams": _speed(track.streamed, now), "whole": _speed(track.whole, now)}
            for model, track in health.tracks.items()
        ],
    }


def _speed(speed: Speed, now: float) -> dict[str, float | None]:
    return {"seconds": round(speed.estimate(now), 4), "p50": speed.quantile(0.5), "p95": speed.quantile(0.95)}


def gauges(healths: Healths, now: float) -> dict[str, float]:
    """The same in numbers, as samples by name and labels."""
    states = {"closed": 0, "half_open": 0, "open": 0}
    refused = 0
    for health in healths:
        refused += health.budget.refused
        for circuit in health.circuits.values():
            states[circuit.state(now)] += 1
    out: dict[str, float] = {f'loopway_breakers{{state="{state}"}}': count for state, count in states.items()}
    out["loopway_retries_refused_total"] = refused
    return out


class Board:
    """Where the workers of a host tell each other of circuits. One per worker."""

    def __init__(self, healths: Healths, directory: Path) -> None:
        self._healths = healths
        self._directory = directory
        self._own = directory / f"health-{os.getpid()}.json"
        self._written = False
        self._read: dict[str, tuple[int, int]] = {}

    def exchange(self, now: float) -> None:
        """Writes what this worker knows, if it is anything, and takes over what others know. Raises OSError."""
        told = [news for news in self._news() if news.until > now or now - news.closed_at < _NEWS]
        if told or self._written:
            fresh = self._own.with_suffix(".new")
            fresh.write_bytes(msgspec.json.encode(told))
            fresh.replace(self._own)
            self._written = bool(told)
        for path in self._directory.glob("health-*.json"):
            if path != self._own:
                self._hear(path, now)

    def close(self) -> None:
        """Takes this worker's word back."""
        self._own.unlink(missing_ok=True)

    def _news(self) -> list[News]:
        return [
            News(identity, _label(key), circuit.opened_at, circuit.until, circuit.closed_at, circuit.times)
            for identity, health in self._healths.items()
            for key, circuit in health.circuits.items()
            if circuit.until or circuit.closed_at
        ]

    def _hear(self, path: Path, now: float) -> None:
        try:
            found = path.stat()
            stamp = (found.st_mtime_ns, found.st_ino)
            if self._read.get(path.name) == stamp:
                return
            told = _decode(path.read_bytes())
        except (OSError, msgspec.MsgspecError):
            return
        self._read[path.name] = stamp
        for news in told:
            health = self._healths.find(news.identity)
            for key, circuit in () if health is None else health.circuits.items():
                if _label(key) == news.circuit:
                    _adopt(circuit, news, now)


def _label(key: tuple[str, Any]) -> str:
    return msgspec.json.encode(key).decode()


def _adopt(circuit: Circuit, news: News, now: float) -> None:
    if news.until > now:
        circuit.hear_open(news.opened_at, news.until + _LATER, news.times)
    elif not news.until:
        circuit.hear_closed(news.closed_at)
