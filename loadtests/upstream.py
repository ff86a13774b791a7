"""A provider made of canned bytes: `python -m loadtests.upstream --port P`.

It answers `…/chat/completions` in the OpenAI dialect and `…/messages` in the Anthropic one, whole or streamed, with the
headers and sizes that real providers send, and parses no more of a request than framing, path and the word "stream".

`GET /__set?events=N&gap=S&first=S&burst=K` changes what the next answers look like and resets the counters:
  events  content events of a stream
  gap     seconds between two writes of a stream; 0: as fast as the reader takes them, streams in turns
  first   seconds before an answer starts
  burst   events in one write
`GET /__stats` tells the counters as JSON. The process ends when its standard input does.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import json
import os
import re
import sys
import time
from collections import deque
from typing import cast
from urllib.parse import parse_qsl

import uvloop

from loadtests.clock import Alarm

_FRAMING = re.compile(rb"(?i)\r\n(?:content-length:[ \t]*(\d+)|transfer-encoding:[ \t]*(chunked))")
_EXPECT = re.compile(rb"(?i)\r\nexpect:")
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_USAGE = re.compile(rb'"include_usage"\s*:\s*true')

_TEXT = (
    "Every request passes one door: who asks, what they may use, which provider answers, what it cost. The door must "
    "be quick, because everybody waits at it; it must be honest, because bills are written there; and it must never "
    "mix up two callers.\n\nA stream is a promise made word by word. Dropping one word breaks it, and so does holding "
    "words back until there are enough of them. What a gateway adds — keys, limits, records — should be felt by the "
    "operator, never by the reader of the answer."
)
_WORDS = (
    " the",
    " door",
    " stays",
    " open",
    ",",
    " word",
    " by",
    " word",
    ".\n",
    " \u201cquick\u201d",
    " naïve",
    " 🚪",
)

_OPENAI_HEADERS = (
    "date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    "openai-organization: org-benchmark-000000\r\n"
    "openai-processing-ms: 318\r\n"
    "openai-version: 2020-10-01\r\n"
    "x-ratelimit-limit-requests: 30000\r\n"
    "x-ratelimit-limit-tokens: 150000000\r\n"
    "x-ratelimit-remaining-requests: 29999\r\n"
    "x-ratelimit-remaining-tokens: 149999771\r\n"
    "x-ratelimit-reset-requests: 2ms\r\n"
    "x-ratelimit-reset-tokens: 0s\r\n"
    "x-request-id: req_5f0c1e2d3b4a59687766554433221100\r\n"
    "server: upstream\r\n"
)
_ANTHROPIC_HEADERS = (
    "date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    "anthropic-organization-id: 00000000-0000-4000-8000-000000000000\r\n"
    "anthropic-ratelimit-requests-limit: 4000\r\n"
    "anthropic-ratelimit-requests-remaining: 3999\r\n"
    "anthropic-ratelimit-requests-reset: 2026-01-01T00:00:00Z\r\n"
    "anthropic-ratelimit-tokens-limit: 400000\r\n"
    "anthropic-ratelimit-tokens-remaining: 399000\r\n"
    "anthropic-ratelimit-tokens-reset: 2026-01-01T00:00:00Z\r\n"
    "request-id: req_011CBenchmark000000000000\r\n"
    "server: upstream\r\n"
)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _response(headers: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{headers}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _openai_whole() -> bytes:
    message: dict[str, object] = {"role": "assistant", "content": _TEXT, "refusal": None, "annotations": []}
    body = {
        "id": "chatcmpl-Benchmark0000000000000000000",
        "object": "chat.completion",
        "created": 1767225600,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": _openai_usage(),
        "service_tier": "default",
        "system_fingerprint": "fp_benchmark0",
    }
    return _response(_OPENAI_HEADERS, _json(body).encode())


def _openai_usage() -> dict[str, object]:
    return {
        "prompt_tokens": 201,
        "completion_tokens": 118,
        "total_tokens": 319,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _anthropic_whole() -> bytes:
    body = {
        "id": "msg_01Benchmark00000000000000",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [{"type": "text", "text": _TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 201,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 118,
        },
    }
    return _response(_ANTHROPIC_HEADERS, _json(body).encode())


def _openai_events(count: int, usage: bool) -> list[str]:
    def event(delta: dict[str, object], finish: str | None = None) -> str:
        chunk = {
            "id": "chatcmpl-Benchmark0000000000000000000",
            "object": "chat.completion.chunk",
            "created": 1767225600,
            "model": "gpt-4o-mini-2024-07-18",
            "service_tier": "default",
            "system_fingerprint": "fp_benchmark0",
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        }
        return f"data: {_json(chunk)}\n\n"

    words = [event({"content": word}) for word in _WORDS]
    events = [event({"role": "assistant", "content": ""})]
    events += [words[index % len(words)] for index in range(count)]
    events.append(event({}, "stop"))
    if usage:
        final = {"id": "chatcmpl-Benchmark0000000000000000000", "choices": [], "usage": _openai_usage()}
        events.append(f"data: {_json(final)}\n\n")
    return [*events, "data: [DONE]\n\n"]


def _anthropic_events(count: int) -> list[str]:
    def event(name: str, **fields: object) -> str:
        return f"event: {name}\ndata: {_json({'type': name, **fields})}\n\n"

    message: dict[str, object] = {
        "id": "msg_01Benchmark00000000000000",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 201, "output_tokens": 1},
    }
    words = [event("content_block_delta", index=0, delta={"type": "text_delta", "text": word}) for word in _WORDS]
    start = event("message_start", message=message)
    block = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    ending = {"stop_reason": "end_turn", "stop_sequence": None}
    return [
        start + block,
        *(words[index % len(words)] for index in range(count)),
        event("content_block_stop", index=0) + event("message_delta", delta=ending, usage={"output_tokens": 118}),
        event("message_stop"),
    ]


@functools.lru_cache(maxsize=64)
def _stream(dialect: str, count: int, burst: int, usage: bool) -> tuple[bytes, ...]:
    """The writes of one streamed answer: one HTTP chunk an event, `burst` of them in a write."""
    events = _openai_events(count, usage) if dialect == "openai" else _anthropic_events(count)
    headers = _OPENAI_HEADERS if dialect == "openai" else _ANTHROPIC_HEADERS
    head = (
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
        f"{headers}transfer-encoding: chunked\r\n\r\n"
    ).encode()
    chunks = {event: b"%x\r\n%b\r\n" % (len(event.encode()), event.encode()) for event in events}
    first, rest = chunks[events[0]], [chunks[event] for event in events[1:]]
    groups = [b"".join(rest[at : at + burst]) for at in range(0, len(rest), burst)]
    groups[-1] += b"0\r\n\r\n"
    shared: dict[bytes, bytes] = {}  # equal groups are one object, so a long stream costs pointers
    return (head + first, *(shared.setdefault(group, group) for group in groups))


_WHOLE: dict[str, tuple[bytes, ...]] = {"openai": (_openai_whole(),), "anthropic": (_anthropic_whole(),)}
_NOT_FOUND = (b"HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",)
_ROUTES = ((b"/chat/completions", "openai"), (b"/messages", "anthropic"), (b"/__stats", "stats"), (b"/__set", "set"))


class Pacer:
    """Steps each of its connections once every `gap` seconds; with a gap of 0, in turns and without rest."""

    def __init__(self, loop: asyncio.AbstractEventLoop, gap: float) -> None:
        self.gap = gap
        self._loop = loop
        # Everybody waits equally long, so the queue is in the order of the due times by itself.
        self._queue: deque[tuple[float, Connection]] = deque()
        self._alarm = Alarm(loop, self._ring)

    def add(self, connection: Connection, now: float) -> None:
        self._queue.append((now + self.gap, connection))
        if len(self._queue) == 1:
            self._rest()

    def _rest(self) -> None:
        if self.gap:
            self._alarm.set(self._queue[0][0])
        else:
            self._loop.call_soon(self._ring)

    def _ring(self) -> None:
        queue = self._queue
        now = time.monotonic()
        for _ in range(len(queue)):
            due, connection = queue[0]
            if due > now:
                break
            queue.popleft()
            if connection.step():
                following = connection.pacer
                if following is self:
                    queue.append((due + self.gap, connection))
                else:  # it was the wait before the answer
                    following.add(connection, due)
        if queue:
            self._rest()


class Upstream:
    """The settings, the counters and the pacers that all connections share."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.pacers: dict[float, Pacer] = {}
        self.configure({})

    def configure(self, query: dict[str, str]) -> None:
        self.events = int(query.get("events", 100))
        self.gap = float(query.get("gap", 0))
        self.first = float(query.get("first", 0))
        self.burst = int(query.get("burst", 1))
        self.requests = 0
        self.aborted_at: list[float] = []
        self.active: set[Connection] = set()

    def stats(self) -> bytes:
        figures = {"requests": self.requests, "active": len(self.active), "aborted_at": self.aborted_at}
        return _response("", _json(figures).encode())

    def pacer(self, gap: float) -> Pacer:
        if gap not in self.pacers:
            self.pacers[gap] = Pacer(self.loop, gap)
        return self.pacers[gap]


