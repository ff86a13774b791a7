"""One upstream call for all who ask the same at the same time.

A `Flight` runs the call in a task of its own, so it belongs to none of its askers: whoever leaves, leaves the others
their answer, and only when the last one is gone is the call given up. To the forwarder the flight is a client like
any other; what is written to it goes to every `Follower` in the same turn of the event loop, and is kept for those who
come later or read slower.

- A follower that reads slowly falls behind and catches up from what is kept. The upstream waits only when all do.
- What is kept has a bound. Beyond it nobody else can join, the answer will not be cached, and who falls further behind
  than the bound is cut, with an error event.
- A call that fails in a way that another try might mend goes to the asker who began it, and the next in line makes a
  second one; whatever comes of that goes to all the rest. So a provider that is down sees two calls and not a thousand.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, cast

import msgspec

from adapters.errors import TRAITS, Kind
from adapters.types import Usage
from proxy.cache.follower import Follower, Kept
from proxy.config.leaf import Leaf
from proxy.errors import Refused, UpstreamFailure
from proxy.exchange import Exchange
from proxy.outcome import Outcome, lost_in
from proxy.seams import Flow, Reply

_TURNS = 2

Try = Callable[[Exchange], Awaitable[Outcome]]
"""Tries the leaf as its policy has it."""
Message = list[Any]
Mirror = Callable[..., None]
"""Told everything that the askers get, in the words of `Flight.follow`."""
Deliver = Callable[[Exchange, Outcome], Awaitable[None]]
"""Sends an outcome to its exchange's client, to the last byte."""


class Whole(msgspec.Struct, gc=False, frozen=True):
    """A good answer as it went to everybody: kept where it is complete. `stream` says that the bytes are events,
    `dropped` names what did not survive translation, as the log does."""

    status: int
    head: bytes
    body: bytes
    stream: bool
    usage: Usage | None
    dropped: tuple[str, ...] = ()


