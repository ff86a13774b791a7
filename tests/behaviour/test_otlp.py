"""Traces and metrics as a real collector gets them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.trace import Sampler, Span
from tests.fakes.collector import Collector, attributes
from tests.fakes.gateway import OPENAI_SLUG, Gateway, Launch, Upstream, standard
from tests.fakes.provider import HELLO

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
SERVER, CLIENT = 2, 3
ERROR = 2

RESCUE = {
    "strategy": {"mode": "fallback", "on_status_codes": [429]},
    "targets": [
        {"virtual_key": "openai-limited", "retry": {"attempts": 1, "use_retry_after_header": True}},
        {"virtual_key": OPENAI_SLUG},
    ],
}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


def traced(launch: Launch, upstream: Upstream, collector: Collector, **otlp: Any) -> Gateway:
    settings = {"endpoint": collector.url, "headers": {"x-collector": "canary-of-the-collector"}, "interval": "200ms"}
    return launch(standard(upstream.url) | {"telemetry": {"otlp": settings | otlp}})


def chat(gateway: Gateway, *, stream: bool = False, **headers: str) -> Any:
    body: dict[str, Any] = {"model": "gpt-4o", "messages": HELLO}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    config = {"x-portkey-config": json.dumps(RESCUE), "x-portkey-api-key": gateway.api_key}
    return gateway.post("/v1/chat/completions", body, headers=config | headers)


def test_a_fallback_after_a_retry_is_a_trace_with_its_attempts(
    launch: Launch, upstream: Upstream, collector: Collector
) -> None:
    gateway = traced(launch, upstream, collector)
    answer = chat(gateway, stream=True, traceparent=f"00-{TRACE}-{PARENT}-01", tracestate="vendor=opaque")
    assert answer.status_code == 200
    spans = collector.until(lambda: len(collector.spans) >= 4 and collector.spans)
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    assert {span.trace_state for span in spans} == {"vendor=opaque"}
    (server,) = [span for span in spans if span.kind == SERVER]
    tries = sorted((span for span in spans if span.kind == CLIENT), key=lambda span: span.start_time_unix_nano)
    assert server.parent_span_id.hex() == PARENT
    assert {span.parent_span_id for span in tries} == {server.span_id}
    told = [attributes(span) for span in tries]
    assert [(each["loopway.reason"], each["http.response.status_code"]) for each in told] == [
        ("first", 429), ("retry", 429), ("fallback", 200),
    ]  # fmt: skip
    assert [span.status.code for span in tries] == [ERROR, ERROR, 0]
    assert [each.get("error.type") for each in told] == ["rate_limited", "rate_limited", None]
    assert told[2]["loopway.target"] == OPENAI_SLUG
    for earlier, later in itertools.pairwise(tries):
        assert server.start_time_unix_nano <= earlier.start_time_unix_nano
        assert earlier.start_time_unix_nano <= earlier.end_time_unix_nano <= later.start_time_unix_nano
    assert tries[2].end_time_unix_nano <= server.end_time_unix_nano
    about = attributes(server)
    assert server.name == "chat gpt-4o"
    assert about["gen_ai.operation.name"] == "chat"
    assert about["gen_ai.provider.name"] == "openai"
    assert about["gen_ai.usage.output_tokens"] > 0
    assert about["gen_ai.response.time_to_first_chunk"] > 0
    assert about["loopway.attempts"] == 3
    assert collector.resources[0]["service.name"] == "loopway"
    # Each attempt told its provider which span is its own.
    sent = [record.header("traceparent") for record in upstream.requests()]
    assert sent == [f"00-{TRACE}-{span.span_id.hex()}-01" for span in tries]
    assert {record.header("tracestate") for record in upstream.requests()} == {"vendor=opaque"}
    assert collector.headers[0]["x-collector"] == "canary-of-the-collector"
    assert "canary-of-the-collector" not in gateway.log()


def test_a_trace_that_begins_here_has_the_id_that_the_answer_tells(
    launch: Launch, upstream: Upstream, collector: Collector
) -> None:
    gateway = traced(launch, upstream, collector)
    answer = chat(gateway)
    spans = collector.until(lambda: len(collector.spans) == 4 and collector.spans)
    assert {span.trace_id.hex() for span in spans} == {answer.headers["x-portkey-trace-id"]}
    (server,) = [span for span in spans if span.kind == SERVER]
    assert server.parent_span_id == b""


def test_metrics_have_the_names_of_the_conventions(launch: Launch, upstream: Upstream, collector: Collector) -> None:
    gateway = traced(launch, upstream, collector, traces=False)
    chat(gateway, stream=True)

    def seen() -> dict[str, Any]:
        return {metric.name: metric for metric in collector.metrics if metric.histogram.data_points}

    wanted = {"gen_ai.server.request.duration", "gen_ai.client.operation.duration", "gen_ai.client.token.usage"}
    collector.until(lambda: wanted | {"gen_ai.server.time_to_first_token"} <= seen().keys())
    points = seen()["gen_ai.client.token.usage"].histogram.data_points
    assert {attributes(point)["gen_ai.token.type"] for point in points} == {"input", "output"}
    assert list(points[0].explicit_bounds)[:3] == [1, 4, 16]
    tries = seen()["gen_ai.client.operation.duration"].histogram.data_points
    assert {attributes(point).get("error.type"): point.count for point in tries} == {"rate_limited": 2, None: 1}
    assert not collector.spans
    assert upstream.last.header("traceparent") is None


def test_a_collector_that_refuses_harms_nobody_and_is_told_of_once(
    launch: Launch, upstream: Upstream, collector: Collector
) -> None:
    collector.refuse = True
    gateway = traced(launch, upstream, collector, metrics=False)
    for _ in range(3):
        assert chat(gateway).status_code == 200
    gateway.until(lambda: "traces are lost" in gateway.log(), "it says so")
    assert gateway.log().count("traces are lost") == 1


def test_without_otlp_nothing_of_it_is_loaded_and_no_provider_hears_of_traces(
    gateway: Gateway, upstream: Upstream
) -> None:
    assert chat(gateway, traceparent=f"00-{TRACE}-{PARENT}-01").status_code == 200
    assert upstream.last.header("traceparent") is None
    (worker,) = gateway.workers()
    with open(f"/proc/{worker}/maps") as maps:
        assert "opentelemetry" not in maps.read()


# Contexts


HEADER = f"00-{TRACE}-{PARENT}-01".encode()


@pytest.mark.parametrize(
    "bad",
    [
        b"", b"00", HEADER[:-1], HEADER.upper(), b"ff" + HEADER[2:], HEADER.replace(TRACE.encode(), b"0" * 32),
        HEADER.replace(PARENT.encode(), b"0" * 16), HEADER + b"0", HEADER.replace(b"-", b"_"), b"x" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_context_begins_a_trace(bad: bytes) -> None:
    span = Sampler(1.0).begin({b"traceparent": bad, b"tracestate": b"a=b"}, "00" * 15 + "07")
    assert (span.trace, span.parent, span.sampled, span.state) == (7, 0, True, b"")


def test_sampling_follows_the_caller_and_else_its_share() -> None:
    never, always = Sampler(0.0), Sampler(1.0)
    assert never.begin({b"traceparent": HEADER}, "1").sampled
    assert not always.begin({b"traceparent": HEADER[:-1] + b"0"}, "1").sampled
    assert not any(never.begin({}, "1").sampled for _ in range(100))
    assert 300 < sum(Sampler(0.5).begin({}, "1").sampled for _ in range(1000)) < 700


def test_every_attempt_has_a_span_of_its_own() -> None:
    span = Span(int(TRACE, 16), int(PARENT, 16), 0, True)
    ids = {span.of_attempt(number) for number in range(100)} | {span.id}
    assert len(ids) == 101
    assert all(0 < number < 2**64 for number in ids)
    assert span.lines(0) == b"traceparent: 00-%b-%016x-01\r\n" % (TRACE.encode(), span.of_attempt(0))
