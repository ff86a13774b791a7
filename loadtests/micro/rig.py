"""A gateway whose sockets are objects: the client's and the provider's transports are faked, all between is real.

One request is one `Rig.chat()`: bytes into the door, bytes out of the upstream connection, the canned answer into it,
bytes out of the door. The event loop turns as often as it would with sockets.
"""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adapters.framing.eventstream import frame
from proxy.app import Gateway
from proxy.config.file import FileConfig, load
from proxy.ports import BudgetRow, Rows
from proxy.server import Door
from proxy.transport.upstream import Upstream
from proxy.turns import Turns

TOKEN = "lw-bench-0123456789abcdef0123456789"
CONFIG = f"""
virtual_keys:
  - {{slug: openai, provider: openai, key: sk-mock, custom_host: "http://127.0.0.1:9/v1",
      limits: {{concurrency: 8192}}}}
  - {{slug: anthropic, provider: anthropic, key: sk-mock, custom_host: "http://127.0.0.1:9/v1"}}
  - {{slug: bedrock, provider: bedrock, aws_access_key_id: AKID, aws_secret_access_key: mock,
      custom_host: "http://127.0.0.1:9"}}
  - {{slug: google, provider: google, key: sk-mock, custom_host: "http://127.0.0.1:9"}}
api_keys:
  - {{name: bench, key: {TOKEN}, scopes: [inference], limits: {{concurrency: 8192}}}}
configs:
  - slug: pc-single
    config: {{virtual_key: openai}}
  - slug: pc-fallback
    config: {{strategy: {{mode: fallback}}, targets: [{{virtual_key: openai}}, {{virtual_key: anthropic}}]}}
  - slug: pc-breaker
    config: {{strategy: {{mode: fallback, cb_config: {{failure_threshold: 5}}}}, retry: {{attempts: 2}},
             targets: [{{virtual_key: openai}}, {{virtual_key: anthropic}}]}}
  - slug: pc-conditional
    config: {{strategy: {{mode: conditional, default: b, conditions: [
               {{query: {{url.pathname: {{$regex: completions$}}}}, then: a}}]}},
             targets: [{{name: a, virtual_key: openai}}, {{name: b, virtual_key: anthropic}}]}}
  - slug: pc-cached
    config: {{virtual_key: openai, cache: {{mode: simple}}}}
logs: {{access: false}}
"""
INLINE = json.dumps(
    {
        "strategy": {"mode": "fallback", "on_status_codes": [429, 500, 502, 503, 504, 529]},
        "targets": [{"virtual_key": "openai", "name": f"target-{n}-{'x' * 220}", "weight": 1} for n in range(7)],
    }
)
"""A config of two kilobytes, as a request brings it."""
PROSE = "A gateway sits between a client and one or more model providers. It must not lose a chunk. " * 9
USAGE = {
    "openai": {"prompt_tokens": 187, "completion_tokens": 92, "total_tokens": 279},
    "anthropic": {"input_tokens": 187, "output_tokens": 92},
}
_COMMON = (
    "date: Mon, 01 Jan 2024 00:00:00 GMT\r\nopenai-organization: org-mock\r\nopenai-processing-ms: 412\r\n"
    "openai-version: 2020-10-01\r\nx-ratelimit-limit-requests: 10000\r\nx-ratelimit-limit-tokens: 2000000\r\n"
    "x-ratelimit-remaining-requests: 9999\r\nx-ratelimit-remaining-tokens: 1999978\r\n"
    "x-ratelimit-reset-requests: 6ms\r\nx-ratelimit-reset-tokens: 0s\r\nx-request-id: req_0123456789abcdef\r\n"
    "server: mock\r\n"
)


