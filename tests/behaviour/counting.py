"""A provider that only counts, and counts exactly: an aborted call is over when its connection is closed, whether or
not this program has come to notice it. So before each count it asks the kernel about every call that seems open."""

from __future__ import annotations

import asyncio
import re
import socket
from typing import Any, Self

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_LATENCY = re.compile(rb"latency=(\d+)")
_BODY = (
    b'{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"x"},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30}}'
)
_WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
_LAST = b"data: [DONE]\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Counting:
    """The provider. `most` is the most that was in flight at once, `requests` how many there were."""

    def __init__(self) -> None:
        self.calls: set[_Call] = set()
        self.most = 0
        self.requests = 0
        self.url = ""
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(lambda: _Call(self), "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    @property
    def open(self) -> int:
        """How many are in flight now."""
        return sum(not call.closed() for call in self.calls)

    def reset(self) -> None:
        """Forgets the most."""
        self.most = 0

    def enter(self, call: _Call) -> None:
        """Counts one more."""
        self.requests += 1
        self.calls.add(call)
        if len(self.calls) > self.most:
            self.most = max(self.most, self.open)


class _Call(asyncio.Protocol):
    def __init__(self, provider: Counting) -> None:
        self._provider = provider
        self._data = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        plain = transport.get_extra_info("socket")
        self._socket = socket.socket(fileno=plain.fileno())

    def connection_lost(self, error: Exception | None) -> None:
        self._provider.calls.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self._socket.detach()

    def closed(self) -> bool:
        """Whether the peer has closed or reset the connection."""
        if self.transport.is_closing():
            return True
        try:
            return self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, mark, body = self._data.partition(b"\r\n\r\n")
        found = _LENGTH.search(head)
        if not mark or found is None or len(body) < int(found[1]):
            return
        self._data = b""
        self._provider.enter(self)
        latency = _LATENCY.search(body)
        streamed = b'"stream": true' in body or b'"stream":true' in body
        if streamed:
            self.transport.write(_HEAD + _chunk(_EVENT))
        seconds = int(latency[1]) / 1000 if latency else 0.0
        self._timer = asyncio.get_running_loop().call_later(seconds, self._answer, streamed)

    def _answer(self, streamed: bool) -> None:
        self._provider.calls.discard(self)
        self.transport.write(_chunk(_LAST) + b"0\r\n\r\n" if streamed else _WHOLE)
