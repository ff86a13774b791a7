"""Assembly: the one place that knows everyone. A `Gateway` is everything of one worker."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import msgspec
from aiohttp.http import RawRequestMessage

from adapters.errors import Kind
from proxy import __version__, gauges, keys, loglevel, models, openapi
from proxy.address import AddressPolicy
from proxy.admin import ROUTES as ADMIN_ROUTES
from proxy.board import Board, shown
from proxy.bodies import Bodies, Recorder
from proxy.budgets import Budgets
from proxy.cache.answers import AnswerCache
from proxy.config.file import FileConfig
from proxy.config.schema import OtlpSettings
from proxy.credentials import Credentials
from proxy.dispatch import Router
from proxy.errors import Refused, Source, StoreError, of_bug
from proxy.exchange import Exchange
from proxy.explain import ROUTES as EXPLAIN_ROUTES
from proxy.forward import Forwarder
from proxy.inference import ROUTES as INFERENCE_ROUTES
from proxy.journal import Journal
from proxy.limits import Host, Limiters, Memory
from proxy.live import Live
from proxy.metrics import Metrics, merged, publish, retire
from proxy.pipeline import Pipeline, refuse
from proxy.ports import ApiKeyRow, Rows, Store
from proxy.prices import Prices
from proxy.routes import AdminContext, AdminRequest, Answer, Route
from proxy.seams import Origin, Timeouts
from proxy.server import Door, Edge, EdgeSettings
from proxy.store import ledger as ledger_jobs
from proxy.store import logs
from proxy.trace import Sampler
from proxy.transport import HttpTransport
from proxy.usage import Ledger, Notes, stdout_log

if TYPE_CHECKING:
    from proxy.leases import Keeper
    from proxy.redis_link import RedisLink
    from proxy.telemetry.export import Exporter

_ADMIN_BODY = 4 << 20
_FLUSH_EVERY = 0.25  # with what writing takes, a killed worker loses well less than a second's rows
_FORGET_EVERY = 600.0
_ACCEPTED = 0.01
_PURGE_EVERY = 3600.0
_PURGE_FIRST = 60.0
_log = logging.getLogger("loopway")


class Gateway:
    """One worker's gateway, from its sockets to its store. Also what administration works on (`AdminContext`)."""

    def __init__(
        self,
        file: FileConfig,
        path: str | None,
        load: Callable[[], FileConfig],
        store: Store,
        run_dir: Path,
        bootstrap: tuple[ApiKeyRow, ...],
        loop: asyncio.AbstractEventLoop,
        memory: Memory | None = None,
    ) -> None:
        """`memory` is where the workers of this host count together; without it, this one counts alone."""
        server = file.server
        upstream = server.upstream
        trusted = frozenset(name.lower() for name in server.trusted_custom_hosts)
        self._loop = loop
        self.store = store
        self.host = Host(memory)
        url = file.redis.url
        self.redis: RedisLink | None = None
        self._keeper: Keeper | None = None
        if url is not None:
            # Loaded for those who have Redis only: its client is a tenth of a worker's memory.
            from proxy.leases import Keeper
            from proxy.redis_link import RedisLink

            self.redis = RedisLink(url.reveal())
            self._keeper = Keeper(self.host, self.redis, strict=file.redis.strict)
        self.live = Live(file, path, load, store, bootstrap, trusted, Limiters(self.host))
        self.budgets = Budgets(self.live.limiters, store, self._tell)
        self.transport = HttpTransport(
            AddressPolicy(private=True), AddressPolicy(private=False), upstream.keepalive, loop
        )
        timeouts = Timeouts(upstream.connect_timeout, upstream.first_byte_timeout, upstream.idle_timeout)
        self.metrics = Metrics()
        self.journal = Journal(run_dir / "ledger", f"{os.getpid()}-{secrets.token_hex(4)}", file.store.journal_size)
        self.ledger = Ledger(
            store.append_usage,
            stdout_log() if file.logs.access else None,
            [self.metrics.count],
            journal=self.journal,
            under_way=self._under_way,
            strict=file.store.ledger == "strict",
        )
        self.credentials = Credentials(self.transport, self._machine_transport)
        silence = upstream.connect_timeout + max(upstream.first_byte_timeout, upstream.idle_timeout)
        self.cache = AnswerCache(
            file.cache.max_size, file.cache.max_age, loop, link=self.redis, run_dir=run_dir, patience=silence
        )
        forwarder = Forwarder(
            self.transport,
            timeouts,
            upstream.max_response_size,
            credentials=self.credentials,
            cache=self.cache,
            count_streams=upstream.count_streams,
        )
        reserve = self._reserve if self.ledger.strict else None
        self.pipeline = Pipeline(forwarder, self._settle, server.max_body_size, loop, reserve)
        self.catalog = models.Catalog(self.transport, timeouts)
        self.edge = Edge(
            self._begin,
            self._handle,
            EdgeSettings(server.header_timeout, server.body_timeout, server.keepalive_timeout, server.drain_idle),
            loop,
        )
        self._own_edge: Edge | None = None
        self.notes = Notes(stdout_log() if file.logs.access else None)
        self.edge.on_refused = self.notes.malformed
        self.router = Router(self.routes())
        self._metrics_open = server.host in ("127.0.0.1", "::1", "localhost")
        self.metrics_on = file.telemetry.metrics
        self._metrics_file = run_dir / f"metrics-{os.getpid()}.json"
        self._run_dir = run_dir
        self._board = Board(self.live.healths, run_dir)
        # Ids are unique over workers and restarts by their random half, and within one by a counter, which keeps a
        # worker's rows together in the ledger's index.
        self._id_prefix = secrets.token_hex(8)
        self._id_count = 0
        self._machine: HttpTransport | None = None
        self._servers: list[asyncio.AbstractServer] = []
        self.leaving = False
        self._flusher: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._forgetting: asyncio.Task[None] | None = None
        self._forget_at = 0.0
        self._pulse = gauges.Pulse(loop, self.metrics.lag)
        self.bodies = Bodies(store.vault, file.logs.redact) if file.logs.bodies else None
        self._body_size = file.logs.body_size
        self._retention = file.logs.retention
        self._purge_at = monotonic() + _PURGE_FIRST
        self._sampler: Sampler | None = None
        self._exporter: Exporter | None = None
        if file.telemetry.otlp is not None:
            self._begin_telemetry(file.telemetry.otlp)

    def _begin_telemetry(self, settings: OtlpSettings) -> None:
        # Loaded only here: it takes a tenth of a second and some megabytes, and is an extra.
        from proxy.telemetry.export import Exporter

        self._exporter = Exporter(settings)
        self.ledger.sinks.append(self._exporter.take)
        if settings.traces:
            self._sampler = Sampler(settings.sample)

    # -- the route table

    def routes(self) -> tuple[Route, ...]:
        """Every path this gateway answers."""
        return (*INFERENCE_ROUTES, *EXPLAIN_ROUTES, *ADMIN_ROUTES, *PROBES)

    # -- AdminContext

    async def apply(self) -> None:
        """Makes this worker's snapshot show every committed change."""
        await self.live.apply()

    def rows(self) -> Rows:
        """File and store, merged, as the current snapshot was compiled from them."""
        return self.live.snapshot.rows

    def exhausted(self) -> frozenset[tuple[str, str]]:
        """Whose budget is spent."""
        return frozenset(who for who, limiter in self.live.limiters.all.items() if limiter.exhausted)

    def reset_usage(self, what: str, identity: str) -> bool:
        """Sets what a budget has spent to nothing, for all workers; False where there is no budget."""
        limiter = self.live.limiters.all.get((what, identity))
        if limiter is None or limiter.meter is None or limiter.meter.spending is None:
            return False
        limiter.reset()
        return True

    def log_level(self) -> tuple[str, loglevel.Chosen | None]:
        """The configured level, and what was chosen instead of it."""
        return self.live.file.logs.level, loglevel.chosen(self._run_dir)

    def set_log_level(self, chosen: loglevel.Chosen | None) -> None:
        """Here at once, in the other workers and the supervisor within a second. Raises OSError."""
        loglevel.choose(self._run_dir, chosen)
        loglevel.follow(self._run_dir, self.live.file.logs.level)

    async def _tell(self, url: str, message: bytes) -> int:
        """Sends a budget's alert where its operator said. Raises UpstreamFailure."""
        parts = urlsplit(url)
        origin = Origin(parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme])
        head = f"POST {parts.path or '/'} HTTP/1.1\r\nhost: {origin.authority}\r\ncontent-type: application/json\r\n"
        head += f"user-agent: loopway/{__version__}\r\ncontent-length: {len(message)}\r\n\r\n"
        reply = await self.transport.send(origin, head.encode("latin-1"), message, Timeouts(5.0, 10.0, 10.0))
        try:
            await reply.gather(1 << 16)
            return reply.status
        finally:
            reply.finish()

    def prices(self) -> Prices:
        """The prices of the current snapshot."""
        return self.live.snapshot.prices

    # -- life

    async def start(self, sockets: list[socket.socket], own: Sequence[socket.socket] = ()) -> None:
        """Reads the configuration and listens: on `sockets` for everything, on `own` for metrics and probes, which are
        open there. Raises StoreError."""
        self.host.start(self._loop)
        if self._keeper is not None:
            self._keeper.start()
        await self.live.start()
        await self.budgets.start()
        await self.cache.start()
        for sock in sockets:
            self._servers.append(await self._loop.create_server(self.edge, sock=sock, backlog=4096))
        if own:
            edge = self._own_edge = Edge(self._begin, self._handle_own, EdgeSettings(), self._loop)
            self._servers += [await self._loop.create_server(edge, sock=sock) for sock in own]
        self._flusher = asyncio.create_task(self._flush_often())
        self._pulse.start()
        if self._exporter is not None:
            self._exporter.start()
        # What start-up made lives for ever: the collector need not look at it again, and young garbage is cheap.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)

    async def warn(self, delay: float) -> None:
        """Says at `/readyz` that this gateway ends, and goes on for so many seconds, until load balancers know."""
        self.leaving = True
        if delay:
            self.edge.discourage()
            await asyncio.sleep(delay)

    async def stop(self, drain: float) -> None:
        """Lets requests in flight finish within `drain` seconds, then writes what is counted and closes."""
        for server in self._servers[:1]:
            server.close()
        # What was accepted before that is told to its door in the loop's next turn.
        await asyncio.sleep(_ACCEPTED)
        await self.edge.drain(drain)
        for server in self._servers[1:]:
            server.close()
        if self._own_edge is not None:
            await self._own_edge.drain(0.0)
        self._pulse.stop()
        await self.live.stop()
        await self.budgets.stop()
        if self._keeper is not None:
            await self._keeper.stop()
        self.host.stop()
        for task in (self._flusher, self._forgetting):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._keeping is not None:  # it holds bodies that it has taken
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self._flush(last=True)
        if self._exporter is not None:
            await asyncio.to_thread(self._exporter.close)
        self.journal.close()
        self.credentials.close()
        await self.transport.close()
        if self._machine is not None:
            await self._machine.close()
        await self.cache.close()
        if self.redis is not None:
            await self.redis.close()
        await self.store.close()
        try:
            self._board.close()
            retire(self._metrics_file, self._samples())
        except OSError as error:
            _log.warning("the counters of this worker are lost: %s", error)

    def _machine_transport(self) -> HttpTransport:
        """The only way to the metadata service of this machine: for identities that the operator configured."""
        if self._machine is None:
            policy = AddressPolicy(private=True, metadata=True)
            self._machine = HttpTransport(policy, AddressPolicy(private=False), 30.0, self._loop)
        return self._machine

    async def _flush_often(self) -> None:
        turn, due = 0, monotonic()
        while True:
            try:
                # By the clock, not so long after the last turn: a slow store must not make a row wait for two turns.
                due = max(due + _FLUSH_EVERY, monotonic())
                await asyncio.sleep(due - monotonic())
                await self.ledger.flush()
                turn += 1
                if turn % 2:
                    continue
                loglevel.follow(self._run_dir, self.live.file.logs.level)
                self._publish()
                if self._keeping is None or self._keeping.done():
                    self._keeping = asyncio.create_task(self._keep_log())
                if self._forgetting is None or self._forgetting.done():
                    self._forgetting = asyncio.create_task(self._forget_old())
            except Exception as error:  # noqa: BLE001 - a timer that ends would keep every later record from the store
                _log.error("what was counted could not be passed on", exc_info=error)

    async def _forget_old(self) -> None:
        """Deletes rows of the ledger that are older than they need be: a few thousand in a turn, until none is left."""
        retention = self.live.file.store.retention
        if retention is None or monotonic() < self._forget_at:
            return
        before = int((time() - retention) * 1000)
        try:
            gone = await self.store.run("reports", ledger_jobs.forget, before)
        except StoreError:
            gone = 0  # the watch of the configuration says so already
        self._forget_at = monotonic() + (0.0 if gone else _FORGET_EVERY)

    async def _flush(self, *, last: bool = False) -> None:
        await self.ledger.flush(last=last)
        await self._keep_log()
        self._publish()

    def _publish(self) -> None:
        try:
            publish(self._metrics_file, self._samples())
            self._board.exchange(monotonic())
        except OSError as error:
            _log.warning("metrics and circuits cannot be shared between workers: %s", error)

    async def _keep_log(self) -> None:
        """Bodies go to the store, and what is too old goes out of it: every hour, and at once while there is more."""
        try:
            while self.bodies is not None and self.bodies.waiting:
                rows = await asyncio.to_thread(self.bodies.take)
                await self.store.run("reports", logs.add_bodies, rows)
            if monotonic() >= self._purge_at:
                self._purge_at = monotonic() + _PURGE_EVERY
                if await self.store.run("reports", logs.purge, int((time() - self._retention) * 1000)):
                    self._purge_at = 0.0
        except StoreError as error:
            _log.warning("the log's bodies could not be kept: %s", error)

    # -- requests

    def _under_way(self) -> Iterator[Exchange]:
        """The exchanges on all open connections."""
        return (door.exchange for door in self.edge.doors if door.exchange is not None)

    def _begin(self, door: Door, message: RawRequestMessage, found: dict[bytes, bytes]) -> Exchange:
        path, _, query = message.path.partition("?")
        self._id_count += 1
        request_id = f"{self._id_prefix}{self._id_count:016x}"
        trace = found.get(b"x-portkey-trace-id") or found.get(b"traceparent")
        trace_id = request_id if trace is None else _trace_id(found, request_id)
        door.trace = b"x-portkey-trace-id: %b\r\n" % trace_id.encode()
        x = Exchange(
            door,
            self.live.snapshot,
            message.method,
            path,
            query,
            found,
            message.raw_headers,
            request_id,
            trace_id,
            monotonic(),
        )
        if self._sampler is not None:
            x.span = self._sampler.begin(found, request_id)
        return x

    def _handle(self, x: Exchange) -> Awaitable[None]:
        # Not a coroutine itself: one frame less for every open stream, and for every request.
        try:
            match = self.router.find(x.method, x.path)
        except Refused as refused:
            return self._refuse_unknown(x, refused)
        route = match.route
        if route.dialect is not None and route.scope is not None:
            self.metrics.in_flight += 1
            if route.named:
                x.path_model = match.params["model"]
            if self.bodies is not None and x.headers.get(b"x-portkey-debug") != b"false":
                x.client = Recorder(x.client, self._body_size)
            return self.pipeline.infer(x, route.dialect, route.scope)
        return self._administer(x, route, match.params)

    def _handle_own(self, x: Exchange) -> Awaitable[None]:
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
        self.notes.request(x, "unknown")

    async def _administer(self, x: Exchange, route: Route, params: dict[str, str], *, open_here: bool = False) -> None:
        try:
            open_now = open_here or route.scope is None or (route.open_metrics and self._metrics_open)
            if not open_now:
                key = x.key = keys.authenticate(x)
                assert route.scope is not None
                if route.scope != "any":
                    keys.authorize(key, route.scope)
            body = await x.client.body(_ADMIN_BODY)
            request = AdminRequest(
                x.method,
                x.path,
                params,
                dict(parse_qsl(x.query, keep_blank_values=True)),
                body,
                "" if x.key is None else x.key.id,
                x.request_id,
                frozenset() if x.key is None else x.key.scopes,
            )
            assert route.handler is not None
            if route.exchange:
                x.at = time()
                x.body = body
            answer = await route.handler(self._context(x, route), request)
            _respond(x, answer)
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
            self.notes.request(x, "probe" if route.tag == "operations" else "admin")

    def _context(self, x: Exchange, route: Route) -> AdminContext:
        return Scope(self, x) if route.exchange else self

    def _reserve(self, x: Exchange) -> None:
        """Strict mode's promise: no request goes on that the ledger could lose. Raises Refused (503)."""
        try:
            self.ledger.reserve(x)
        except OSError as error:
            message = "The gateway cannot write its ledger, and is told to serve nothing that it cannot account for."
            raise Refused(Kind.OVERLOADED, message, retry_after=5, source=Source.GATEWAY) from error

    def _settle(self, x: Exchange, ended: float) -> None:
        self.metrics.in_flight -= 1
        if self.bodies is not None and isinstance(x.client, Recorder):
            self.bodies.put(x.request_id, x.at, x.client)
        self.ledger.put(x, ended)

    def metrics_text(self) -> str:
        """All workers' counters as Prometheus text."""
        return merged(self._samples() | gauges.shared(self), self._run_dir, self._metrics_file.name)

    def _samples(self) -> dict[str, float]:
        self.ledger.pump()
        return self.metrics.samples() | gauges.read(self)


