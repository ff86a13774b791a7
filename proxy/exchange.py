"""Everything about one request in flight, in slots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.errors import Kind
from adapters.types import Dialect, Usage
from proxy.seams import Client, Lines

if TYPE_CHECKING:
    from proxy.config.plan import Leaf
    from proxy.config.snapshot import Key, Snapshot


class Attempt:
    """One try at one target and how it ended. Times are seconds of the loop's clock."""

    __slots__ = ("duration", "kind", "status", "target", "where")

    def __init__(self, target: str, where: str, status: int, kind: Kind | None, duration: float) -> None:
        self.target = target
        self.where = where
        self.status = status
        self.kind = kind
        self.duration = duration

    def __repr__(self) -> str:
        return f"Attempt({self.target} at {self.where}: {self.status} {self.kind or 'ok'})"


class Exchange:
    """One request from its head to its settlement.

    `headers` are the few header fields the gateway reads, by lower-case name with `x-loopway-` written as
    `x-portkey-`; `raw_headers` are all of them. `started` and `first_byte` are seconds of the loop's clock, `at` is
    Unix time. Once `committed`, bytes of an answer have gone to the client: nothing can be tried again.
    """

    __slots__ = (
        "at",
        "attempts",
        "body",
        "client",
        "committed",
        "dialect",
        "first_byte",
        "headers",
        "key",
        "kind",
        "leaf",
        "method",
        "model",
        "path",
        "query",
        "raw_headers",
        "request_id",
        "retries",
        "snapshot",
        "started",
        "status",
        "streamed",
        "trace_id",
        "usage",
    )

    def __init__(
        self,
        client: Client,
        snapshot: Snapshot,
        method: str,
        path: str,
        query: str,
        headers: dict[bytes, bytes],
        raw_headers: Lines,
        request_id: str,
        started: float,
    ) -> None:
        self.client = client
        self.snapshot = snapshot
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.raw_headers = raw_headers
        self.request_id = request_id
        self.started = started
        self.at = 0.0
        self.body = b""
        self.trace_id = request_id
        self.dialect = Dialect.PASSTHROUGH
        self.key: Key | None = None
        self.leaf: Leaf | None = None
        self.model: str | None = None
        self.status = 0
        self.kind: Kind | None = None
        self.attempts: list[Attempt] = []
        self.retries = 0
        self.committed = False
        self.streamed = False
        self.first_byte = 0.0
        self.usage: Usage | None = None

    def __repr__(self) -> str:
        return f"Exchange({self.method} {self.path} → {self.status or '…'})"

    def header(self, name: bytes) -> str | None:
        """A header's value as text, or None. Not for security: bytes that are no UTF-8 become U+FFFD."""
        value = self.headers.get(name)
        return None if value is None else value.decode("utf-8", "replace")
