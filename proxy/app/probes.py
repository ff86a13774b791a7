"""What load balancers, Prometheus and operators ask of a worker."""

from __future__ import annotations

import os
from time import monotonic

from adapters.errors import Kind
from proxy import __version__, openapi
from proxy.board import shown
from proxy.errors import Refused
from proxy.routes import AdminContext, AdminRequest, Answer, Handler, Route


async def _alive(context: AdminContext, request: AdminRequest) -> Answer:
    return Answer({"status": "success", "message": "Server is healthy", "version": __version__})


async def _ready(context: AdminContext, request: AdminRequest) -> Answer:
    if context.leaving:
        raise Refused(Kind.OVERLOADED, "The gateway is draining.", retry_after=1)
    return Answer({"status": "ready"})


async def _metrics(context: AdminContext, request: AdminRequest) -> Answer:
    text = context.metrics_text()
    if text is None:
        raise Refused(Kind.NOT_FOUND, "Metrics are switched off here (telemetry.metrics).")
    return Answer(text.encode(), content_type="text/plain; version=0.0.4; charset=utf-8")


async def _targets(context: AdminContext, request: AdminRequest) -> Answer:
    return Answer({"object": "list", "worker": os.getpid(), "data": shown(context.healths(), monotonic())})


async def _openapi(context: AdminContext, request: AdminRequest) -> Answer:
    return Answer(openapi.document(context.routes()))


def _probe(path: str, handler: Handler, summary: str, scope: str | None = None, *, metrics: bool = False) -> Route:
    return Route(
        method="GET",
        path=path,
        scope=scope,
        summary=summary,
        handler=handler,
        tag="operations",
        open_metrics=metrics,
    )


PROBES: tuple[Route, ...] = (
    _probe("/healthz", _alive, "Whether the process is alive"),
    _probe("/v1/health", _alive, "Whether the process is alive"),
    _probe("/readyz", _ready, "Whether it takes requests: configured, and not draining"),
    _probe(
        "/metrics",
        _metrics,
        "Counters of all workers as Prometheus text; open where the gateway listens on loopback only",
        scope="metrics.read",
        metrics=True,
    ),
    _probe(
        "/v1/health/targets",
        _targets,
        "Targets that configs watch, as the worker that answers sees them: load, latency, circuit breakers",
        scope="metrics.read",
    ),
    _probe("/openapi.json", _openapi, "This interface as an OpenAPI document", scope="any"),
)
