"""Traces and metrics as a real collector gets them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.seams import Origin
from proxy.telemetry.witness import asked
from proxy.trace import Sampler, Span
from tests.fakes.collector import Collector, attributes
from tests.fakes.gateway import ANTHROPIC_SLUG, OPENAI_SLUG, Gateway, Launch, Upstream, standard
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


def traced(upstream: Upstream, collector: Collector, **otlp: Any) -> dict[str, Any]:
    settings = {"endpoint": collector.url, "headers": {"x-collector": "canary-of-the-collector"}, "interval": "200ms"}
    return standard(upstream.url) | {"telemetry": {"otlp": settings | otlp}}


Traced = tuple[Gateway, Collector]


@pytest.fixture(scope="module")
def exporting(session_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    with Collector() as collector:
        config = traced(session_upstream, collector, metrics=False)
        with Gateway(tmp_path_factory.mktemp("traced"), config) as gateway:
            yield gateway, collector


@pytest.fixture
def traces(exporting: Traced, upstream: Upstream) -> Traced:
    """A gateway that exports traces alone, and who gets them and has none yet: a test waits for all that it causes."""
    exporting[1].forget()
    return exporting


def chat(gateway: Gateway, *, stream: bool = False, **headers: str) -> Any:
    body: dict[str, Any] = {"model": "gpt-4o", "messages": HELLO}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    config = {"x-portkey-config": json.dumps(RESCUE), "x-portkey-api-key": gateway.api_key}
    return gateway.post("/v1/chat/completions", body, headers=config | headers)


def test_a_fallback_after_a_retry_is_a_trace_with_its_attempts(traces: Traced, upstream: Upstream) -> None:
    gateway, collector = traces
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


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("slug", "model"), [(OPENAI_SLUG, "gpt-4o"), (ANTHROPIC_SLUG, "claude-sonnet-4-5")])
def test_a_span_tells_what_was_asked_of_whom_and_what_came_and_nothing_of_the_prompt(
    traces: Traced, upstream: Upstream, slug: str, model: str, stream: bool
) -> None:
    gateway, collector = traces
    secret = "canary-of-the-prompt"
    body = {
        "model": f"@{slug}/{model}", "messages": [{"role": "user", "content": secret}], "temperature": 0.5,
        "max_tokens": 40, "top_p": 1, "user": secret, "stream": stream,
    }  # fmt: skip
    answer = gateway.post("/v1/chat/completions", body)
    assert answer.status_code == 200, answer.text
    spans = collector.until(lambda: len(collector.spans) == 2 and collector.spans)
    for span in spans:
        told = attributes(span)
        assert told["gen_ai.request.temperature"] == 0.5
        assert told["gen_ai.request.top_p"] == 1.0
        assert told["gen_ai.request.max_tokens"] == 40
        assert told["gen_ai.response.id"] in answer.text
        assert told["gen_ai.response.model"].startswith(model)
        assert [each.string_value for each in told["gen_ai.response.finish_reasons"].values] == ["stop"]
        assert told["http.request.method"] == "POST"
        assert told["http.response.status_code"] == 200
        port = gateway.port if span.kind == SERVER else int(upstream.url.rpartition(":")[2])
        assert (told["server.address"], told["server.port"]) == ("127.0.0.1", port)
        assert secret not in str(span)
    (server,) = [attributes(span) for span in spans if span.kind == SERVER]
    assert server["http.request.body.size"] == int(answer.request.headers["content-length"])


def test_the_attempts_of_a_hedge_are_spans_of_their_own(traces: Traced, upstream: Upstream) -> None:
    gateway, collector = traces
    hedge = {
        "strategy": {"mode": "hedge", "hedge": {"delay": 50}},
        "targets": [
            {"virtual_key": OPENAI_SLUG, "override_params": {"model": "gpt-4o::latency=60000"}},
            {"virtual_key": OPENAI_SLUG},
        ],
    }
    headers = {"x-portkey-config": json.dumps(hedge), "x-portkey-api-key": gateway.api_key}
    answer = gateway.post("/v1/chat/completions", {"model": "gpt-4o", "messages": HELLO}, headers=headers)
    assert answer.status_code == 200, answer.text
    spans = collector.until(lambda: len(collector.spans) == 3 and collector.spans)
    tries = {span.span_id.hex(): attributes(span) for span in spans if span.kind == CLIENT}
    assert len(tries) == 2
    sent = {(record.header("traceparent") or "").split("-")[2] for record in upstream.requests()}
    assert sent == tries.keys(), "each told its provider the id that its span has"
    assert {told.get("error.type"): told["loopway.reason"] for told in tries.values()} == {
        "cancelled": "first", None: "hedge",
    }  # fmt: skip


def test_a_trace_that_begins_here_has_the_id_that_the_answer_tells(traces: Traced) -> None:
    gateway, collector = traces
    answer = chat(gateway)
    spans = collector.until(lambda: len(collector.spans) == 4 and collector.spans)
    assert {span.trace_id.hex() for span in spans} == {answer.headers["x-portkey-trace-id"]}
    (server,) = [span for span in spans if span.kind == SERVER]
    assert server.parent_span_id == b""


def test_metrics_have_the_names_of_the_conventions(launch: Launch, upstream: Upstream, collector: Collector) -> None:
    gateway = launch(traced(upstream, collector, traces=False))
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
    gateway = launch(traced(upstream, collector, metrics=False))
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
    places = [f"config.targets[{number}]" for number in range(100)]
    ids = {span.of_attempt(where, number) for where in places for number in range(10)} | {span.id}
    assert len(ids) == 1001
    assert all(0 < number < 2**64 for number in ids)
    own = span.of_attempt("config", 0)
    lines = span.lines("config", 0, Origin("https", "api.example", 443))
    assert lines == b"traceparent: 00-%b-%016x-01\r\n" % (TRACE.encode(), own)
    assert span.called == {own: ("api.example", 443)}


@pytest.mark.parametrize(
    "body",
    [b"", b"x", b"[1]", b"{", b'{"temperature":"hot"}', b'{"temperature":' + b"9" * 5000 + b"}", b'{"n":null,"x":[[]]}',
     b'{"generationConfig":[1]}', b'{"generationConfig":{"topP":{}}}', b"\xff\xfe", b'{"temperature":1e999}',
     b'{"a":' * 5000],
)  # fmt: skip
def test_no_body_breaks_a_trace(body: bytes) -> None:
    assert asked(body) == {}


def test_parameters_have_the_same_names_from_every_dialect() -> None:
    assert asked(b'{"model":"m","temperature":1,"max_completion_tokens":5,"n":2,"stop":"secret"}') == {
        "gen_ai.request.temperature": 1.0, "gen_ai.request.max_tokens": 5, "gen_ai.request.choice.count": 2,
    }  # fmt: skip
    assert asked(b'{"contents":[],"generationConfig":{"topK":4,"maxOutputTokens":7,"seed":-1}}') == {
        "gen_ai.request.top_k": 4.0, "gen_ai.request.max_tokens": 7, "gen_ai.request.seed": -1,
    }  # fmt: skip