class Scope:
    """A handler's view of the gateway that also shows the exchange it runs in."""

    def __init__(self, gateway: Gateway, x: Exchange) -> None:
        self.gateway = gateway
        self.exchange = x
        self.store = gateway.store
        self.catalog = gateway.catalog

    async def apply(self) -> None:
        """As the gateway's."""
        await self.gateway.apply()

    def rows(self) -> Rows:
        """As the gateway's."""
        return self.gateway.rows()

    def exhausted(self) -> frozenset[tuple[str, str]]:
        """As the gateway's."""
        return self.gateway.exhausted()

    def reset_usage(self, what: str, identity: str) -> bool:
        """As the gateway's."""
        return self.gateway.reset_usage(what, identity)

    def log_level(self) -> tuple[str, loglevel.Chosen | None]:
        """As the gateway's."""
        return self.gateway.log_level()

    def set_log_level(self, chosen: loglevel.Chosen | None) -> None:
        """As the gateway's."""
        self.gateway.set_log_level(chosen)

    def prices(self) -> Prices:
        """As the gateway's."""
        return self.gateway.prices()


def _trace_id(found: dict[bytes, bytes], request_id: str) -> str:
    """The client's own trace id, else the one in its `traceparent` (W3C), else the request's id."""
    asked = found.get(b"x-portkey-trace-id")
    if asked:
        return asked[:256].decode("utf-8", "replace")
    parent = found.get(b"traceparent", b"")
    return parent[3:35].decode("ascii", "replace") if len(parent) >= 35 else request_id


