"""The counters of a worker and their sum over all workers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters.errors import Kind
from adapters.providers import PROVIDERS
from adapters.types import Dialect, Usage
from proxy import metrics
from proxy.exchange import GAPS, Attempt, Exchange, Gaps
from proxy.metrics import FAMILIES, MAX_SERIES, Metrics, merged, publish, retire, text
from proxy.usage import Settled, settled
from tests.behaviour.test_ledger import parse, total


def exchange(status: int = 200, **fields: Any) -> Exchange:
    x = Exchange(None, None, "POST", "/v1/chat/completions", "", {}, (), "r1", "r1", 100.0)  # type: ignore[arg-type]
    x.status, x.dialect = status, Dialect.OPENAI_CHAT
    for name, value in fields.items():
        setattr(x, name, value)
    return x


def page(counted: Metrics, directory: Path) -> dict[Any, float]:
    return parse(merged(counted.samples(), directory, "metrics-own.json"))


def test_a_page_with_nothing_on_it_is_a_page(tmp_path: Path) -> None:
    found = page(Metrics(), tmp_path)
    assert total(found, "loopway_request_seconds_count") == 0
    assert total(found, "loopway_in_flight") == 0


@pytest.mark.parametrize(("seconds", "edge"), [(0.001, "0.005"), (0.005, "0.005"), (0.02, "0.025"), (299.0, "300.0")])
def test_a_duration_falls_into_its_bucket_and_all_larger_ones(tmp_path: Path, seconds: float, edge: str) -> None:
    counted = Metrics()
    counted.count([settled(exchange(), 100.0 + seconds)])
    found = page(counted, tmp_path)
    buckets = {
        dict(labels)["le"]: value for (name, labels), value in found.items() if name == "loopway_request_seconds_bucket"
    }
    for limit, value in buckets.items():
        assert value == (limit == "+Inf" or float(limit) >= float(edge)), limit
    assert total(found, "loopway_request_seconds_sum") == pytest.approx(seconds, rel=1e-6)


def test_the_longest_are_counted_too(tmp_path: Path) -> None:
    counted = Metrics()
    counted.count([settled(exchange(), 100_000.0)])
    found = page(counted, tmp_path)
    assert total(found, "loopway_request_seconds_bucket", le="300.0") == 0
    assert total(found, "loopway_request_seconds_bucket", le="+Inf") == 1


def test_tokens_and_attempts_are_added_up(tmp_path: Path) -> None:
    counted = Metrics()
    attempts = [
        Attempt("a", "config", 500, Kind.BAD_UPSTREAM, 0.1, provider="anthropic"),
        Attempt("a", "config", 200, None, 0.1, "retry", 1.0, "anthropic"),
        Attempt("b", "config", 200, None, 0.1, "fallback", 0.0, "openai"),
    ]
    for _ in range(3):
        counted.count([settled(exchange(usage=Usage(10, 5), attempts=attempts), 101.0)])
    found = page(counted, tmp_path)
    assert total(found, "loopway_tokens_total", direction="input") == 30
    assert total(found, "loopway_tokens_total", direction="output") == 15
    assert total(found, "loopway_attempts_total", outcome="ok") == 6
    assert total(found, "loopway_attempts_total", outcome="bad_upstream", provider="anthropic") == 3
    assert total(found, "loopway_further_attempts_total", reason="retry", provider="anthropic") == 3
    assert total(found, "loopway_further_attempts_total", reason="fallback", provider="openai") == 3


def test_the_number_of_series_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_MAX_STATUSES", 10)
    counted = Metrics()
    for status in range(200, 300):
        counted.count([settled(exchange(status), 101.0)])
    found = page(counted, tmp_path)
    series = [labels for (name, labels) in found if name == "loopway_requests_total"]
    assert len(series) == 10
    assert total(found, "loopway_folded_total") == 90
    assert total(found, "loopway_request_seconds_count") == 100


def test_the_sum_is_over_all_workers_and_its_own_file_counts_once(tmp_path: Path) -> None:
    counted = Metrics()
    counted.count([settled(exchange(), 101.0)])
    other = json.dumps(counted.samples())
    for name in ("metrics-1.json", "metrics-2.json", "metrics-own.json"):
        (tmp_path / name).write_text(other)
    (tmp_path / "metrics-3.json").write_text('{"loopway_requ')
    (tmp_path / "metrics-4.json").write_text("")
    found = page(counted, tmp_path)
    assert total(found, "loopway_requests_total") == 3
    assert total(found, "loopway_request_seconds_bucket", le="+Inf") == 3


def test_what_a_worker_counted_stays_when_it_leaves(tmp_path: Path) -> None:
    counted = Metrics()
    for number in (1, 2, 3):
        counted.count([settled(exchange(), 101.0)])
        counted.in_flight = 5
        path = tmp_path / f"metrics-{number}.json"
        publish(path, counted.samples())
        retire(path, counted.samples())
    assert [path.name for path in tmp_path.glob("metrics-*.json")] == ["metrics-left.json"]
    found = page(Metrics(), tmp_path)
    assert total(found, "loopway_requests_total") == 1 + 2 + 3
    assert total(found, "loopway_request_seconds_bucket", le="+Inf") == 1 + 2 + 3
    assert total(found, "loopway_in_flight") == 0


def test_what_a_killed_worker_had_in_flight_is_not_any_more(tmp_path: Path) -> None:
    counted = Metrics()
    counted.count([settled(exchange(), 101.0)])
    counted.in_flight = 5
    publish(tmp_path / f"metrics-{os.getpid()}.json", counted.samples())
    gone = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(gone, 0)
    publish(tmp_path / f"metrics-{gone}.json", counted.samples())
    found = page(Metrics(), tmp_path)
    assert total(found, "loopway_requests_total") == 2
    assert total(found, "loopway_in_flight") == 5


def streamed(**fields: Any) -> Settled:
    """A stream that was answered at the first try: a second to its first event, two in all."""
    once = [Attempt("a", "config", 200, None, 0.9, provider="openai", began=100.01)]
    fields = {"streamed": True, "first_byte": 101.0, "read": 100.001, "upstream": 0.99, "attempts": once} | fields
    return settled(exchange(**fields), 102.0)


def test_what_the_gateway_took_itself_is_what_nobody_was_waited_for(tmp_path: Path) -> None:
    counted = Metrics()
    counted.count([streamed(), streamed(upstream=0.5, queued=0.49)])
    found = page(counted, tmp_path)
    assert total(found, "loopway_overhead_seconds_sum") == pytest.approx(0.018)
    assert total(found, "loopway_queue_seconds_count") == 1
    assert total(found, "loopway_queue_seconds_sum") == pytest.approx(0.49)


def test_where_waiting_cannot_be_told_from_working_no_overhead_is_claimed(tmp_path: Path) -> None:
    counted = Metrics()
    twice = [Attempt("a", "config", 500, Kind.BAD_UPSTREAM, 0.1), Attempt("a", "config", 200, None, 0.1)]
    failed = [Attempt("a", "config", 502, Kind.UNREACHABLE, 0.1)]
    counted.count([streamed(attempts=each) for each in ([], twice, failed)] + [streamed(read=0.0)])
    assert total(page(counted, tmp_path), "loopway_overhead_seconds_count") == 0


def test_the_gap_between_tokens_is_the_mean_of_a_stream(tmp_path: Path) -> None:
    counted = Metrics()
    counted.count([streamed(usage=Usage(10, 51)), streamed(usage=Usage(10, 1)), streamed()])
    found = page(counted, tmp_path)
    assert total(found, "loopway_time_per_output_token_seconds_count") == 1
    assert total(found, "loopway_time_per_output_token_seconds_sum") == pytest.approx(1 / 50)
    assert total(found, "loopway_time_to_first_token_seconds_sum") == pytest.approx(3)


def test_ten_thousand_keys_and_models_make_no_more_series_than_one(tmp_path: Path) -> None:
    def kept(number: int) -> Settled:
        provider = names[number % len(names)]
        tries = [Attempt(f"v-{number}", "config", 200, None, 0.1, provider=provider, model=f"m-{number}")]
        record = streamed(status=100 + number % 900, usage=Usage(1, 3), model=f"m-{number}", attempts=tries)
        more = {"provider": provider, "target": f"v-{number}", "key": f"k-{number}"}
        dialect = tuple(Dialect)[number % len(Dialect)].value
        alike = msgspec.structs.replace(record.alike, dialect=dialect, **more)
        return msgspec.structs.replace(record, alike=alike)

    names = sorted(PROVIDERS)
    counted = Metrics()
    counted.count([kept(number) for number in range(10_000)])
    assert len(counted.samples()) < MAX_SERIES
    assert not re.search(r"[kmv]-\d", text(counted.samples()))
    assert total(page(counted, tmp_path), "loopway_request_seconds_count") == 10_000


def test_prometheus_own_tool_finds_nothing_to_complain_about() -> None:
    counted = Metrics()
    counted.count([streamed(usage=Usage(10, 5), cache="HIT"), streamed(status=500)])
    samples = counted.samples() | {
        f'{name}{{kind="a"}}': 1.0 for name, (kind, _) in FAMILIES.items() if kind == "gauge"
    }
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing; tests/services.sh installs it"
    ran = subprocess.run([promtool, "check", "metrics"], input=text(samples).encode(), capture_output=True, check=False)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, b"")


def test_gaps_between_events_are_counted_in_their_buckets_and_the_short_ones_together(tmp_path: Path) -> None:
    counted = Metrics()
    long = [0] * len(GAPS)
    long[0], long[-1] = 2, 1
    counted.count([msgspec.structs.replace(streamed(), gaps=Gaps(10, 70.5, long))])
    found = page(counted, tmp_path)
    family = "loopway_inter_token_gap_seconds"
    assert (total(found, f"{family}_count"), total(found, f"{family}_sum")) == (10, 70.5)
    buckets = re.findall(rf'{family}_bucket{{.*le="(.*?)"}} (\d+)', text(counted.samples()))
    assert [int(count) for edge, count in buckets] == [7, *[9] * (len(GAPS) - 1), 10]
    assert [edge for edge, _ in buckets] == [*map(str, GAPS), "+Inf"]
