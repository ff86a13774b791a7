"""What went in and out, kept for the log where `logs.bodies` says so; bounded, redacted, encrypted, and for a while.

A `Recorder` stands between the pipeline and the client's connection and copies what passes, up to a size. Where bodies
are not kept there is none, and nothing is copied.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterator, Sequence

from proxy.seams import Client, Flow
from proxy.store.logs import BODIES, Body
from proxy.vault import Vault

_WAITING = 1000
HIDDEN = "[redacted]"
_WINDOW, _OVERLAP = 1024, 256  # characters; what is no longer than the overlap lies whole in one window


class Through:
    """A client that passes everything on. Implements `proxy.seams.Client`."""

    __slots__ = ("_client",)

    def __init__(self, client: Client) -> None:
        self._client = client

    def respond(self, status: int, head: bytes, body: bytes) -> None:
        """A whole answer."""
        self._client.respond(status, head, body)

    def begin(self, status: int, head: bytes, length: int | None) -> None:
        """Begins an answer."""
        self._client.begin(status, head, length)

    def write(self, data: bytes, end: bool = False) -> None:
        """The next bytes."""
        self._client.write(data, end)

    def hang_up(self) -> None:
        """The connection ends with this answer."""
        self._client.hang_up()

    def abort(self) -> None:
        """Cuts the connection."""
        self._client.abort()

    def feed_from(self, source: Flow | None) -> None:
        """Whom to pause."""
        self._client.feed_from(source)

    @property
    def answered(self) -> bool:
        """Whether an answer was begun."""
        return self._client.answered

    def arrived(self, limit: int) -> bytes | None:
        """The request's whole body, if it is here."""
        return self._client.arrived(limit)

    async def body(self, limit: int) -> bytes:
        """The request's whole body."""
        return await self._client.body(limit)

    def chunks(self) -> AsyncIterator[bytes]:
        """The request's body as it arrives."""
        return self._client.chunks()


class Recorder(Through):
    """A client that copies."""

    __slots__ = ("_limit", "request", "response")

    def __init__(self, client: Client, limit: int) -> None:
        super().__init__(client)
        self._limit = limit
        self.request = b""
        self.response = bytearray()

    def respond(self, status: int, head: bytes, body: bytes) -> None:
        """A whole answer."""
        self._copy(body)
        self._client.respond(status, head, body)

    def write(self, data: bytes, end: bool = False) -> None:
        """The next bytes."""
        self._copy(data)
        self._client.write(data, end)

    def _copy(self, data: bytes) -> None:
        room = self._limit - len(self.response)
        if room > 0:
            self.response += data[:room]

    def arrived(self, limit: int) -> bytes | None:
        """The request's whole body, if it is here."""
        whole = self._client.arrived(limit)
        if whole is not None:
            self.request = whole[: self._limit]
        return whole

    async def body(self, limit: int) -> bytes:
        """The request's whole body."""
        whole = await self._client.body(limit)
        self.request = whole[: self._limit]
        return whole

    async def chunks(self) -> AsyncIterator[bytes]:
        """The request's body as it arrives."""
        async for part in self._client.chunks():
            if len(self.request) < self._limit:
                self.request = (self.request + part)[: self._limit]
            yield part


class Bodies:
    """Bodies of one worker on their way to the store; `dropped` counts those that did not fit."""

    def __init__(self, vault: Vault, redact: Sequence[str]) -> None:
        self._vault = vault
        self._redact = tuple(re.compile(pattern) for pattern in redact)
        self._waiting: deque[tuple[str, int, Recorder]] = deque(maxlen=_WAITING)
        self.dropped = 0

    def put(self, request_id: str, at: float, recorder: Recorder) -> None:
        """Takes what was copied. Never waits, never fails."""
        if len(self._waiting) == _WAITING:
            self.dropped += 1
        self._waiting.append((request_id, int(at * 1000), recorder))

    def take(self, most: int = 100) -> list[Body]:
        """The next bodies, redacted and sealed. Not on the event loop's thread: patterns may be slow."""
        out: list[Body] = []
        while self._waiting and len(out) < most:
            request_id, at, recorder = self._waiting.popleft()
            out.append(
                (
                    request_id,
                    at,
                    self._sealed(request_id, "request", recorder.request),
                    self._sealed(request_id, "response", bytes(recorder.response)),
                )
            )
        return out

    @property
    def waiting(self) -> bool:
        """Whether there are any."""
        return bool(self._waiting)

    def _sealed(self, request_id: str, column: str, data: bytes) -> str:
        text = data.decode("utf-8", "replace")
        for pattern in self._redact:
            text = redacted(pattern, text)
        return self._vault.seal(text, table=BODIES, row=request_id, column=column)


def redacted(pattern: re.Pattern[str], text: str) -> str:
    """A text without what a pattern matches. It is tried on one window of the text after the other: `re` holds the
    interpreter as long as it searches, and that may be the square of what it searches in."""
    spans = sorted(
        match.span()
        for start in range(0, max(1, len(text) - _OVERLAP), _WINDOW - _OVERLAP)
        for match in pattern.finditer(text, start, start + _WINDOW)
        if match.end() > match.start()
    )
    parts: list[str] = []
    at = 0
    for start, end in spans:
        if start >= at:
            parts += (text[at:start], HIDDEN)
        at = max(at, end)
    return "".join((*parts, text[at:]))


def opened(vault: Vault, request_id: str, row: dict[str, str], column: str) -> str:
    """What was kept, in clear. Raises StoreError where the master key is another one now."""
    return vault.unseal(row[column], table=BODIES, row=request_id, column=column)
