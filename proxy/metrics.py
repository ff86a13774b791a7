"""Counters of one worker: plain integers, turned into Prometheus text only when somebody asks."""

from __future__ import annotations

import fcntl
import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from proxy.exchange import Exchange

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_MAX_SERIES = 2000

Labels = tuple[str, str, int]


class Metrics:
    """Requests by provider, dialect and status; their durations, tokens and attempts."""

    def __init__(self) -> None:
        self.requests: defaultdict[Labels, int] = defaultdict(int)
        self.buckets = [0] * (len(_BUCKETS) + 1)
        self.seconds = 0.0
        self.tokens: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.attempts: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.in_flight = 0
        self.folded = 0

    def settle(self, x: Exchange, ended: float) -> None:
        """Counts one finished exchange."""
        provider = "none" if x.leaf is None else x.leaf.target.provider.name
        # Labels have few values each: providers and dialects are tables, statuses three digits. The bound is for
        # providers that answer with every status there is.
        if len(self.requests) < _MAX_SERIES:
            self.requests[(provider, x.dialect, x.status)] += 1
        else:
            self.folded += 1
        took = ended - x.started
        self.seconds += took
        self.buckets[bisect_left(_BUCKETS, took)] += 1
        usage = x.usage
        if usage is not None:
            self.tokens[(provider, "input")] += usage.input
            self.tokens[(provider, "output")] += usage.output
        for attempt in x.attempts:
            self.attempts[(provider, attempt.kind or "ok")] += 1

    def samples(self) -> dict[str, float]:
        """Every sample as `name{labels}` → value."""
        out: dict[str, float] = {}
        for (provider, dialect, status), count in self.requests.items():
            out[f'loopway_requests_total{{provider="{provider}",dialect="{dialect}",status="{status}"}}'] = count
        total = 0
        for edge, count in zip((*map(str, _BUCKETS), "+Inf"), self.buckets, strict=True):
            total += count
            out[f'loopway_request_seconds_bucket{{le="{edge}"}}'] = total
        out["loopway_request_seconds_sum"] = self.seconds
        out["loopway_request_seconds_count"] = total
        for (provider, direction), tokens in self.tokens.items():
            out[f'loopway_tokens_total{{provider="{provider}",direction="{direction}"}}'] = tokens
        for (provider, outcome), count in self.attempts.items():
            out[f'loopway_attempts_total{{provider="{provider}",outcome="{outcome}"}}'] = count
        out["loopway_in_flight"] = self.in_flight
        out["loopway_folded_total"] = self.folded
        return out


def publish(path: Path, samples: dict[str, float]) -> None:
    """Shows a worker's samples to the others; whoever reads sees the old ones or the new ones, whole. Raises OSError.

    `path` is `metrics-PID.json` in a directory that the workers share.
    """
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(samples))
    fresh.replace(path)


def retire(path: Path, samples: dict[str, float]) -> None:
    """Leaves a worker's counters with those of all that left before, and removes its file: what a reload replaces was
    counted all the same, and a counter that falls would be taken for one that began anew. Raises OSError."""
    left = path.with_name(_LEFT)
    with _locked(path.parent, fcntl.LOCK_EX):
        total = _read(left)
        _add(total, samples, gauges=False)
        publish(left, total)
        path.unlink(missing_ok=True)


def merged(own: dict[str, float], directory: Path, name: str) -> str:
    """The Prometheus text of all workers: this one's samples now, the others' from the files they keep in `directory`
    under names like `name`."""
    total = dict(own)
    with _locked(directory, fcntl.LOCK_SH):
        for path in directory.glob("metrics-*.json"):
            if path.name != name:
                _add(total, _read(path), gauges=_alive(path))
    lines: list[str] = []
    for metric, (kind, meaning) in _METRICS.items():
        lines += [f"# HELP {metric} {meaning}", f"# TYPE {metric} {kind}"]
        lines += [
            f"{sample} {value:.15g}"
            for sample, value in total.items()
            if sample.partition("{")[0] in _names(metric, kind)
        ]
    return "\n".join(lines) + "\n"


@contextmanager
def _locked(directory: Path, how: int) -> Iterator[None]:
    with (directory / "metrics.lock").open("wb") as lock:
        fcntl.flock(lock, how)
        yield


def _read(path: Path) -> dict[str, float]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, float])
    except (OSError, msgspec.MsgspecError):
        return {}


def _add(total: dict[str, float], samples: dict[str, float], *, gauges: bool) -> None:
    for sample, value in samples.items():
        if gauges or _METRICS.get(sample, _COUNTED)[0] != "gauge":
            total[sample] = total.get(sample, 0) + value


def _alive(path: Path) -> bool:
    """Whether the worker of this file still runs: what one that was killed had in flight, is not any more."""
    pid = path.stem.rpartition("-")[2]
    if not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


_LEFT = "metrics-left.json"
_COUNTED = ("counter", "")


def _names(metric: str, kind: str) -> tuple[str, ...]:
    return (f"{metric}_bucket", f"{metric}_sum", f"{metric}_count") if kind == "histogram" else (metric,)


_METRICS: dict[str, tuple[str, str]] = {
    "loopway_requests_total": ("counter", "Requests answered."),
    "loopway_request_seconds": ("histogram", "Seconds from a request's head to its answer's last byte."),
    "loopway_tokens_total": ("counter", "Tokens as providers counted them."),
    "loopway_attempts_total": ("counter", "Tries at targets."),
    "loopway_in_flight": ("gauge", "Requests in flight."),
    "loopway_folded_total": ("counter", "Requests not told apart because there were too many series."),
}
