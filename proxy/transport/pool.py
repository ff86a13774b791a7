"""Connections that wait for their next exchange, and how new ones are made."""

from __future__ import annotations

import asyncio
import functools
import socket
from time import monotonic
from typing import Any

from aiohttp import TCPConnector
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.helpers import weakref_handle

from proxy.address import AddressPolicy
from proxy.transport.resolver import Resolver
from proxy.transport.upstream import Upstream
from proxy.turns import Turns

_MAX_AGE = 300.0  # seconds a connection lives at most, so that a changed DNS record takes effect


class GuardedConnector(TCPConnector):
    """aiohttp's connector and pool, with one more rule: what is not surely clean is not lent again."""

    def __init__(self, policy: AddressPolicy, keepalive: float, turns: Turns) -> None:
        super().__init__(
            limit=0,
            keepalive_timeout=keepalive,
            ttl_dns_cache=60,
            socket_factory=functools.partial(_socket, policy),
            loop=turns.loop,
        )
        self._resolver = Resolver(self._resolver)
        self._factory = functools.partial(Upstream, turns)  # type: ignore[assignment]
        self._keepalive = keepalive

    def lend(self, key: ConnectionKey) -> Upstream | None:
        """An idle connection, the one used last first, so that surplus ones age out. None: connect."""
        idle = self._conns.get(key)
        if not idle:
            return None
        now = monotonic()
        while idle:
            connection, since = idle.pop()
            assert isinstance(connection, Upstream)
            if now - since <= self._keepalive and now - connection.born <= _MAX_AGE and connection.usable():
                self._acquired.add(connection)
                return connection
            connection.abort()
        return None

    async def _get(self, key: ConnectionKey, traces: Any) -> Connection | None:
        """None: whoever connects has asked `lend` already, or must not have a used connection."""
        return None

    def give(self, key: ConnectionKey, connection: Upstream) -> None:
        """Takes a clean connection back."""
        self._acquired.discard(connection)
        self._conns[key].append((connection, monotonic()))
        if self._cleanup_handle is None:
            self._cleanup_handle = weakref_handle(self, "_cleanup", self._keepalive, self._loop)

    def drop(self, key: ConnectionKey, connection: Upstream) -> None:
        """Closes a connection that nobody may use again."""
        self._release_acquired(key, connection)
        if connection.transport is not None and not connection.transport.is_closing():
            _hang_up(connection.transport)
        connection.abort()

    def forget(self, key: ConnectionKey) -> None:
        """Closes all idle connections there: one of them has just proved stale."""
        for connection, _ in self._conns.pop(key, ()):
            connection.abort()


def _hang_up(transport: asyncio.BaseTransport) -> None:
    """Tells the peer now that it is over. An abort would tell it when the loop comes to it; by then the permit that
    this call held may be in use again, and the provider see one more in flight than it may."""
    plain = transport.get_extra_info("socket")
    if plain is None or plain.fileno() < 0:
        return
    borrowed = socket.socket(fileno=plain.fileno())
    try:
        borrowed.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it was over already
    finally:
        borrowed.detach()


def _socket(policy: AddressPolicy, address: Any) -> socket.socket:
    family, kind, protocol, _, sockaddr = address
    policy.check(sockaddr[0])
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setblocking(False)
    # A stalled client must not let the kernel pull megabytes from a fast provider.
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    return made
