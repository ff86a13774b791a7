"""Kept answers of all workers and hosts, in Redis. While that is away there are none, and nobody waits for it long.

The key in Redis is the question's digest, which begins with whose question it is; the value is an `Entry`. What does
not decode is not there: another version of the gateway may have written it. Writing happens beside the answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec
from redis.exceptions import ResponseError

from proxy.cache.entry import Entry
from proxy.redis_link import Argument, RedisDown, RedisLink

_PREFIX = b"loopway:answer:1:"
_DROPPED = "loopway:answer:dropped"
_WAITING = 256  # answers on their way to Redis at once; beyond that they are kept in memory alone

_decode = msgspec.msgpack.Decoder(Entry).decode
_encode = msgspec.msgpack.Encoder().encode
_log = logging.getLogger("loopway")


class Shared:
    """One per worker. `largest` bounds one answer in bytes; `hits` and `misses` are for whoever counts."""

    def __init__(self, link: RedisLink, largest: int) -> None:
        self.hits = 0
        self.misses = 0
        self._link = link
        self._largest = largest
        self._writing: set[asyncio.Task[None]] = set()

    async def get(self, key: bytes, now: float) -> Entry | None:
        """The answer, if Redis has it, has it in time, and it is not too old."""
        found = await self._call("GET", _PREFIX + key)
        if isinstance(found, bytes):
            try:
                entry = _decode(found)
            except msgspec.MsgspecError:
                entry = None
            if entry is not None and entry.until > now:
                self.hits += 1
                return entry
        self.misses += 1
        return None

    def listen(self, dropped: Callable[[bytes], None]) -> None:
        """From now on `dropped` is told what any host forgets. What was said while Redis was away is not heard; then an
        answer may be told again until it is too old."""
        self._link.listen(_DROPPED, dropped)

    async def drop(self, key: bytes) -> None:
        """Forgets an answer, here and on all hosts."""
        await self._call("DEL", _PREFIX + key)
        await self._call("PUBLISH", _DROPPED, key)

    def put(self, key: bytes, entry: Entry) -> None:
        """Keeps an answer, some time soon."""
        if entry.size > self._largest or len(self._writing) >= _WAITING:
            return
        task = asyncio.ensure_future(self._put(key, entry))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _put(self, key: bytes, entry: Entry) -> None:
        await self._call("SET", _PREFIX + key, _encode(entry), "EX", max(1, entry.until - entry.at))

    async def _call(self, *command: Argument) -> object:
        try:
            return await self._link.call(*command)
        except RedisDown:
            return None
        except ResponseError as error:
            # Out of memory, or a user without rights: the operator's to see, and no reason to fail a request.
            _log.warning("the shared cache cannot be used: %s", error)
            return None

    async def settle(self) -> None:
        """Waits until everything is written."""
        await asyncio.gather(*self._writing, return_exceptions=True)
