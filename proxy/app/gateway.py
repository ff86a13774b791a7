"""What a worker's gateway is made of, how it begins and how it ends."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.errors import Kind
from proxy import gauges, loglevel, models
from proxy.address import AddressPolicy
from proxy.admin import ROUTES as ADMIN_ROUTES
from proxy.app import alerts
from proxy.app.chores import Chores
from proxy.app.container import Container
from proxy.app.desk import Desk
from proxy.app.overload import Shedder
from proxy.app.probes import PROBES
from proxy.app.turnstile import Turnstile
from proxy.bodies import Bodies, Recorder
from proxy.budgets import Budgets
from proxy.cache.answers import AnswerCache
from proxy.config import hosts
from proxy.config.file import FileConfig
from proxy.config.settings import OtlpSettings, UpstreamSettings
from proxy.credentials import Credentials
from proxy.errors import Refused
from proxy.exchange import Exchange
from proxy.explain import ROUTES as EXPLAIN_ROUTES
from proxy.forward import Forwarder
from proxy.health import Healths
from proxy.inference import ROUTES as INFERENCE_ROUTES
from proxy.journal import Journal
from proxy.limits import Host, Limiters, Memory, Standing
from proxy.live import Live
from proxy.metrics import Metrics, merged
from proxy.pipeline import Pipeline
from proxy.ports import ApiKeyRow, Rows, Store
from proxy.prices import Prices
from proxy.routes import Route
from proxy.seams import Timeouts
from proxy.server import Edge, EdgeSettings
from proxy.trace import Sampler
from proxy.transport import HttpTransport
from proxy.usage import Ledger, Notes, stdout_log

if TYPE_CHECKING:
    from proxy.leases import Keeper, RedisClaims
    from proxy.redis_link import RedisLink
    from proxy.telemetry.export import Exporter

_ACCEPTED = 0.01


class Gateway:
    """One worker's gateway, from its sockets to its store. Also what handlers may touch (`AdminContext`)."""

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
        self._loop = loop
        self._run_dir = run_dir
        self.leaving = False
        self.store = store
        self.host = Host(memory)
        self.redis: RedisLink | None = None
        self._keeper: Keeper | None = None
        self._claims: RedisClaims | None = None
        if file.redis.url is not None:
            self._share(file.redis.url.reveal(), strict=file.redis.strict)
        trusted = hosts.trusted(file.server.trusted_custom_hosts)
        self.live = Live(file, path, load, store, bootstrap, trusted, Limiters(self.host))
        self._open_ways_out(file.server.upstream)
        self._open_books(file)
        self._open_doors(file)
        self._pulse = gauges.Pulse(loop, self.metrics.lag, self._beat)
        self._own_edge: Edge | None = None
        self._servers: list[asyncio.AbstractServer] = []
        self._exporter: Exporter | None = None
        if file.telemetry.otlp is not None:
            self._begin_telemetry(file.telemetry.otlp)

    def _open_ways_out(self, upstream: UpstreamSettings) -> None:
        """What goes to providers, and what is needed for it."""
        self._timeouts = Timeouts(upstream.connect_timeout, upstream.first_byte_timeout, upstream.idle_timeout)
        self.transport = HttpTransport(
            AddressPolicy(private=True), AddressPolicy(private=False), upstream.keepalive, self._loop
        )
        self._machine: HttpTransport | None = None
        self.budgets = Budgets(self.live.limiters, self.store, partial(alerts.post, self.transport), self._claims)
        self.credentials = Credentials(self.transport, self._machine_transport)
        self.catalog = models.Catalog(self.transport, self._timeouts)

    def _open_books(self, file: FileConfig) -> None:
        """What is counted, logged and kept of requests."""
        self.metrics = Metrics()
        self._metrics_on = file.telemetry.metrics
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self.journal = Journal(self._run_dir / "ledger", name, file.store.journal_size)
        log = stdout_log() if file.logs.access else None
        self.notes = Notes(log)
        self.ledger = Ledger(
            self.store.append_usage,
            log,
            [self.metrics.count],
            journal=self.journal,
            under_way=self._under_way,
            strict=file.store.ledger == "strict",
        )
        self.bodies = Bodies(self.store.vault, file.logs.redact) if file.logs.bodies else None
        self.chores = Chores(self.ledger, self.bodies, self.live, self.store, self._run_dir, self.samples)

    def _open_doors(self, file: FileConfig) -> None:
        """What takes requests in and answers them, from the cache to the edge."""
        server, upstream, loop = file.server, file.server.upstream, self._loop
        self.cache = AnswerCache(
            file.cache.max_size,
            file.cache.max_age,
            loop,
            link=self.redis,
            run_dir=self._run_dir,
            patience=upstream.connect_timeout + max(upstream.first_byte_timeout, upstream.idle_timeout),
        )
        forwarder = Forwarder(
            self.transport,
            self._timeouts,
            upstream.max_response_size,
            credentials=self.credentials,
            cache=self.cache,
            count_streams=upstream.count_streams,
        )
        reserve = self._reserve if self.ledger.strict else None
        self.pipeline = Pipeline(forwarder, self._settle, server.max_body_size, loop, reserve)
        self.desk = Desk(self, self.live, self.pipeline, self.metrics, self.notes, self.bodies, file.logs.body_size)
        self.edge = Edge(
            self.desk.begin,
            self.desk.handle,
            EdgeSettings(server.header_timeout, server.body_timeout, server.keepalive_timeout, server.drain_idle),
            loop,
        )
        self.edge.on_refused = self.notes.malformed
        self.shedder = Shedder(
            self.edge,
            self.desk,
            self.metrics,
            self.notes,
            server.overload,
            server.workers or len(os.sched_getaffinity(0)),
            Container.find() if server.overload.memory else None,
            loop,
        )

        self.turnstile = Turnstile(
            self.edge, self.desk, self.live, self.pipeline, self.metrics, self.notes, self.shedder, self._settle
        )
        self.pipeline.on_refused = self.shedder.on_refused = self.turnstile.noted

    def _beat(self, late: float) -> None:
        """Ten times a second; the loop's timer came so many seconds late."""
        self.shedder.beat(late)
        self.turnstile.beat()

    def _share(self, url: str, *, strict: bool) -> None:
        # Loaded for those who have Redis only: its client is a tenth of a worker's memory.
        from proxy.leases import Keeper, RedisClaims
        from proxy.redis_link import RedisLink

        self.redis = RedisLink(url)
        self._claims = RedisClaims(self.redis, self.host.memory.id)
        self._keeper = Keeper(self.host, self.redis, strict=strict)

    def _begin_telemetry(self, settings: OtlpSettings) -> None:
        # Loaded only here: it takes a tenth of a second and some megabytes, and is an extra.
        from proxy.telemetry.export import Exporter
        from proxy.telemetry.witness import Witness

        self._exporter = Exporter(settings)
        self.ledger.sinks.append(self._exporter.take)
        if settings.traces:
            self.desk.sampler = Sampler(settings.sample)
            self.desk.witness = Witness

    def _machine_transport(self) -> HttpTransport:
        """The only way to the metadata service of this machine: for identities that the operator configured."""
        if self._machine is None:
            policy = AddressPolicy(private=True, metadata=True)
            self._machine = HttpTransport(policy, AddressPolicy(private=False), 30.0, self._loop)
        return self._machine

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

    def standing(self, what: str, identity: str) -> Standing | None:
        """How a budget stands."""
        limiter = self.live.limiters.all.get((what, identity))
        return None if limiter is None else limiter.standing()

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

    def routes(self) -> tuple[Route, ...]:
        """Every path this gateway answers."""
        return (*INFERENCE_ROUTES, *EXPLAIN_ROUTES, *ADMIN_ROUTES, *PROBES)

    def healths(self) -> Healths:
        """What this worker knows of targets."""
        return self.live.healths

    def metrics_text(self) -> str | None:
        """All workers' counters as Prometheus text; None where they are switched off."""
        if not self._metrics_on:
            return None
        return merged(
            self.samples() | gauges.shared(self) | gauges.disk(self._run_dir), self._run_dir, self.chores.counters.name
        )

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
        # By where it really listens: a socket that was handed over need not be what the file says.
        self.desk.open_metrics = all(_is_loopback(sock) for sock in sockets)
        for sock in sockets:
            self._servers.append(await self._loop.create_server(self.edge, sock=sock, backlog=4096))
        if own:
            edge = self._own_edge = Edge(self.desk.begin, self.desk.handle_own, EdgeSettings(), self._loop)
            self._servers += [await self._loop.create_server(edge, sock=sock) for sock in own]
        self.chores.start()
        self._pulse.start()
        if self._exporter is not None:
            self._exporter.start()
        # What start-up made lives for ever: the collector need not look at it again, and young garbage is cheap.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        # A thread that writes the ledger holds up every request while it has the interpreter: for less than a
        # millisecond, not for five.
        sys.setswitchinterval(0.0005)

    async def warn(self, delay: float) -> None:
        """Says at `/readyz` that this gateway ends, and goes on for so many seconds, until load balancers know."""
        self.leaving = True
        if delay:
            self.edge.discourage()
            await asyncio.sleep(delay)

    async def stop(self, drain: float) -> None:
        """Lets requests in flight finish within `drain` seconds, then writes what is counted and closes."""
        self.edge.discourage()  # first, so that nobody who is answered from here on asks once more
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
        self.shedder.close()
        await self.live.stop()
        await self.budgets.stop()
        if self._keeper is not None:
            await self._keeper.stop()
        self.host.stop()
        await self.chores.stop()
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
        self.chores.retire()

    # -- requests

    def _under_way(self) -> Iterator[Exchange]:
        """The exchanges on all open connections."""
        return (door.exchange for door in self.edge.doors if door.exchange is not None)

    def _reserve(self, x: Exchange) -> None:
        """Strict mode's promise: no request goes on that the ledger could lose. Raises Refused (503)."""
        try:
            self.ledger.reserve(x)
        except OSError as error:
            message = "The gateway cannot write its ledger, and is told to serve nothing that it cannot account for."
            raise Refused(Kind.OVERLOADED, message, retry_after=5) from error

    def _settle(self, x: Exchange, ended: float) -> None:
        self.metrics.in_flight -= 1
        if self.bodies is not None and isinstance(x.client, Recorder):
            self.bodies.put(x.request_id, x.at, x.client)
        self.ledger.put(x, ended)

    def samples(self) -> dict[str, float]:
        """This worker's counters and gauges."""
        self.ledger.pump()
        self.turnstile.settle()
        return self.metrics.samples() | gauges.read(self)


def _is_loopback(listener: socket.socket) -> bool:
    """Whether only this machine can connect."""
    if listener.family not in (socket.AF_INET, socket.AF_INET6):
        return listener.family == socket.AF_UNIX
    return ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback
