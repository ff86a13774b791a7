"""The exporter: takes batches of settled requests on the loop, makes spans and measurements of them on its own thread.

The queue is bounded: a collector that is slow or away costs memory for so many requests and no more, and what does not
fit is counted. A request is one server span; each attempt is a client span below it. Both come from the record that the
ledger has too, so tracing costs the path of a request nothing but two header lines towards the provider.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from proxy import __version__
from proxy.config.settings import OtlpSettings
from proxy.exchange import Attempt
from proxy.telemetry import names
from proxy.telemetry.witness import Attributes, about_address, about_answer
from proxy.trace import Span
from proxy.usage import Settled

_QUEUE = 10_000
_BATCH = 512
_EVERY = 1.0
_TIMEOUT = 5.0
_MODELS = 200  # names of models that metrics tell apart; the rest are one
_log = logging.getLogger("loopway")
# The exporters log each failure at length, with a traceback; this one says it once.
_SDK = ("opentelemetry.exporter.otlp.proto.http", "opentelemetry.sdk")


class Exporter:
    """One worker's. `take` is a sink of the ledger; `dropped` counts requests that did not fit or were not taken."""

    def __init__(self, settings: OtlpSettings) -> None:
        for name in _SDK:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        base = settings.endpoint.rstrip("/")
        headers = {name: secret.reveal() for name, secret in settings.headers.items()}
        self._resource = Resource.create(
            {
                "service.name": settings.service,
                "service.version": __version__,
                "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
            }
        )
        self._scope = InstrumentationScope("loopway", __version__)
        self._queue: deque[Settled] = deque()
        self._wake = threading.Event()
        self._ending = False
        self._failing = False
        self.dropped = 0
        self._spans = None
        if settings.traces:
            self._spans = OTLPSpanExporter(endpoint=f"{base}/v1/traces", headers=headers, timeout=_TIMEOUT)
        self._meters: MeterProvider | None = None
        self._histograms: dict[str, Any] = {}
        if settings.metrics:
            self._begin_metrics(base, headers, settings.interval)
        self._models: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)

    def _begin_metrics(self, base: str, headers: dict[str, str], interval: float) -> None:
        exporter = OTLPMetricExporter(endpoint=f"{base}/v1/metrics", headers=headers, timeout=_TIMEOUT)
        reader = PeriodicExportingMetricReader(
            exporter, export_interval_millis=interval * 1000, export_timeout_millis=_TIMEOUT * 1000
        )
        self._meters = MeterProvider([reader], self._resource, shutdown_on_exit=False)
        meter = self._meters.get_meter("loopway", __version__)
        for name, (unit, meaning, edges) in names.HISTOGRAMS.items():
            self._histograms[name] = meter.create_histogram(
                name, unit, meaning, explicit_bucket_boundaries_advisory=list(edges)
            )

    # -- the loop's side

    def start(self) -> None:
        """Begins to export."""
        self._thread.start()

    def take(self, batch: list[Settled]) -> None:
        """Takes finished requests. Never waits, never fails."""
        room = _QUEUE - len(self._queue)
        self.dropped += max(0, len(batch) - room)
        self._queue.extend(batch[: max(0, room)])
        if len(self._queue) >= _BATCH:
            self._wake.set()

    def close(self) -> None:
        """Exports what is waiting, in bounded time. Blocking: call it on a thread."""
        self._ending = True
        self._wake.set()
        self._thread.join(2 * _TIMEOUT)
        if self._meters is not None:
            self._meters.shutdown(_TIMEOUT * 1000)

    # -- the thread's side

    def _run(self) -> None:
        while not self._ending or self._queue:
            self._wake.wait(_EVERY)
            self._wake.clear()
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
                try:
                    self._export(batch)
                except Exception as error:  # noqa: BLE001 - a foreign library's; the thread must go on
                    self._failed(len(batch), error)
                if self._ending and self._failing:
                    return

    def _export(self, batch: list[Settled]) -> None:
        if self._meters is not None:
            for kept in batch:
                self._measure(kept)
        if self._spans is None:
            return
        spans = [span for kept in batch if kept.span is not None and kept.span.sampled for span in self._spans_of(kept)]
        if not spans:
            return
        if self._spans.export(spans).value != 0:
            self._failed(len(batch), "the collector does not take them")
        elif self._failing:
            self._failing = False
            _log.warning("the OTLP collector takes traces again")

    def _failed(self, count: int, why: object) -> None:
        self.dropped += count
        if not self._failing:
            _log.warning("traces are lost, the OTLP collector is away or refuses: %s", why)
        self._failing = True

    def _measure(self, kept: Settled) -> None:
        operation = names.operation(kept.alike.dialect)
        labels = {
            names.OPERATION: operation,
            names.PROVIDER: names.provider(kept.alike.provider),
            names.REQUEST_MODEL: self._known(kept.alike.sent_model),
        }
        record = self._histograms
        failed = labels if kept.alike.outcome == "ok" else labels | {names.ERROR: kept.alike.outcome}
        record["gen_ai.server.request.duration"].record(kept.duration, failed)
        usage, ttfb = kept.usage, kept.ttfb
        if kept.alike.streamed and ttfb is not None:
            record["gen_ai.server.time_to_first_token"].record(ttfb, labels)
            if usage is not None and usage.output > 1:
                pace = (kept.duration - ttfb) / (usage.output - 1)
                record["gen_ai.server.time_per_output_token"].record(pace, labels)
        for attempt in kept.tries:
            ours = {
                names.OPERATION: operation,
                names.PROVIDER: names.provider(attempt.provider),
                names.REQUEST_MODEL: self._known(attempt.model),
            }
            if attempt.kind is not None:
                ours[names.ERROR] = attempt.kind.value
            record["gen_ai.client.operation.duration"].record(attempt.duration, ours)
        if usage is not None and not usage.estimated:
            record["gen_ai.client.token.usage"].record(usage.input, labels | {names.TOKEN_TYPE: "input"})
            record["gen_ai.client.token.usage"].record(usage.output, labels | {names.TOKEN_TYPE: "output"})

    def _known(self, model: str | None) -> str:
        name = names.model(model)
        if name not in self._models:
            if len(self._models) >= _MODELS:
                return "other"
            self._models.add(name)
        return name

    def _spans_of(self, kept: Settled) -> Iterator[ReadableSpan]:
        span = kept.span
        assert span is not None
        own = _context(span, span.id, remote=False)
        parent = _context(span, span.parent, remote=True) if span.parent else None
        began, ended = _nanos(kept.at), _nanos(kept.at + kept.duration)
        operation = names.operation(kept.alike.dialect)
        yield self._span(
            f"{operation} {names.model(kept.alike.model)}".strip(), own, parent, SpanKind.SERVER,
            _about_request(kept, operation), kept.alike.outcome, began, ended,
        )  # fmt: skip
        tried: dict[str, int] = {}
        for number, attempt in enumerate(kept.tries):
            nth = tried[attempt.where] = tried.get(attempt.where, -1) + 1
            id = span.of_attempt(attempt.where, nth)
            offset = kept.at + (attempt.began - kept.started)
            # An attempt ends, for the forwarder, when its answer begins; what it delivered took until the end.
            delivered = number == len(kept.tries) - 1 and attempt.kind is None
            yield self._span(
                f"{operation} {names.model(attempt.model)}".strip(),
                _context(span, id, remote=False), own, SpanKind.CLIENT,
                _about_attempt(kept, attempt, operation, span.called.get(id), number, delivered=delivered),
                "ok" if attempt.kind is None else attempt.kind.value,
                _nanos(offset), ended if delivered else _nanos(offset + attempt.duration),
            )  # fmt: skip

    def _span(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Attributes,
        outcome: str,
        began: int,
        ended: int,
    ) -> ReadableSpan:
        status = Status(StatusCode.UNSET) if outcome == "ok" else Status(StatusCode.ERROR, outcome)
        return ReadableSpan(
            name, context, parent, self._resource, attributes, (), (), kind, status=status,
            start_time=began, end_time=max(began, ended), instrumentation_scope=self._scope,
        )  # fmt: skip


