"""Where requests come in: each gets its ids and its route, and goes on to the pipeline or to a handler.

A desk is what an `Edge` calls. There is one for the gateway's listener, and one for the port of the metrics, where
nothing else is.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from time import monotonic, time
from urllib.parse import parse_qsl

import msgspec
from aiohttp.http import RawRequestMessage

from adapters.errors import Kind
from proxy import download, keys
from proxy.bodies import Bodies, Recorder
from proxy.dispatch import Router
from proxy.errors import Refused, StoreError, of_bug
from proxy.exchange import Exchange
from proxy.live import Live
from proxy.metrics import Metrics
from proxy.pipeline import Pipeline, refuse
from proxy.routes import AdminContext, AdminRequest, Answer, Route
from proxy.seams import Client, Lines
from proxy.server import Door
from proxy.trace import Sampler, Span
from proxy.usage import Notes

_ADMIN_BODY = 4 << 20
_log = logging.getLogger("loopway")


class Desk:
    """One per worker. `sampler` None: no traces are exported. `witness` listens to what goes in and out
    where they are. `open_metrics`: whoever can reach the gateway's listener
    may read its metrics."""

    def __init__(
        self,
        context: AdminContext,
        live: Live,
        pipeline: Pipeline,
        metrics: Metrics,
        notes: Notes,
        bodies: Bodies | None,
        body_size: int,
    ) -> None:
        """`context` is what handlers get. Of bodies that are kept, `body_size` bytes are."""
        self.router = Router(context.routes())
        self.sampler: Sampler | None = None
        self.witness: Callable[[Client, Span, Lines], Client] | None = None
        self.open_metrics = False
        self._context = context
        self._live = live
        self._pipeline = pipeline
        self._metrics = metrics
        self._notes = notes
        self._bodies = bodies
        self._body_size = body_size
        # Ids are unique over workers and restarts by their random half, and within one by a counter, which keeps a
        # worker's rows together in the ledger's index.
        self._id_prefix = secrets.token_hex(8)
        self._id_count = 0

    @property
    def watched(self) -> bool:
        """Whether more may be kept of a request than its row and its line: spans, or bodies."""
        return self.sampler is not None or self._bodies is not None

    def begin(self, door: Door, message: RawRequestMessage, found: dict[bytes, bytes]) -> Exchange:
        """The exchange of a request whose head is here, as of this moment's configuration."""
        path, _, query = message.path.partition("?")
        self._id_count += 1
        request_id = f"{self._id_prefix}{self._id_count:016x}"
        trace = found.get(b"x-portkey-trace-id") or found.get(b"traceparent")
        trace_id = request_id if trace is None else trace_of(found, request_id)
        door.trace = b"x-portkey-trace-id: %b\r\n" % trace_id.encode()
        x = Exchange(
            door,
            self._live.snapshot,
            message.method,
            path,
            query,
            found,
            message.raw_headers,
            request_id,
            trace_id,
            monotonic(),
        )
        x.proof = door.proof
        if self.sampler is not None:
            span = x.span = self.sampler.begin(found, request_id)
            if span.sampled and self.witness is not None:
                x.client = self.witness(door, span, message.raw_headers)
        return x

    def handle(self, x: Exchange) -> Awaitable[None]:
        """Answers it."""
        # Not a coroutine itself: one frame less for every open stream, and for every request.
        try:
            match = self.router.find(x.method, x.path)
        except Refused as refused:
            return self._refuse_unknown(x, refused)
        route = match.route
        if route.dialect is not None and route.scope is not None:
            self._metrics.in_flight += 1
            if route.named:
                x.path_model = match.params["model"]
            if self._bodies is not None and x.headers.get(b"x-portkey-debug") != b"false":
                x.client = Recorder(x.client, self._body_size)
            return self._pipeline.infer(x, route.dialect, route.scope)
        return self._administer(x, route, match.params)

    def handle_own(self, x: Exchange) -> Awaitable[None]:
        """On the metrics' own port: those and the probes, open; nothing else is there."""
        try:
            match = self.router.find(x.method, x.path)
            if match.route.tag != "operations" or match.route.scope == "any":
                raise Refused(Kind.NOT_FOUND, "This port has metrics and probes only.")
        except Refused as refused:
            return self._refuse_unknown(x, refused)
        return self._administer(x, match.route, match.params, open_here=True)

    async def _refuse_unknown(self, x: Exchange, refused: Refused) -> None:
        # Who has no key learns nothing about which paths exist.
        try:
            keys.authenticate(x)
        except Refused as unknown:
            refused = unknown
        refuse(x, refused)
        self._notes.request(x, "unknown")

    async def _administer(self, x: Exchange, route: Route, params: dict[str, str], *, open_here: bool = False) -> None:
        try:
            if not open_here:
                self._authorize(x, route)
            assert route.handler is not None
            answer = await route.handler(self._context, await self._request(x, route, params))
            await _respond(x, answer)
        except Refused as refused:
            refuse(x, refused)
        except asyncio.CancelledError:
            raise
        except StoreError as error:
            _log.error("%s %s failed: %s", x.method, route.path, error)
            message = "The gateway cannot reach its store; try again shortly."
            refuse(x, Refused(Kind.OVERLOADED, message, code="store_unavailable", retry_after=2))
        except Exception as error:  # noqa: BLE001 - the last line of defence: logged whole, told as a plain 500
            _log.error("%s %s failed", x.method, route.path, exc_info=error)
            refuse(x, of_bug())
        finally:
            self._notes.request(x, "probe" if route.tag == "operations" else "admin")

    def _authorize(self, x: Exchange, route: Route) -> None:
        """Raises Refused unless the caller may call this."""
        if route.scope is None or (route.open_metrics and self.open_metrics):
            return
        key = x.key = keys.authenticate(x)
        if route.scope != "any":
            keys.authorize(key, route.scope)

    async def _request(self, x: Exchange, route: Route, params: dict[str, str]) -> AdminRequest:
        body = await x.client.body(_ADMIN_BODY)
        if route.exchange:
            x.at = time()
            x.body = body
        return AdminRequest(
            x.method,
            x.path,
            params,
            dict(parse_qsl(x.query, keep_blank_values=True)),
            body,
            "" if x.key is None else x.key.id,
            x.request_id,
            frozenset() if x.key is None else x.key.scopes,
            x if route.exchange else None,
        )


def trace_of(found: dict[bytes, bytes], request_id: str) -> str:
    """The client's own trace id, else the one in its `traceparent` (W3C), else the request's id."""
    asked = found.get(b"x-portkey-trace-id")
    if asked:
        return asked[:256].decode("utf-8", "replace")
    parent = found.get(b"traceparent", b"")
    return parent[3:35].decode("ascii", "replace") if len(parent) >= 35 else request_id


async def _respond(x: Exchange, answer: Answer) -> None:
    x.status = answer.status
    lines = [f"content-type: {answer.content_type}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in answer.headers]
    head = "".join(lines).encode("latin-1", "replace")
    if answer.stream is not None and x.method == "HEAD":
        await answer.stream.aclose()
    elif answer.stream is not None:
        await download.send(x.client, answer.status, head, answer.stream)
        return
    value = answer.value
    body = value if isinstance(value, bytes) else b"" if answer.status == 204 else msgspec.json.encode(value)
    x.client.respond(answer.status, head, body)
