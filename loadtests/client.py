"""The load client: `python -m loadtests.client`, driven over its standard streams.

In: one line of JSON (a `Plan`), later the line `stop`. Out: `OPEN` when the measured window opens, `CLOSE` when it
closes (the load goes on, so that whoever measures can read the counters), and after `stop`, when every connection has
been cut, one line of JSON with the figures.

Closed loop: each connection keeps one request in flight. Open loop (`rate`): requests start on a timetable,
whatever the answers do, and every time counts from the planned start, so a stall is charged to all the requests it held
up.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, cast

import uvloop

from loadtests.clock import Alarm

_FRAMING = re.compile(rb"(?i)\r\n(?:content-length:[ \t]*(\d+)|transfer-encoding:[ \t]*(chunked))")
_CLOSE = re.compile(rb"(?i)\r\nconnection:[ \t]*close")
_EVENT = b"\ndata:"
_TAIL = 24  # bytes of a stream kept from read to read: an event's start and the end marker fit in
_UNTIL_EOF = -1
_PAUSE_AFTER_ERROR = 0.05
_GOLDEN = 0.6180339887498949
_MARKS = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999))


@dataclass(frozen=True)
class Plan:
    """What to ask, how often and for how long. Times are seconds; a `rate` of 0 means a closed loop."""

    port: int
    path: str
    headers: tuple[str, ...]
    body: str
    connections: int
    seconds: float
    warm: float = 0.5
    ramp: float = 0.0
    rate: float = 0.0
    timeout: float = 30.0
    stream: bool = False
    end: str = "[DONE]"
    gap: float = 0.0

    def request(self) -> bytes:
        """The bytes of one request."""
        body = self.body.encode()
        lines = (
            f"POST {self.path} HTTP/1.1",
            f"host: 127.0.0.1:{self.port}",
            "accept: */*",
            "content-type: application/json",
            *self.headers,
            f"content-length: {len(body)}",
        )
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    def starts(self, begin: float) -> Iterator[float]:
        """When requests (open loop) or connections (closed loop) are due to start."""
        if self.rate:
            at = 0
            while True:
                yield begin + at / self.rate
                at += 1
        for at in range(self.connections):
            # The second term keeps streams of one pace from marching in step.
            yield begin + self.ramp * at / self.connections + (at * _GOLDEN % 1.0) * min(self.gap, 1.0)


class Exchange(asyncio.Protocol):
    """One connection of the client and the request that is in flight on it."""

    __slots__ = (
        "_buffer",
        "_closing",
        "_fresh",
        "_left",
        "_load",
        "_received",
        "_status",
        "_tail",
        "_transport",
        "busy",
        "events",
        "first",
        "last",
        "planned",
    )

    def __init__(self, load: Load) -> None:
        self._load = load
        self._transport: asyncio.Transport | None = None
        self.busy = False
        self._clear(0.0)

    def _clear(self, planned: float) -> None:
        self.planned = planned
        self.first = 0.0
        self.last = planned
        self.events = 0
        self._status = 0
        self._left: int | None = None  # None: chunked
        self._buffer = b""
        self._tail = b"\n"
        self._received = False
        self._closing = False

    def start(self, planned: float) -> None:
        """Send the request; `planned` is the time that its figures count from."""
        self._clear(planned)
        self.busy = True
        if self._transport is None:
            self._fresh = True
            self._load.connect(self)
        else:
            self._fresh = False
            self._transport.write(self._load.request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._load.request)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.busy or self._load.stopped:
            if self._closing:
                self._closing = False
                self._load.release(self, time.monotonic())
        elif self._left == _UNTIL_EOF and self._status:
            self._complete(time.monotonic())
        elif not self._fresh and not self._received:
            self.start(self.planned)  # an idle connection closed as we wrote: no answer was lost
        else:
            self._load.failed(self, "cut")

    def abort(self) -> None:
        """Leave: close the connection, whatever is on it."""
        self._closing = False
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if not self.busy:
            self._load.errors["unasked bytes"] += 1
            self.abort()
            return
        self._received = True
        if self._status:
            ended = self._body(data, now)
        else:
            data = self._buffer + data if self._buffer else data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._buffer = data
                return
            self._buffer = b""
            self._head(data[: end + 2])
            ended = self._body(data[end + 4 :], now)
        if ended:
            self._complete(now)

    def _head(self, head: bytes) -> None:
        self._status = int(head[9:12])
        framing = _FRAMING.search(head)
        self._left = _UNTIL_EOF if framing is None else int(framing[1]) if framing[1] else None
        self._closing = _CLOSE.search(head) is not None

    def _body(self, data: bytes, now: float) -> bool:
        """Take in what arrived; true at the end of the answer."""
        ended = False
        if self._left is None:
            data, ended = self._unchunk(data)
        elif self._left != _UNTIL_EOF:
            self._left -= len(data)
            ended = self._left <= 0
        if self._load.plan.stream:
            if data:
                self._count(data, now)
        elif not self.first:
            self.first = now
        return ended

    def _unchunk(self, data: bytes) -> tuple[bytes, bool]:
        # `_buffer` holds an incomplete size line, or b"+<n>": so many bytes of the chunk and its CRLF are to come.
        left = 0
        if self._buffer.startswith(b"+"):
            left = int(self._buffer)
        else:
            data = self._buffer + data
        self._buffer = b""
        pieces: list[bytes] = []
        at, size = 0, len(data)
        while True:
            if left:
                stop = at + left
                if stop > size:
                    pieces.append(data[at : max(at, min(size, stop - 2))])
                    self._buffer = b"+%d" % (stop - size)
                    return b"".join(pieces), False
                pieces.append(data[at : max(at, stop - 2)])
                at = stop
            eol = data.find(b"\r\n", at)
            if eol < 0:
                self._buffer = data[at:]
                return b"".join(pieces), False
            length = int(data[at:eol].partition(b";")[0], 16)
            if not length:
                if data.find(b"\r\n\r\n", eol) < 0:
                    self._buffer = data[at:]
                    return b"".join(pieces), False
                return b"".join(pieces), True
            at = eol + 2
            left = length + 2

    def _count(self, data: bytes, now: float) -> None:
        load = self._load
        seen = len(self._tail)
        data = self._tail + data
        found = data.count(_EVENT, max(0, seen - len(_EVENT) + 1))
        self._tail = data[-_TAIL:]
        if not found:
            return
        self.events += found
        if load.opens <= now < load.closes:
            load.events += found
            load.reads += 1
            if self.first:
                load.gaps.append(now - self.last)
            else:
                load.firsts.append(now - self.planned)
        if not self.first:
            self.first = now
        self.last = now

    def _complete(self, now: float) -> None:
        self.busy = False
        load = self._load
        if self._status != 200:
            load.failed(self, f"status {self._status}")
        elif load.plan.stream and load.end not in self._tail:
            load.failed(self, "unfinished")
        else:
            load.completed(now - self.planned, now)
            if self._closing and self._transport is not None:
                self._transport.abort()  # the gateway asked for it; the next request starts when that is done
            else:
                load.release(self, now)


class Load:
    """The client: starts the exchanges, counts what falls in the window."""

    def __init__(self, plan: Plan, loop: asyncio.AbstractEventLoop) -> None:
        self.plan = plan
        self.request = plan.request()
        self.end = plan.end.encode()
        self.loop = loop
        self.stopped = False
        self.latencies, self.firsts, self.gaps = array("d"), array("d"), array("d")
        self.done = self.events = self.reads = self.late = 0
        self.errors: Counter[str] = Counter()
        self.opens = self.closes = self.left_at = 0.0
        self.live = 0
        self._exchanges = [Exchange(self) for _ in range(plan.connections)]
        self._free = deque(self._exchanges)
        self._backlog: deque[float] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._window: list[tuple[float, str]] = []
        self._starts: Iterator[float] = iter(())
        self._next: float | None = None
        self._alarm = Alarm(loop, self._ring)

    def begin(self) -> None:
        """Start the timetable: first request now, the window after the warm-up."""
        now = time.monotonic()
        self.opens = now + self.plan.warm
        self.closes = self.opens + self.plan.seconds
        self._window = [(self.opens, "OPEN"), (self.closes, "CLOSE")]
        self._starts = self.plan.starts(now)
        self._next = next(self._starts)
        self.loop.call_later(0.25, self._sweep)
        self._ring()

    def _ring(self) -> None:
        now = time.monotonic()
        while self._next is not None and self._next <= now and not self.stopped:
            due, self._next = self._next, next(self._starts, None)
            if not self._free:
                self.late += 1
                self._backlog.append(due)
            else:
                self._free.popleft().start(due)
        while self._window and self._window[0][0] <= now:
            mark = self._window.pop(0)[1]
            if mark == "CLOSE":
                recent = now - max(1.0, 2 * self.plan.gap)
                self.live = sum(
                    exchange.busy and exchange.first > 0 and exchange.last > recent for exchange in self._exchanges
                )
            print(mark, flush=True)
        upcoming = [at for at in (self._next, self._window[0][0] if self._window else None) if at is not None]
        if upcoming and not self.stopped:
            self._alarm.set(min(upcoming))

    def _sweep(self) -> None:
        late = time.monotonic() - self.plan.timeout
        for exchange in self._exchanges:
            if exchange.busy and exchange.last < late:
                exchange.busy = False
                self.failed(exchange, "timeout")
        if not self.stopped:
            self.loop.call_later(0.25, self._sweep)

    def connect(self, exchange: Exchange) -> None:
        """Open a connection for `exchange`."""
        task = self.loop.create_task(self._connect(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, exchange: Exchange) -> None:
        try:
            await self.loop.create_connection(lambda: exchange, "127.0.0.1", self.plan.port)
        except OSError:
            self.failed(exchange, "connect")

    def completed(self, took: float, now: float) -> None:
        """A whole answer arrived after `took` seconds."""
        if self.opens <= now < self.closes:
            self.done += 1
            self.latencies.append(took)

    def failed(self, exchange: Exchange, kind: str) -> None:
        """The request failed; errors count in the warm-up too, a round with any is not a clean one."""
        exchange.busy = False
        if self.stopped:
            return
        self.errors[kind] += 1
        exchange.abort()
        # A gateway that is down is not hammered.
        self.loop.call_later(_PAUSE_AFTER_ERROR, lambda: self.release(exchange, time.monotonic()))

    def release(self, exchange: Exchange, now: float) -> None:
        """A connection is free: give it its next request."""
        if self.stopped:
            return
        if not self.plan.rate:
            exchange.start(now)
        elif self._backlog:
            exchange.start(self._backlog.popleft())
        else:
            self._free.append(exchange)

    def stop(self) -> None:
        """Cut every connection."""
        self.stopped = True
        self.left_at = time.monotonic()
        for exchange in self._exchanges:
            exchange.abort()

    def figures(self) -> dict[str, Any]:
        """Counts of the window, and times in milliseconds."""
        return {
            "done": self.done,
            "events": self.events,
            "reads": self.reads,
            "late": self.late,
            "live": self.live,
            "left_at": self.left_at,
            "errors": dict(self.errors),
            "latency_ms": quantiles(self.latencies),
            "ttfc_ms": quantiles(self.firsts),
            "gap_ms": quantiles(self.gaps),
        }


def quantiles(seconds: array[float]) -> dict[str, float]:
    """p50, p90, p99, p99.9 and the maximum, in milliseconds; empty without samples."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    last = len(ordered) - 1
    marks = {name: ordered[min(last, int(share * len(ordered)))] * 1e3 for name, share in _MARKS}
    return {**marks, "max": ordered[-1] * 1e3}


def encode(plan: Plan) -> str:
    """A plan as the line that this program reads."""
    return json.dumps(asdict(plan)) + "\n"


async def drive() -> None:
    """Read the plan, load until told to stop, print the figures."""
    loop = asyncio.get_running_loop()
    plan = json.loads(sys.stdin.readline())
    load = Load(Plan(**{**plan, "headers": tuple(plan["headers"])}), loop)
    told = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), told.set)
    gc.freeze()
    gc.disable()
    load.begin()
    await told.wait()
    load.stop()
    await asyncio.sleep(0.01)
    print(json.dumps(load.figures()), flush=True)


if __name__ == "__main__":
    uvloop.run(drive())
