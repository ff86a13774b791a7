"""The two seams between which the whole pipeline can run in memory: `Transport` below, `Client` above."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Protocol

from proxy.errors import UpstreamFailure

if TYPE_CHECKING:
    from proxy.headers import Shape

Lines = tuple[tuple[bytes, bytes], ...]


class Timeouts:
    """Seconds an upstream may take: to connect, to its first byte, and between two reads of a body."""

    __slots__ = ("connect", "first_byte", "idle")

    def __init__(self, connect: float = 10.0, first_byte: float = 600.0, idle: float = 300.0) -> None:
        self.connect = connect
        self.first_byte = first_byte
        self.idle = idle


class Origin:
    """Where connections go: scheme, host and port, and whose connector may make them.

    `guarded` says that a client named this host: its final address is checked against the public ones. `credential`
    is a fingerprint: connections are shared by those who use the same credential, and nobody else, so that no answer
    of a misbehaving provider can reach another one's user.
    """

    __slots__ = ("credential", "guarded", "handle", "host", "port", "scheme")

    def __init__(self, scheme: str, host: str, port: int, *, guarded: bool = False) -> None:
        self.scheme = scheme
        self.host = host
        self.port = port
        self.guarded = guarded
        self.credential = 0
        self.handle: Any = None
        """The transport's own form of the same, made when it first connects there."""

    def __repr__(self) -> str:
        return f"Origin({self.scheme}://{self.authority}{', guarded' if self.guarded else ''})"

    @property
    def authority(self) -> str:
        """The Host header: without the port where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"http": 80, "https": 443}[self.scheme] else f"{host}:{self.port}"


class Sink(Protocol):
    """Takes an answer's body as it comes. Called by the connection itself; must not block or raise."""

    def data(self, data: bytes, end: bool) -> None:
        """The next bytes (maybe none), and whether they were the last."""

    def fail(self, failure: UpstreamFailure) -> None:
        """The body broke off; nothing follows."""


class Flow(Protocol):
    """Where an answer's bytes come from, as their reader sees it."""

    def pause(self) -> None:
        """Stops: the reader is slow."""

    def resume(self) -> None:
        """Goes on."""

    def cut(self, failure: UpstreamFailure) -> None:
        """Ends the answer as if its source had broken off with this failure."""


class Reply(Protocol):
    """An upstream's answer, from its head on."""

    status: int
    raw_headers: Lines
    shape: Shape

    @property
    def complete(self) -> bool:
        """Whether the whole body has arrived."""

    @property
    def framed(self) -> bool:
        """Whether the body's end is told by its framing (False: it ends when the connection does)."""

    def take(self) -> bytes:
        """What has arrived of the body and was not taken yet. Raises UpstreamFailure if it broke off."""

    async def gather(self, limit: int) -> bytes:
        """The whole rest of the body. Raises UpstreamFailure if it breaks off or passes `limit` bytes."""

    def pour(self, sink: Sink) -> None:
        """From now on the body goes to `sink`, beginning with what is already here."""

    def pause(self) -> None:
        """Stops reading: the reader behind the sink is slow."""

    def resume(self) -> None:
        """Reads again."""

    def cut(self, failure: UpstreamFailure) -> None:
        """Ends the body as if the upstream had broken off with this failure."""

    def finish(self) -> None:
        """Gives the connection back to the pool if the answer was taken whole, else closes it. Idempotent."""


class Transport(Protocol):
    """Sends requests upstream."""

    async def send(self, origin: Origin, head: bytes, body: bytes | AsyncIterator[bytes], timeouts: Timeouts) -> Reply:
        """Sends one request and waits for the head of its answer. `head` ends with the blank line.

        Raises UpstreamFailure; cancellation closes the connection.
        """


class Client(Protocol):
    """The client's side of one exchange. Heads are bytes: header lines, each with its line end."""

    def respond(self, status: int, head: bytes, body: bytes) -> None:
        """A whole answer in one write."""

    def begin(self, status: int, head: bytes, length: int | None) -> None:
        """Begins an answer; the head leaves with the first bytes. `length` None: chunked."""

    def write(self, data: bytes, end: bool = False) -> None:
        """The next bytes, and whether they were the last. Never waits: see `pausing`."""

    def hang_up(self) -> None:
        """The connection ends with this answer: no other request is taken on it."""

    def abort(self) -> None:
        """Cuts the connection: the only honest end of an answer whose declared length cannot be kept."""

    def feed_from(self, source: Flow | None) -> None:
        """Whom to pause while this client reads too slowly (None: nobody any more)."""

    @property
    def answered(self) -> bool:
        """Whether an answer was begun."""

    def arrived(self, limit: int) -> bytes | None:
        """The request's whole body, if it is here; None: `body` has to wait for it. Raises Refused (413, 400)."""

    async def body(self, limit: int) -> bytes:
        """The request's whole body. Raises Refused (413, 408, 400)."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The request's body as it arrives, for routes that stream it."""