def _respond(x: Exchange, answer: Answer) -> None:
    x.status = answer.status
    lines = [f"content-type: {answer.content_type}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in answer.headers]
    value = answer.value
    body = value if isinstance(value, bytes) else b"" if answer.status == 204 else msgspec.json.encode(value)
    x.client.respond(answer.status, "".join(lines).encode("latin-1", "replace"), body)


async def _alive(context: object, request: AdminRequest) -> Answer:
    return Answer({"status": "success", "message": "Server is healthy", "version": __version__})


async def _ready(context: object, request: AdminRequest) -> Answer:
    assert isinstance(context, Gateway)
    if context.leaving:
        raise Refused(Kind.OVERLOADED, "The gateway is draining.", retry_after=1)
    return Answer({"status": "ready"})


async def _metrics(context: object, request: AdminRequest) -> Answer:
    assert isinstance(context, Gateway)
    if not context.metrics_on:
        raise Refused(Kind.NOT_FOUND, "Metrics are switched off here (telemetry.metrics).")
    return Answer(context.metrics_text().encode(), content_type="text/plain; version=0.0.4; charset=utf-8")


async def _targets(context: object, request: AdminRequest) -> Answer:
    assert isinstance(context, Gateway)
    return Answer({"object": "list", "worker": os.getpid(), "data": shown(context.live.healths, monotonic())})


async def _openapi(context: object, request: AdminRequest) -> Answer:
    assert isinstance(context, Gateway)
    return Answer(openapi.document(context.router.routes))


def _probe(path: str, handler: Callable[..., Awaitable[Answer]], summary: str, scope: str | None = None) -> Route:
    return Route(method="GET", path=path, scope=scope, summary=summary, handler=handler, tag="operations")


PROBES: tuple[Route, ...] = (
    _probe("/healthz", _alive, "Whether the process is alive"),
    _probe("/v1/health", _alive, "Whether the process is alive"),
    _probe("/readyz", _ready, "Whether it takes requests: configured, and not draining"),
    Route(
        method="GET",
        path="/metrics",
        scope="metrics.read",
        summary="Counters of all workers as Prometheus text; open where the gateway listens on loopback only",
        handler=_metrics,
        tag="operations",
        open_metrics=True,
    ),
    _probe(
        "/v1/health/targets",
        _targets,
        "Targets that configs watch, as the worker that answers sees them: load, latency, circuit breakers",
        scope="metrics.read",
    ),
    _probe("/openapi.json", _openapi, "This interface as an OpenAPI document", scope="any"),
)