class Flight:
    """The call and those who wait for it. Implements `proxy.seams.Client` for the exchange that makes the call."""

    def __init__(self, leaf: Leaf, limit: int, loop: asyncio.AbstractEventLoop, close: Callable[[], None]) -> None:
        """`limit` bytes of a stream are kept at most. `close` is called when nobody else may join any more."""
        self.length: int | None = None
        self.stream = False
        self.aborted = False
        self.kind: Kind | None = None
        self.ended = False
        self.kept = Kept()
        self.usage: Usage | None = None
        self.dropped: tuple[str, ...] = ()
        self._leaf = leaf
        self._limit = limit
        self._loop = loop
        self._close = close
        self._open = True
        self._followers: dict[Follower, None] = {}
        self._fx: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._source: Flow | None = None
        self._halted = False
        self._status = 0
        self._head = b""
        self._began = False
        self._settled = False
        self._body: bytes | None = None
        self.mirror: Mirror | None = None
        self._foreign = False
        self._payer: Follower | None = None
        self._asker: Follower | None = None
        self._before = 0

    def __repr__(self) -> str:
        return f"Flight({len(self._followers)} askers, {self.kept.size} bytes{'' if self._open else ', closed'})"

    # -- its askers

    async def join(self, x: Exchange) -> Outcome:
        """What comes of the call, for one more asker. Raises Refused as the leaf would have."""
        follower = Follower(self, x, self._loop)
        self._followers[follower] = None
        if self._began:
            self._tell(follower)
            self.balance()
        try:
            return await follower.outcome
        except asyncio.CancelledError:
            await self.leave(follower)
            raise

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begins the call; `work` is a coroutine that ends with it."""
        self._task = self._loop.create_task(work)
        self._task.add_done_callback(self._over)

    def drop(self, follower: Follower) -> None:
        """An asker is gone. The last one takes the call along."""
        self._followers.pop(follower, None)
        task = self._task
        if not self._followers and task is not None and not task.done() and not self.ended and self._body is None:
            self.close()
            task.cancel()
        else:
            self.balance()

    async def leave(self, follower: Follower) -> None:
        """The same for one whose client has left: returns when the call, if it ends with it, has let go of all."""
        self.drop(follower)
        task = self._task
        if not self._followers and task is not None and not task.done():
            if self._payer is None:
                self._payer = follower
            await asyncio.wait((task,))
        follower.x.usage = self.bill(follower)

    def bill(self, follower: Follower) -> Usage | None:
        """The call's usage, if it is this asker who accounts for it; the rest only know what they were spared."""
        fx = self._fx
        if fx is None or self._payer is not follower:
            follower.x.saved = self.usage
            return None
        if follower is not self._asker:
            # Who began the call has left: it is this one's now.
            self._asker = follower
            follower.x.attempts = [*follower.x.attempts, *fx.attempts[self._before :]]
        return fx.usage

    @property
    def _owner(self) -> Follower | None:
        """The asker whom the call is counted for: the first of those who are still there; of another worker's call,
        nobody here."""
        return None if self._foreign else next(iter(self._followers), None)

    # -- the call

    async def call(self, attempt: Try, deliver: Deliver) -> Whole | None:
        """Makes the call and serves everybody. Gives the answer that may be kept, if there is one."""
        for turn in range(1, _TURNS + 1):
            owner = self._owner
            assert owner is not None
            # The attempts are the owner's own list: its log has them all, in order, whatever becomes of the call.
            fx = self._fx = msgspec.structs.replace(owner.x, client=self, retries=0)
            self._before, self._asker = len(fx.attempts), owner
            try:
                outcome = await attempt(fx)
            except Refused as refused:
                self._refuse(refused)
                return None
            try:
                if 200 <= outcome.status < 300:
                    await deliver(fx, outcome)
                    self._settle(fx.kind, fx.usage, fx.dropped)
                    return self._whole()
                if not self._fail(outcome, again=turn < _TURNS):
                    return None
            finally:
                outcome.close()
        return None

    async def follow(self, messages: AsyncIterator[Message]) -> bool:
        """Serves everybody with what another worker's call brings. False: it brought nothing, and this one leads."""
        self._foreign = True
        async for name, *rest in messages:
            if name == "lead":
                break
            if name == "whole":
                self.usage = msgspec.convert(rest.pop(), Usage | None)
                self.respond(*rest)
            elif name == "head":
                self.begin(*rest)
            elif name == "data":
                data, end, kind = rest
                self.kind = None if kind is None else Kind(kind)
                self.write(data, end)
            elif name == "end":
                lost = tuple(rest[2]) if len(rest) > 2 else None  # an older worker does not say
                self._settle(self.kind, msgspec.convert(rest[1], Usage | None), lost)
                return True
        if self.ended:
            self._settle(self.kind, None)
        self._foreign = self._began
        return self._began

    def give(self, make: Callable[[Exchange], Outcome]) -> None:
        """Ends without a call: everybody gets what `make` makes for them."""
        self.close()
        for follower in tuple(self._followers):
            if not follower.outcome.done():
                follower.outcome.set_result(make(follower.x))
        self._followers.clear()

    def _refuse(self, refused: Refused) -> None:
        self.close()
        for follower in tuple(self._followers):
            if not follower.outcome.done():
                follower.outcome.set_exception(refused)

    def _fail(self, outcome: Outcome, *, again: bool) -> bool:
        """Tells the failure: to the one who began where another may try again (True), else to all."""
        fx, owner = self._fx, self._owner
        assert fx is not None
        if owner is None:
            return False
        retryable = outcome.kind is not None and TRAITS[outcome.kind].retryable
        if again and retryable and len(self._followers) > 1:
            self._give(owner, outcome)
            return True
        self.close()
        for follower in tuple(self._followers):
            self._give(follower, outcome)
        return False

    def _give(self, follower: Follower, outcome: Outcome) -> None:
        del self._followers[follower]
        follower.x.leaf, follower.x.cache = self._leaf, "MISS"
        if self._fx is not None:
            follower.x.dropped = self._fx.dropped
        told = Outcome(outcome.status, None, outcome.head, outcome.kind, outcome.body or b"", leaf=self._leaf)
        told.retry_after, told.retries = outcome.retry_after, outcome.retries
        if not follower.outcome.done():
            follower.outcome.set_result(told)

    def _settle(self, kind: Kind | None, usage: Usage | None, dropped: tuple[str, ...] | None = None) -> None:
        """The call is over: its account is made up, and those who have everything are let go."""
        self.kind, self.usage = kind, usage
        if dropped is not None:
            self.dropped = dropped
            for follower in self._followers:
                follower.x.dropped = dropped
        self._payer = self._payer or self._owner
        self._settled = True
        if self._began:
            for follower in tuple(self._followers):
                follower.pump()
                if follower.written:
                    follower.end()

    def _whole(self) -> Whole | None:
        if not self._open or self.kind is not None or self.aborted or not self.ended:
            return None
        body = self.kept.whole() if self._body is None else self._body
        return Whole(self._status, self._head, body, self.stream, self.usage, self.dropped)

    def _over(self, task: asyncio.Task[None]) -> None:
        """The task has ended, maybe by a fault of ours: nobody is left waiting."""
        self.close()
        error = None if task.cancelled() else task.exception()
        for follower in tuple(self._followers):
            if not follower.outcome.done():
                broken = error if isinstance(error, Exception) else RuntimeError("the shared call was given up")
                follower.outcome.set_exception(broken)
            elif not self.ended:
                follower.cut(UpstreamFailure(Kind.BAD_UPSTREAM, "The provider ended the stream early.", sent=True))

    def close(self) -> None:
        """From now on nobody can join."""
        if self._open:
            self._open = False
            self._close()

    # -- what everybody gets

    def _tell(self, follower: Follower) -> None:
        """Hands an asker the answer that has begun."""
        x, fx = follower.x, self._fx
        if follower.outcome.done():
            return
        owner = self._owner is follower
        x.leaf, x.cache = self._leaf, "MISS" if owner else "HIT"
        x.dropped = lost_in(self._head) if fx is None else fx.dropped
        told = Outcome(self._status, None, self._head if owner else answer_lines(self._head), leaf=self._leaf)
        usage = self.usage if fx is None else fx.usage
        told.retries = 0 if fx is None or not owner else fx.retries
        if self._body is None:
            told.relay = follower
            told.reply = cast(Reply, follower)  # all that an outcome does with it is to finish it
        else:
            told.body = self._body
            if owner:
                told.usage = usage
            else:
                x.saved = usage
        follower.outcome.set_result(told)

    def written(self, follower: Follower) -> None:
        """An asker has its last byte; it waits only until the call's account is made up."""
        if self._settled:
            follower.end()

    def balance(self) -> None:
        """Stops the upstream while all who are left read slowly."""
        source = self._source
        if source is None or self.ended:
            return
        slow = bool(self._followers) and all(follower.slow for follower in self._followers)
        if slow and not self._halted:
            self._halted = True
            source.pause()
        elif self._halted and not slow:
            self._halted = False
            source.resume()

    def _trim(self) -> None:
        """Keeps within the bound once nothing is kept for others."""
        while self._followers and self.kept:
            slowest = min(self._followers, key=lambda follower: follower.at)
            self.kept.forget(slowest.at)
            if self.kept.size <= self._limit:
                return
            message = "The client reads too slowly for the answer that it shares with others."
            self._followers.pop(slowest)
            slowest.cut(UpstreamFailure(Kind.TIMEOUT, message, sent=True))

    # -- the call's client: proxy.seams.Client

    def respond(self, status: int, head: bytes, body: bytes) -> None:
        """A whole answer."""
        self._status, self._head, self._body = status, _without_ours(head), body
        if self.mirror is not None:
            fx = self._fx
            self.mirror("whole", status, answer_lines(head), body, None if fx is None else fx.usage)
        self._began = self.ended = True
        self._payer = self._owner
        for follower in tuple(self._followers):
            self._tell(follower)

    def begin(self, status: int, head: bytes, length: int | None) -> None:
        """An answer whose bytes follow."""
        self._status, self._head, self.length = status, _without_ours(head), length
        if self.mirror is not None:
            self.mirror("head", status, answer_lines(head), length)
        self.stream = b"content-type: text/event-stream" in self._head.lower()
        self._began = True
        for follower in tuple(self._followers):
            self._tell(follower)

    def write(self, data: bytes, end: bool = False) -> None:
        """The next bytes."""
        if self.ended:
            return
        self.ended = end
        if self._fx is not None:
            self.kind = self._fx.kind
        if self.mirror is not None and not self.aborted:
            self.mirror("data", data, end, self.kind)
        if data or end:
            self.kept.add(data)
        for follower in tuple(self._followers):
            follower.pump()
        if self.kept.size > self._limit:
            self.close()
        if not self._open:
            self._trim()

    def hang_up(self) -> None:
        """Each asker's connection is told by what is wrong with the answer."""

    def abort(self) -> None:
        """The answer broke off where only a cut connection can say so."""
        self.aborted = True
        self.write(b"", end=True)

    def feed_from(self, source: Flow | None) -> None:
        """Whom to stop when everybody is slow."""
        self._source = source
        self.balance()

    @property
    def answered(self) -> bool:
        """Whether an answer was begun."""
        return self._began

    def arrived(self, limit: int) -> bytes | None:
        """Nothing: the request was read before."""
        return b""

    async def body(self, limit: int) -> bytes:
        """Nothing: the request was read before."""
        return b""

    async def chunks(self) -> AsyncIterator[bytes]:
        """Nothing: the request was read before."""
        if self._body is not None and not self._began:  # never: this only makes it an iterator
            yield b""


_ABOUT_THE_ANSWER = (b"content-type:", b"x-loopway-")


def answer_lines(head: bytes) -> bytes:
    """Those lines of a head that say something about the answer and not about the call that brought it."""
    lines = head.splitlines(keepends=True)
    return b"".join([line for line in lines if line.lower().startswith(_ABOUT_THE_ANSWER)])


def _without_ours(head: bytes) -> bytes:
    """A head without the lines that are added for each asker anew."""
    return b"".join([line for line in head.splitlines(keepends=True) if not line.startswith(b"x-portkey-")])