def request(slug: str, model: str, *, stream: bool = False, size: int = 800, config: str | None = None) -> bytes:
    """A chat request as an SDK sends it, head and body; with `config` in the place of a virtual key."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": (PROSE * (size // len(PROSE) + 1))[:size]},
        ],
        "temperature": 0.7,
        "max_tokens": 512,
    }
    if stream:
        body["stream"] = True
    raw = json.dumps(body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:8787\r\ncontent-type: application/json\r\n"
        f"x-portkey-api-key: {TOKEN}\r\ncontent-length: {len(raw)}\r\n"
    )
    where = f"x-portkey-virtual-key: {slug}" if config is None else f"x-portkey-config: {config}"
    return f"{head}{where}\r\n\r\n".encode() + raw


def gemini_request(slug: str, model: str) -> bytes:
    """A streamed request of a Gemini client, head and body."""
    raw = json.dumps({"contents": [{"role": "user", "parts": [{"text": PROSE}]}]}).encode()
    head = (
        f"POST /v1beta/models/@{slug}/{model}:streamGenerateContent?alt=sse HTTP/1.1\r\nhost: 127.0.0.1:8787\r\n"
        f"content-type: application/json\r\nx-goog-api-key: {TOKEN}\r\ncontent-length: {len(raw)}\r\n\r\n"
    )
    return head.encode() + raw


def answer(dialect: str) -> bytes:
    """A provider's whole answer."""
    if dialect == "openai":
        message = {"role": "assistant", "content": PROSE, "refusal": None, "annotations": []}
        choices = [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]
        body = {"id": "chatcmpl-0", "object": "chat.completion", "created": 1704067200, "model": "gpt-4o-mini"}
        raw = json.dumps({**body, "choices": choices, "usage": USAGE[dialect]}).encode()
    else:
        raw = json.dumps(
            {
                "id": "msg_0",
                "type": "message",
                "role": "assistant",
                "model": "claude-3-5-sonnet",
                "content": [{"type": "text", "text": PROSE}],
                "stop_reason": "end_turn",
                "stop_sequence": None,
                "usage": USAGE[dialect],
            }
        ).encode()
    return (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{_COMMON}content-length: {len(raw)}\r\n\r\n".encode()
        + raw
    )


def chunk(data: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def stream_parts(dialect: str) -> tuple[bytes, bytes, bytes]:
    """Head with the first events up to some text, one text event, and the end of a streamed answer."""
    kind = "application/vnd.amazon.eventstream" if dialect == "bedrock" else "text/event-stream"
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{_COMMON}transfer-encoding: chunked\r\n\r\n".encode()
    if dialect == "bedrock":
        delta = frame("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":" gateway"},"p":"abcdefghijklm"}')
        end = frame("messageStop", b'{"stopReason":"end_turn"}')
        end += frame("metadata", b'{"usage":{"inputTokens":187,"outputTokens":92,"totalTokens":279}}')
        begun = frame("messageStart", b'{"role":"assistant"}')
        return head + chunk(begun), chunk(delta), chunk(end) + b"0\r\n\r\n"
    if dialect == "openai":
        base = (
            '{"id":"chatcmpl-0","object":"chat.completion.chunk","created":1704067200,"model":"gpt-4o-mini","choices":'
        )
        first = f'data: {base}[{{"index":0,"delta":{{"role":"assistant","content":""}},"finish_reason":null}}]}}\n\n'
        text = (
            f'data: {base}[{{"index":0,"delta":{{"content":" gateway"}},"logprobs":null,"finish_reason":null}}]}}\n\n'
        )
        last = f'data: {base}[{{"index":0,"delta":{{}},"finish_reason":"stop"}}]}}\n\ndata: [DONE]\n\n'
    elif dialect == "google":
        usage = '"usageMetadata":{"promptTokenCount":187,"candidatesTokenCount":92,"totalTokenCount":279}'
        base = f'{usage},"modelVersion":"gemini-2.5-flash","responseId":"resp-0","candidates":[{{"index":0,"content":'
        first = text = f'data: {{{base}{{"parts":[{{"text":" gateway"}}],"role":"model"}}}}]}}\r\n\r\n'
        last = f'data: {{{base}{{"parts":[{{"text":""}}],"role":"model"}},"finishReason":"STOP"}}]}}\r\n\r\n'
    else:
        start = '{"type":"message_start","message":{"id":"msg_0","type":"message","role":"assistant","content":[],'
        start += '"model":"claude-3-5-sonnet","stop_reason":null,"usage":{"input_tokens":187,"output_tokens":1}}}'
        first = f"event: message_start\ndata: {start}\n\n"
        first += (
            'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
            '"content_block":{"type":"text","text":""}}\n\n'
        )
        text = (
            'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
            '"delta":{"type":"text_delta","text":" gateway"}}\n\n'
        )
        last = 'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
        last += (
            'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
            '"usage":{"output_tokens":92}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
        )
    return (
        head + chunk(first.encode()) + chunk(text.encode()),
        chunk(text.encode()),
        chunk(last.encode()) + b"0\r\n\r\n",
    )


