"""The transport of a worker: finds a connection for each exchange, and watches those that have one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import ClientRequest, ClientTimeout
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from adapters.errors import Kind
from proxy.address import AddressPolicy
from proxy.errors import UpstreamFailure
from proxy.seams import Origin, Reply, Timeouts
from proxy.transport.failures import unreachable
from proxy.transport.pool import GuardedConnector
from proxy.transport.upstream import Upstream
from proxy.turns import Turns

_SWEEP = 0.05  # seconds between two looks at the deadlines; limits fire that much late at most

Handle = tuple[GuardedConnector, ClientRequest, ConnectionKey]


class HttpTransport:
    """The real `Transport`: pooled HTTP/1.1 over TCP and TLS, one per worker.

    Two connectors, two pools: hosts that an operator set may be private, hosts that a client named may not.
    """

    def __init__(
        self, operator: AddressPolicy, client: AddressPolicy, keepalive: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._loop = loop
        turns = Turns(loop)
        self._operator = GuardedConnector(operator, keepalive, turns)
        self._client = GuardedConnector(client, keepalive, turns)
        self.active: set[Upstream] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    async def send(self, origin: Origin, head: bytes, body: bytes | AsyncIterator[bytes], timeouts: Timeouts) -> Reply:
        pool, request, key = origin.handle or self.prepare(origin)
        # A body that is only passed on cannot be sent twice, so it never meets a connection that may be stale.
        connection = pool.lend(key) if isinstance(body, bytes) else None
        if connection is not None:
            try:
                self._watch(connection)
                await connection.exchange(head, body, timeouts)
                if connection.status != 408 or not connection.should_close:
                    return connection
                # The farewell of an idle connection, which crossed our request: not an answer to it.
                connection.finish()
            except UpstreamFailure as failure:
                # The provider closed the idle connection as we wrote: not one byte came back. Once more, afresh.
                if failure.kind is not Kind.UNREACHABLE:
                    raise
                pool.forget(key)
        connection = await self._connect(pool, request, timeouts)
        connection.pool, connection.key = pool, key
        self._watch(connection)
        await connection.exchange(head, body, timeouts)
        return connection

    @property
    def busy(self) -> int:
        """Connections with an exchange on them."""
        return sum(connection.busy for connection in self.active)

    @property
    def idle(self) -> int:
        """Connections that wait in the pools for their next exchange."""
        return sum(len(kept) for pool in (self._operator, self._client) for kept in pool._conns.values())

    def prepare(self, origin: Origin) -> Handle:
        """What connecting to an address needs, made once for each: its pool, and aiohttp's forms of it."""
        url = URL.build(scheme=origin.scheme, host=origin.host, port=origin.port)
        request = ClientRequest("POST", url, loop=self._loop)
        # aiohttp's key has a place for what a proxy is told; here it tells apart whose connections these are.
        key = request.connection_key._replace(proxy_headers_hash=origin.credential)
        handle = (self._client if origin.guarded else self._operator, request, key)
        origin.handle = handle
        return handle

    def _watch(self, connection: Upstream) -> None:
        self.active.add(connection)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_SWEEP, self._sweep)

    async def _connect(self, pool: GuardedConnector, request: ClientRequest, timeouts: Timeouts) -> Upstream:
        try:
            lent = await pool.connect(
                request, [], ClientTimeout(total=None, connect=timeouts.connect, sock_connect=timeouts.connect)
            )
        except TimeoutError as error:
            raise UpstreamFailure(Kind.TIMEOUT, "The provider could not be reached in time.", sent=False) from error
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(error) from error
        connection = lent.protocol
        assert isinstance(connection, Upstream)
        lent._protocol = None  # its bookkeeping is ours from here: Upstream.finish() gives back or drops
        return connection

    def _sweep(self) -> None:
        """Expires what is late and forgets what is idle: one timer for every connection of the worker."""
        now = self._loop.time()
        idle = []
        late = []
        for connection in self.active:
            if not connection.busy:
                idle.append(connection)
            elif connection.touched:
                connection.progress(now)
            elif connection.deadline < now:
                late.append(connection)
        self.active.difference_update(idle)
        for connection in late:
            connection.expire()
        self._sweeper = self._loop.call_later(_SWEEP, self._sweep) if self.active else None

    async def close(self) -> None:
        """Closes every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self.active):
            connection.abort()
        await self._operator.close()
        await self._client.close()
