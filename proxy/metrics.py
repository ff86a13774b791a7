"""What a worker counts, and the Prometheus text of all workers together.

Nothing is counted while a request runs but what is in flight: a settled record says the rest, and records are counted
in batches, twice a second and before a scrape. Counters are plain integers in dictionaries; text is made only when
somebody asks. The text format is written by hand because it is ten lines, and because Prometheus' own client would
bring locks, objects for each series and files of its own for several processes.

Labels have few values each: providers, dialects, outcomes and directions are tables of this gateway, and statuses are
three digits with a bound for providers that answer with every one there is. Keys, models and users are never labels:
the ledger tells about those, to those who may ask.
"""

from __future__ import annotations

import fcntl
import os
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from proxy.exchange import GAPS
from proxy.usage import Alike, Settled
from proxy.usage_columns import OWN

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_FINE = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_PER_TOKEN = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0)
_MAX_STATUSES = 1000
_COST, _INPUT, _OUTPUT, _CACHED, _WRITTEN, _REASONING = (
    OWN.index(name)
    for name in ("cost", *(f"{kind}_tokens" for kind in ("input", "output", "cached", "cache_write", "reasoning")))
)
SHED = ("in_flight", "lag", "memory")
"""Of what there was too much when a request was refused for it."""
MAX_SERIES = 8000
"""More than all series of a worker can ever be."""


class Histogram:
    """Observations in buckets; their sum in seconds."""

    __slots__ = ("counts", "edges", "sum")

    def __init__(self, edges: tuple[float, ...]) -> None:
        self.edges = edges
        self.counts = [0] * (len(edges) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Counts one observation."""
        self.sum += value
        self.counts[bisect_left(self.edges, value)] += 1

    def add_all(self, values: list[float]) -> None:
        """Counts many, in the order of their size: most lie in the same few buckets."""
        if not values:
            return
        self.sum += sum(values)
        counts, edges = self.counts, self.edges
        first, last = bisect_left(edges, min(values)), bisect_left(edges, max(values))
        if first == last:
            counts[first] += len(values)
            return
        values, below = sorted(values), 0
        for number in range(first, last):
            upto = bisect_right(values, edges[number], below)
            counts[number] += upto - below
            below = upto
        counts[last] += len(values) - below

    def add_many(self, counts: Iterable[int], total: float) -> None:
        """Counts observations that are in buckets already."""
        self.sum += total
        for number, count in enumerate(counts):
            self.counts[number] += count

    def samples(self, name: str, labels: str = "") -> Iterator[tuple[str, float]]:
        """`name_bucket{labels,le="…"}` and so on. `labels` is empty or like `a="b",`."""
        total = 0
        for edge, count in zip((*map(str, self.edges), "+Inf"), self.counts, strict=True):
            total += count
            yield f'{name}_bucket{{{labels}le="{edge}"}}', total
        tail = f"{{{labels[:-1]}}}" if labels else ""
        yield f"{name}_sum{tail}", self.sum
        yield f"{name}_count{tail}", total


class Cell:
    """What is counted of one provider's requests."""

    __slots__ = (
        "cache_write",
        "cached",
        "cost",
        "duration",
        "first",
        "gaps",
        "input",
        "output",
        "pace",
        "reasoning",
        "unpriced",
    )

    def __init__(self) -> None:
        self.duration = Histogram(_SECONDS)
        self.first = Histogram(_SECONDS)
        self.pace = Histogram(_PER_TOKEN)
        self.gaps = Histogram(GAPS)
        self.input = self.output = self.cached = self.cache_write = self.reasoning = 0
        self.cost = 0.0
        self.unpriced = 0


class Metrics:
    """One worker's counters. `in_flight` is kept by the requests themselves."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.folded = 0
        self.requests: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        self.cells: defaultdict[str, Cell] = defaultdict(Cell)
        self.attempts: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.reasons: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.cache: defaultdict[str, int] = defaultdict(int)
        self.shed = dict.fromkeys(SHED, 0)
        self.overhead = Histogram(_FINE)
        self.queued = Histogram(_SECONDS)
        self.lag = Histogram(_FINE)

    def count(self, batch: Iterable[Settled]) -> None:
        """Counts finished requests: those that are alike together, which costs half as much as one by one."""
        kinds: dict[Alike, list[Settled]] = {}
        for kept in batch:
            alike = kept.alike
            if alike in kinds:
                kinds[alike].append(kept)
            else:
                kinds[alike] = [kept]
        for alike, group in kinds.items():
            self._count(alike, group)

    def turned_away(self, dialect: str, status: int, count: int) -> None:
        """Counts requests that were refused at once, and of which there is nothing else."""
        labels = ("none", dialect, status)
        if labels in self.requests or len(self.requests) < _MAX_STATUSES:
            self.requests[labels] += count
        else:
            self.folded += count
        self.cells["none"].duration.counts[0] += count

    def _count(self, alike: Alike, group: list[Settled]) -> None:
        provider = alike.provider or "none"
        labels = (provider, alike.dialect, alike.status)
        if labels in self.requests or len(self.requests) < _MAX_STATUSES:
            self.requests[labels] += len(group)
        else:
            self.folded += len(group)
        cell = self.cells[provider]
        cell.duration.add_all([kept.duration for kept in group])
        self.overhead.add_all([kept.overhead for kept in group if kept.overhead is not None])
        columns = list(zip(*[kept.row for kept in group], strict=True))
        cell.cost += sum(filter(None, columns[_COST]))
        unpriced = columns[_COST].count(None)
        if unpriced and None in columns[_INPUT]:  # a request that used nothing has no cost either
            costs = zip(columns[_COST], columns[_INPUT], strict=True)
            unpriced = sum([cost is None and used is not None for cost, used in costs])
        cell.unpriced += unpriced
        cell.input += sum(filter(None, columns[_INPUT]))
        cell.output += sum(filter(None, columns[_OUTPUT]))
        cell.cached += sum(filter(None, columns[_CACHED]))
        cell.cache_write += sum(filter(None, columns[_WRITTEN]))
        cell.reasoning += sum(filter(None, columns[_REASONING]))
        for waited in [kept.queued for kept in group if kept.queued]:
            self.queued.add(waited)
        if alike.cache is not None:
            self.cache[alike.cache] += len(group)
        if alike.once:
            self.attempts[(provider, "ok")] += len(group)
        elif group[0].tries:
            for kept in group:
                self._count_tries(cell, kept)
        if alike.streamed:
            for kept in group:
                _count_stream(cell, kept)

    def _count_tries(self, cell: Cell, kept: Settled) -> None:
        cell.cost += kept.wasted or 0.0
        for attempt in kept.tries:
            self.attempts[(attempt.provider, attempt.kind or "ok")] += 1
            if attempt.reason != "first":
                self.reasons[(attempt.provider, attempt.reason)] += 1

    @property
    def keys_refused(self) -> int:
        """Requests for inference that came without a valid key."""
        return sum(count for (who, _, status), count in self.requests.items() if status == 401 and who == "none")

    def samples(self) -> dict[str, float]:
        """Every sample as `name{labels}` → value."""
        out: dict[str, float] = {}
        for (provider, dialect, status), count in self.requests.items():
            out[f'loopway_requests_total{{provider="{provider}",dialect="{dialect}",status="{status}"}}'] = count
        for provider, cell in self.cells.items():
            label = f'provider="{provider}",'
            out.update(cell.duration.samples("loopway_request_seconds", label))
            out.update(cell.first.samples("loopway_time_to_first_token_seconds", label))
            out.update(cell.pace.samples("loopway_time_per_output_token_seconds", label))
            out.update(cell.gaps.samples("loopway_inter_token_gap_seconds", label))
            for direction in ("input", "output", "cached", "cache_write", "reasoning"):
                out[f'loopway_tokens_total{{{label}direction="{direction}"}}'] = getattr(cell, direction)
            out[f'loopway_cost_usd_total{{provider="{provider}"}}'] = cell.cost
            out[f'loopway_unpriced_requests_total{{provider="{provider}"}}'] = cell.unpriced
        for (provider, outcome), count in self.attempts.items():
            out[f'loopway_attempts_total{{provider="{provider}",outcome="{outcome}"}}'] = count
        for (provider, reason), count in self.reasons.items():
            out[f'loopway_further_attempts_total{{provider="{provider}",reason="{reason}"}}'] = count
        for result, count in self.cache.items():
            out[f'loopway_cache_requests_total{{result="{result.lower()}"}}'] = count
        for why, count in self.shed.items():
            out[f'loopway_shed_total{{reason="{why}"}}'] = count
        out.update(self.overhead.samples("loopway_overhead_seconds"))
        out.update(self.queued.samples("loopway_queue_seconds"))
        out.update(self.lag.samples("loopway_event_loop_lag_seconds"))
        out["loopway_in_flight"] = self.in_flight
        out["loopway_folded_total"] = self.folded
        out["loopway_worker_starts_total"] = (
            1  # this one's; those of workers that left are kept like their other counts
        )
        return out


def _count_stream(cell: Cell, kept: Settled) -> None:
    ttfb, usage, gaps = kept.ttfb, kept.usage, kept.gaps
    if ttfb is not None:
        cell.first.add(ttfb)
        if usage is not None and usage.output > 1:
            cell.pace.add((kept.duration - ttfb) / (usage.output - 1))
    if gaps is not None:
        cell.gaps.add_many((gaps.count - sum(gaps.long), *gaps.long), gaps.sum)


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
    return text(total)


def text(samples: dict[str, float]) -> str:
    """The Prometheus text of samples, by family, each with its meaning."""
    families: dict[str, list[str]] = {name: [] for name in FAMILIES}
    for sample, value in samples.items():
        lines = families.get(_family(sample.partition("{")[0]))
        if lines is not None:
            lines.append(f"{sample} {value:.15g}")
    out: list[str] = []
    for name, lines in families.items():
        if lines:
            kind, meaning = FAMILIES[name]
            out += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", *lines]
    return "\n".join(out) + "\n"


def _family(name: str) -> str:
    """The family of a sample: a histogram's samples have endings of their own."""
    if name in FAMILIES:
        return name
    return name.rpartition("_")[0]


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
        if gauges or FAMILIES.get(sample.partition("{")[0], _COUNTED)[0] != "gauge":
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

FAMILIES: dict[str, tuple[str, str]] = {
    "loopway_requests_total": ("counter", "Requests answered."),
    "loopway_request_seconds": ("histogram", "From a request's head to its answer's last byte."),
    "loopway_time_to_first_token_seconds": ("histogram", "From a request's head to its stream's first event."),
    "loopway_time_per_output_token_seconds": ("histogram", "The mean gap between the tokens of a stream."),
    "loopway_inter_token_gap_seconds": ("histogram", "The gaps between the events of streams that came to an end."),
    "loopway_overhead_seconds": ("histogram", "What this gateway added: to the first byte, without waiting."),
    "loopway_queue_seconds": ("histogram", "Waiting for a permit, of requests that had to."),
    "loopway_event_loop_lag_seconds": ("histogram", "How much later than due a timer of the event loop came."),
    "loopway_tokens_total": ("counter", "Tokens as providers counted them; cached ones are among the input."),
    "loopway_cost_usd_total": ("counter", "What the tokens cost by the price table, in US dollars."),
    "loopway_unpriced_requests_total": ("counter", "Requests that used something whose price is not known."),
    "loopway_attempts_total": ("counter", "Tries at targets, by how they ended."),
    "loopway_further_attempts_total": ("counter", "Tries after the first: retry, fallback, hedge, continued."),
    "loopway_retries_refused_total": ("counter", "Retries not made because an upstream's budget was spent."),
    "loopway_cache_requests_total": ("counter", "Requests that asked the cache, by what it said."),
    "loopway_folded_total": ("counter", "Requests not told apart because there were too many statuses."),
    "loopway_keys_refused_total": ("counter", "Requests of any kind without a valid key."),
    "loopway_shed_total": ("counter", "Requests refused (503) because a worker had too much to do, by reason."),
    "loopway_ledger_dropped_total": ("counter", "Usage records lost because too many waited for the store."),
    "loopway_in_flight": ("gauge", "Requests in flight."),
    "loopway_workers": ("gauge", "Worker processes that run."),
    "loopway_worker_starts_total": ("counter", "Worker processes that began to serve since the gateway was started."),
    "loopway_client_connections": ("gauge", "Open connections of clients."),
    "loopway_upstream_connections": ("gauge", "Connections to providers, busy and idle."),
    "loopway_permits_held": ("gauge", "Permits held, by the kind of key that limits."),
    "loopway_queue_length": ("gauge", "Requests that wait for a permit."),
    "loopway_breakers": ("gauge", "Circuit breakers, by state: one for each target and worker."),
    "loopway_limits_apart": ("gauge", "Limiters that count alone in their worker, because there is no room for more."),
    "loopway_cache_bytes": ("gauge", "Memory that cached answers take."),
    "loopway_ledger_waiting": ("gauge", "Usage records that wait for the store in memory."),
    "loopway_ledger_failing": ("gauge", "Workers whose last usage records the store did not take."),
    "loopway_config_rejected": ("gauge", "Workers whose configuration file is bad: the one before holds."),
    "loopway_store_failing": ("gauge", "Workers that the store does not answer."),
    "loopway_redis_down": ("gauge", "Workers that Redis does not answer."),
    "loopway_resident_memory_bytes": ("gauge", "Resident memory of the workers."),
    "loopway_worker_resident_memory_bytes": ("gauge", "Resident memory of each worker, by its process id."),
    "loopway_worker_cpu_seconds": ("gauge", "Processor time that each living worker has used, by its process id."),
    "loopway_data_free_bytes": ("gauge", "What is free on the disk that has the data directory."),
    "loopway_data_size_bytes": ("gauge", "The size of that disk."),
    "loopway_build_info": ("gauge", "Always 1; its labels are the versions that run."),
    "loopway_open_fds": ("gauge", "Open file descriptors of the workers."),
    "loopway_max_fds": ("gauge", "Descriptors that the workers may have open, in all."),
}
"""Every metric there is: kind and meaning. Gauges are those of living workers, added up."""
