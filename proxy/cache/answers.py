"""What the forwarder asks instead of a target, where a config says `cache`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, NamedTuple

from adapters.replay import FORMS
from adapters.types import Dialect
from adapters.unsaid import apart
from proxy import outbound
from proxy.cache.entry import Entry
from proxy.cache.flight import Deliver, Flight, Try, Whole, answer_lines
from proxy.cache.key import digest, key_of
from proxy.cache.memory import Memory
from proxy.cache.peers import Link, Message, Peers, entry_of, packed
from proxy.config.leaf import Leaf
from proxy.config.nodes import MAX_AGE
from proxy.exchange import Exchange
from proxy.outcome import JSON, Outcome, lost_in, unsaid_line

if TYPE_CHECKING:
    from proxy.cache.shared import Shared
    from proxy.redis_link import RedisLink

_FLIGHT_LIMIT = 8 << 20
_EVENTS = b"content-type: text/event-stream\r\n"
_MAX_AGE = re.compile(rb"(?:^|[,\s])max-age\s*=\s*\"?(\d{1,10})", re.IGNORECASE)
_STATUS = {name: b"x-portkey-cache-status: %b\r\n" % name.encode() for name in ("HIT", "MISS", "REFRESH", "DISABLED")}


class _Asked(NamedTuple):
    """What is looked for: the name of its call, the key of its answer, how old that may be (in seconds), and whether it
    must be a new one."""

    name: bytes
    key: bytes
    max_age: int
    refresh: bool


class AnswerCache:
    """One per worker. `stored` counts answers kept, `joined` the askers who were served by another one's call."""

    def __init__(
        self,
        max_size: int,
        max_age: float,
        loop: asyncio.AbstractEventLoop,
        link: RedisLink | None = None,
        now: Callable[[], float] = time,
        run_dir: Path | None = None,
        patience: float | None = None,
    ) -> None:
        """`max_size` in bytes, `max_age` in seconds; with a `link` answers are kept in Redis as well. `now` gives Unix
        time. `run_dir` is where the workers of this host find one another; `patience` are the seconds that another
        worker's call may say nothing, however long its own limits are."""
        self.memory = Memory(max_size)
        self.shared = None if link is None else _shared(link, self.memory.largest)
        self.peers = None if run_dir is None else Peers(run_dir, self.memory)
        self.stored = 0
        self.joined = 0
        self._patience = patience
        self._max_age = int(max_age)
        self._loop = loop
        self._now = now
        self._flights: dict[bytes, Flight] = {}

    @property
    def flying(self) -> int:
        """How many calls others may join now."""
        return len(self._flights)

    async def outcome(self, x: Exchange, leaf: Leaf, attempt: Try, deliver: Deliver) -> Outcome:
        """What this leaf answers: a kept answer, or that of a call. Raises Refused as the leaf itself does.

        Whether key and target may be used is asked first, for kept answers too.
        """
        x.leaf = leaf
        key, body = None, b""
        if _may_keep(x):
            model = outbound.admit(x, leaf)
            body = outbound.body_for(x, leaf, model)
            key = key_of(x, leaf, model, body)
        if key is None:
            return _marked(x, await attempt(x), "DISABLED")
        max_age = self._age(x, leaf)
        refresh = x.headers.get(b"x-portkey-cache-force-refresh") == b"true"
        if refresh:
            self.memory.drop(key)
        else:
            now = self._now()
            entry = self.memory.get(key, now)
            if entry is not None and entry.fresh(now, max_age):
                return _marked(x, _hit(x, leaf, entry, now), "HIT")
        asked = _Asked(_name(x, key, body, refresh=refresh), key, max_age, refresh)
        flight, joins = self._flight(asked.name, leaf)
        if joins:
            self.joined += 1
        else:
            flight.start(self._fly(flight, asked, x, leaf, attempt, deliver))
        outcome = await flight.join(x)
        return _marked(x, outcome, "REFRESH" if refresh else x.cache or "MISS")

    def look(self, x: Exchange, leaf: Leaf) -> str:
        """What a request would find in this worker: HIT, MISS or DISABLED. Changes nothing."""
        model = outbound.admit(x, leaf)
        key = key_of(x, leaf, model, outbound.body_for(x, leaf, model)) if _may_keep(x) else None
        if key is None:
            return "DISABLED"
        entry = self.memory.peek(key)
        return "HIT" if entry is not None and entry.fresh(self._now(), self._age(x, leaf)) else "MISS"

    async def start(self) -> None:
        """Gets in touch with the other workers of this host."""
        if self.peers is not None:
            await self.peers.start()
        if self.shared is not None:
            self.shared.listen(self.memory.drop)

    async def close(self) -> None:
        """Leaves the other workers, and writes what is still on its way to Redis."""
        if self.peers is not None:
            await self.peers.close()
        if self.shared is not None:
            await self.shared.settle()

    def _flight(self, name: bytes, leaf: Leaf) -> tuple[Flight, bool]:
        """The call of this name, and whether it is under way already."""
        flight = self._flights.get(name)
        if flight is not None:
            return flight, True

        def close() -> None:
            if self._flights.get(name) is made:
                del self._flights[name]

        limit = min(_FLIGHT_LIMIT, self.memory.largest)
        made = self._flights[name] = Flight(leaf, limit, self._loop, close)
        return made, False

    async def _fly(
        self, flight: Flight, asked: _Asked, x: Exchange, leaf: Leaf, attempt: Try, deliver: Deliver
    ) -> None:
        dialect, request = x.dialect, x.body
        if self.shared is not None and await self._in_redis(self.shared, flight, asked, leaf):
            return
        link: Link | None = None
        if self.peers is not None:
            if asked.refresh:
                await self.peers.forget(asked.key)
            link, first = await self.peers.ask(asked.name, asked.key, refresh=asked.refresh)
        try:
            if link is not None and await self._joined(flight, asked, leaf, link, first):
                return
            if link is not None and link.lost and self.peers is not None:
                # The question's home was killed, and maybe the leader with it: those who are left agree once more.
                link.close()
                link, first = await self.peers.ask(asked.name, asked.key, refresh=asked.refresh)
                if link is not None and await self._joined(flight, asked, leaf, link, first):
                    return
            whole = await flight.call(attempt, deliver)
            entry = None if whole is None else self._entry(whole, dialect, request, asked.max_age)
            if entry is not None:
                self.memory.put(asked.key, entry)
                self.stored += 1
                if self.shared is not None:
                    self.shared.put(asked.key, entry)
            if link is not None and flight.answered:
                link.send("end", packed(entry), flight.usage, flight.dropped)
            flight.close()
        finally:
            if link is not None:
                link.close()

    async def _in_redis(self, shared: Shared, flight: Flight, asked: _Asked, leaf: Leaf) -> bool:
        """Whether the answer is kept there; a refresh takes it out instead."""
        if asked.refresh:
            await shared.drop(asked.key)
            return False
        now = self._now()
        return self._kept(flight, asked, leaf, await shared.get(asked.key, now), now)

    async def _joined(self, flight: Flight, asked: _Asked, leaf: Leaf, link: Link, message: Message) -> bool:
        """Whether another worker answers: it has the answer, or its call brings it. If not, this one's call is told to
        those who follow it."""
        if message[0] == "entry":
            if self._kept(flight, asked, leaf, entry_of(message), self._now()):
                return True
        elif message[0] == "follow" and await flight.follow(link.messages(self._patience)):
            flight.close()
            return True
        flight.mirror = link.send
        return False

    def _kept(self, flight: Flight, asked: _Asked, leaf: Leaf, entry: Entry | None, now: float) -> bool:
        """Whether this is an answer that may still be given. Then it is, and kept here, too."""
        if entry is None or not entry.fresh(now, asked.max_age):
            return False
        self.memory.put(asked.key, entry)
        flight.give(lambda other: _hit(other, leaf, entry, now))
        return True

    def _entry(self, whole: Whole, dialect: Dialect, request: bytes, max_age: int) -> Entry | None:
        form = FORMS[dialect]
        body, estimated, unsaid = whole.body, False, b""
        if whole.stream or dialect is Dialect.GEMINI_STREAM_ARRAY:
            counted = None if whole.usage is None or whole.usage.estimated else whole.usage
            assembled = form.whole(body, request, counted)
            if assembled is None:
                return None
            guessed = whole.usage is not None and whole.usage.estimated
            body, estimated = assembled.body, assembled.estimated or guessed
            # Its head was gone before this was known; that of whoever gets it from here is not.
            unsaid = unsaid_line(apart(whole.dropped))
        elif not form.keeps(body):
            return None
        at = int(self._now())
        lines = b"".join([line for line in answer_lines(whole.head).splitlines(keepends=True) if line[:2] == b"x-"])
        return Entry(whole.status, body, whole.usage, lines + unsaid, at, at + max_age, estimated)

    def _age(self, x: Exchange, leaf: Leaf) -> int:
        """Seconds that this request's answer may be old: as its config says, its `cache-control`, or the file."""
        assert leaf.cache is not None
        age = leaf.cache.max_age
        if age is None:
            asked = _MAX_AGE.search(x.headers.get(b"cache-control", b""))
            age = self._max_age if asked is None else int(asked[1])
        return min(max(age, MAX_AGE[0]), MAX_AGE[1])