class Connection(asyncio.Protocol):
    """One connection of a gateway: reads requests, plays the script of the answer."""

    __slots__ = ("_buffer", "_index", "_needed", "_paused", "_script", "_skipped", "_transport", "_upstream", "pacer")

    def __init__(self, upstream: Upstream) -> None:
        self.pacer = upstream.pacer(0)
        self._upstream = upstream
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._needed = 0
        self._script: tuple[bytes, ...] = ()
        self._index = 0
        self._paused = False
        self._skipped = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self in self._upstream.active:
            self._upstream.active.discard(self)
            self._upstream.aborted_at.append(time.monotonic())

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._skipped:
            self._skipped = False
            self.pacer.add(self, time.monotonic())

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        if len(data) < self._needed or self._script:
            self._buffer = data
            return
        self._buffer = b""
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            self._buffer, self._needed = data, 0
            return
        head = data[: end - 2]
        framing = _FRAMING.search(head)
        stop = end
        body: bytes | None = b""
        if framing and framing[1]:
            stop = end + int(framing[1])
            body = data[end:stop] if len(data) >= stop else None
        elif framing:
            stop = data.find(b"0\r\n\r\n", end) + 5  # only searched for a word, so the chunks may stay in it
            body = data[end:stop] if stop >= end + 5 else None
        if body is None:
            if not self._needed and _EXPECT.search(head) and self._transport:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._buffer, self._needed = data, max(stop, 1)
            return
        self._buffer, self._needed = data[stop:], 0
        self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        upstream = self._upstream
        path, _, query = head.split(b" ", 2)[1].partition(b"?")
        route = next((name for suffix, name in _ROUTES if path.endswith(suffix)), None)
        if route in _WHOLE:
            upstream.requests += 1
            script = _WHOLE[route]
            if _STREAM.search(body):
                script = _stream(route, upstream.events, upstream.burst, _USAGE.search(body) is not None)
            return self._play(script, upstream.first)
        if route == "set":
            upstream.configure(dict(parse_qsl(query.decode())))
        return self._play((upstream.stats(),) if route else _NOT_FOUND, 0)

    def _play(self, script: tuple[bytes, ...], wait: float) -> None:
        upstream = self._upstream
        self._script, self._index, self.pacer = script, 0, upstream.pacer(upstream.gap)
        if wait or self.step():
            upstream.active.add(self)
            pacer = upstream.pacer(wait) if wait else self.pacer
            pacer.add(self, time.monotonic())

    def step(self) -> bool:
        """Write the next piece; true while there is more to come in its turn."""
        transport = self._transport
        if transport is None:
            return False
        if self._paused:  # the reader is behind: on once it has caught up
            self._skipped = True
            return False
        transport.write(self._script[self._index])
        self._index += 1
        if self._index < len(self._script):
            return True
        self._script = ()
        self._upstream.active.discard(self)
        if self._buffer:
            self._upstream.loop.call_soon(self.data_received, b"")
        return False


async def serve(port: int) -> None:
    """Serve on loopback until standard input ends."""
    loop = asyncio.get_running_loop()
    upstream = Upstream(loop)
    await loop.create_server(lambda: Connection(upstream), "127.0.0.1", port, backlog=4096)
    gone = asyncio.Event()

    def listen() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            gone.set()

    loop.add_reader(sys.stdin.fileno(), listen)
    gc.freeze()
    gc.disable()  # nothing here makes cycles, and a collection would show as a gap of the gateway
    await gone.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="A provider made of canned bytes.")
    parser.add_argument("--port", type=int, default=9090)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