class FakeSocket:
    """An asyncio transport that keeps what is written and tells `heard` about it."""

    def __init__(self, heard: Callable[[], None]) -> None:
        self.written: list[bytes] = []
        self._heard = heard
        self._closing = False
        self.protocol: asyncio.Protocol | None = None
        # What the pool asks whether anything waits to be read: a real socket on which nothing ever does.
        self._quiet, self._far = socket.socketpair()

    def write(self, data: bytes) -> None:
        self.written.append(data)
        self._heard()

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._quiet if name == "socket" else default

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing and self.protocol is not None:
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)
        self._closing = True
        self._quiet.close()
        self._far.close()

    abort = close

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class _NoStore:
    """A store with nothing in it: the rig's configuration is its file."""

    async def seq(self) -> int:
        return 0

    async def rows(self) -> Rows:
        return Rows()

    async def append_usage(self, rows: list[tuple[object, ...]]) -> None: ...

    async def load_budgets(self) -> list[BudgetRow]:
        return []

    async def save_budgets(self, rows: list[BudgetRow]) -> None: ...

    async def close(self) -> None: ...


class Rig:
    """One gateway, one client connection, one upstream connection for each virtual key."""

    def __init__(self, gateway: Gateway, folder: tempfile.TemporaryDirectory[str]) -> None:
        self.gateway = gateway
        self._folder = folder
        self.loop = asyncio.get_running_loop()
        self._script: list[bytes] = []
        self._answered: asyncio.Future[None] | None = None
        self.wanted = 1
        self.down = FakeSocket(self._on_answer)
        self.door = Door(gateway.edge, self.loop)
        self.door.connection_made(self.down)  # type: ignore[arg-type]
        self.upstream: Upstream | None = None
        self._ups: list[FakeSocket] = []
        for target in gateway.live.snapshot.targets.values():
            self._connect(target.origin)

    @classmethod
    async def start(cls, config: str = CONFIG) -> Rig:
        """Assembles the gateway from its configuration text."""
        folder = tempfile.TemporaryDirectory()
        path = Path(folder.name) / "loopway.yaml"
        path.write_text(config)
        file: FileConfig = load(path, {})
        store: Any = _NoStore()
        gateway = Gateway(file, None, lambda: file, store, path.parent, (), asyncio.get_running_loop())
        await gateway.live.apply()
        return cls(gateway, folder)

    def _connect(self, origin: Any) -> None:
        transport = self.gateway.transport
        pool, _, key = transport.prepare(origin)
        upstream = Upstream(Turns(self.loop))
        upstream.pool, upstream.key = pool, key
        sock = FakeSocket(lambda: self._on_request(upstream))
        sock.protocol = upstream
        self._ups.append(sock)
        upstream.connection_made(sock)  # type: ignore[arg-type]
        pool._acquired.add(upstream)
        pool.give(key, upstream)

    def _on_request(self, upstream: Upstream) -> None:
        self.upstream = upstream
        if self._script:
            self.loop.call_soon(self._feed, self._script.pop(0))

    def _feed(self, data: bytes) -> None:
        assert self.upstream is not None
        self.upstream.data_received(data)

    def feed(self, data: bytes) -> None:
        """Bytes from the provider, now."""
        self._feed(data)

    def _on_answer(self) -> None:
        if self._answered is not None and not self._answered.done() and len(self.down.written) >= self.wanted:
            self._answered.set_result(None)

    async def exchange(self, request: bytes, reply: bytes, *, keep: bool = False) -> bytes:
        """One whole request and answer; returns what the client got. `keep`: the ledger gets what it comes to."""
        for sock in (self.down, *self._ups):
            sock.written.clear()
        self._script = [reply]
        self._answered = self.loop.create_future()
        self.door.data_received(request)
        await self._answered
        await asyncio.sleep(0)
        if not keep:
            self.gateway.ledger._ended.clear()
        return b"".join(self.down.written)

    async def stop(self) -> None:
        """Closes what was opened."""
        self.door.connection_lost(None)
        self.down.close()
        await asyncio.sleep(0)
        self.gateway.edge._sweeper.cancel()
        await self.gateway.transport.close()
        self._folder.cleanup()