def _name(x: Exchange, key: bytes, body: bytes, *, refresh: bool) -> bytes:
    """The name of the call that a request may share: the same answer, sent the same way."""
    options = body if x.streamed and b"stream_options" in body else b""
    timeout = x.headers.get(b"x-portkey-request-timeout", b"")
    return digest(key, x.dialect.encode() if x.streamed else b"", options, timeout, b"refresh" if refresh else b"")


def _shared(link: RedisLink, largest: int) -> Shared:
    from proxy.cache.shared import Shared  # with Redis only: its client is a tenth of a worker's memory

    return Shared(link, largest)


def _may_keep(x: Exchange) -> bool:
    """Whether an answer to this may be kept at all: `x-portkey-debug: false` asks that no body be."""
    return x.dialect in FORMS and x.headers.get(b"x-portkey-debug") != b"false"


def _marked(x: Exchange, outcome: Outcome, status: str) -> Outcome:
    x.cache = status
    outcome.head += _STATUS[status]
    return outcome


def _hit(x: Exchange, leaf: Leaf, entry: Entry, now: float) -> Outcome:
    """A kept answer, whole or told as a stream."""
    x.leaf, x.saved, x.cache, x.dropped = leaf, entry.usage, "HIT", lost_in(entry.lines)
    body, head = entry.body, JSON
    if x.streamed:
        told = FORMS[x.dialect].events(body, x.body)
        if told is not body:
            body, head = told, JSON if x.dialect is Dialect.GEMINI_STREAM_ARRAY else _EVENTS
    head += b"%bage: %d\r\n" % (entry.lines, max(0, int(now) - entry.at))
    if entry.estimated:
        head += b"x-loopway-estimated: true\r\n"
    return Outcome(entry.status, None, head, None, body, leaf=leaf)