def _nanos(seconds: float) -> int:
    return int(seconds * 1e9)


def _context(span: Span, number: int, *, remote: bool) -> SpanContext:
    state = TraceState.from_header([span.state.decode("latin-1")]) if span.state else None
    return SpanContext(span.trace, number, remote, TraceFlags(TraceFlags.SAMPLED), state)


def _counts(kept: Settled) -> Attributes:
    usage = kept.usage
    if usage is None:
        return {}
    counts = {
        names.INPUT_TOKENS: usage.input,
        names.OUTPUT_TOKENS: usage.output,
        names.CACHED_TOKENS: usage.cached,
        names.CACHE_WRITE_TOKENS: usage.cache_write,
        names.REASONING_TOKENS: usage.reasoning,
    }
    basic = (names.INPUT_TOKENS, names.OUTPUT_TOKENS)
    return {name: count for name, count in counts.items() if count or name in basic}


def _about_request(kept: Settled, operation: str) -> Attributes:
    out: Attributes = {
        names.OPERATION: operation,
        names.PROVIDER: names.provider(kept.alike.provider),
        names.REQUEST_MODEL: names.model(kept.alike.model),
        names.METHOD: kept.alike.method,
        names.PATH: kept.alike.path,
        names.STATUS: kept.alike.status,
        "loopway.request_id": kept.request_id,
        "loopway.attempts": len(kept.tries),
        **_counts(kept),
    }
    more = {
        "loopway.trace_id": None if kept.trace_id == kept.request_id else kept.trace_id,
        "loopway.api_key": kept.alike.key,
        "loopway.virtual_key": kept.alike.target,
        "loopway.config": kept.alike.config,
        "loopway.cache": kept.alike.cache,
        "loopway.cost_usd": kept.cost,
        names.TIME_TO_FIRST: kept.ttfb if kept.alike.streamed else None,
        names.ERROR: None if kept.alike.outcome == "ok" else kept.alike.outcome,
    }
    span = kept.span
    assert span is not None
    out |= {**span.asked, **about_address(span.host)}
    if span.size:
        out[names.SIZE] = span.size
    if kept.alike.outcome == "ok" and kept.alike.status < 400:
        out |= about_answer(span)
    if kept.alike.streamed:
        out[names.REQUEST_STREAM] = True
    return out | {name: value for name, value in more.items() if value is not None}


def _about_attempt(
    kept: Settled, attempt: Attempt, operation: str, called: tuple[str, int] | None, number: int, *, delivered: bool
) -> Attributes:
    out: Attributes = {
        names.OPERATION: operation,
        names.PROVIDER: names.provider(attempt.provider),
        names.REQUEST_MODEL: names.model(attempt.model),
        names.STATUS: attempt.status,
        "loopway.target": attempt.target,
        "loopway.where": attempt.where,
        "loopway.reason": attempt.reason,
    }
    if called is not None:
        out |= {names.METHOD: kept.alike.method, names.ADDRESS: called[0], names.PORT: called[1]}
    if number:
        out[names.RESENT] = number
    assert kept.span is not None
    out |= kept.span.asked
    if attempt.wait:
        out["loopway.wait"] = attempt.wait
    if attempt.kind is not None:
        out[names.ERROR] = attempt.kind.value
    if delivered:
        out |= _counts(kept) | about_answer(kept.span)
    return out
