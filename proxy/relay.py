"""An answer's body on its way to the client, in the loop turn in which it came.

Relays are sinks: the upstream connection calls them with what it has read. They write it, translated or not, in one
call, and stop the upstream while the client is slow. The exchange's task only waits for the end.

An event stream passes in whole events. So when the upstream breaks off in the middle of one, what the client has seen
is well-formed, and one error event in its own dialect ends it: never a `[DONE]` that nobody sent.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left

import msgspec

from adapters import closing, errors, estimate
from adapters.continuing import Seam, Transcript
from adapters.errors import InvalidRequest, Kind, UpstreamError
from adapters.observe import Tap, tap
from adapters.opening import NOTHING, look
from adapters.types import Dialect, StreamDecoder, Usage, next_number
from adapters.unsaid import together
from proxy.errors import UpstreamFailure
from proxy.exchange import GAPS, Exchange, Gaps
from proxy.headers import NO_SHAPE
from proxy.seams import Reply

_EVENT_LIMIT = 8 << 20
ENOUGH = 1 << 16
"""Bytes that may wait for an answer to begin, before its provider has to."""
_SHORT = GAPS[0]
_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")


class Events(msgspec.Struct, eq=False):
    """An event stream. First `prime` until there is something to send or it has failed; then `deliver`.

    `error` is how it failed. `early` is the provider's own error event, where it comes before anything else: a failure,
    to be tried again or elsewhere; but who wants no such thing gets the provider's own bytes. `broken`: it broke off
    with a transcript kept, and the client waits for the rest, or for `give_up`. `fault` is what went wrong after it had
    begun, unless it was the gateway that ended it.

    A Struct for the reason that an `Exchange` is one: filling its slots costs a tenth of what `__init__` would.
    """

    _x: Exchange
    _reply: Reply
    _decoder: StreamDecoder | None
    _loop: asyncio.AbstractEventLoop
    _tap: Tap = None  # type: ignore[assignment] # there is one where there is no decoder
    _last: float = 0.0  # when something came last, and first
    _since: float = 0.0
    _long: list[int] | None = None
    _passing: bool = False  # whether whole events go out as they come: nothing is held, and nobody else looks
    _held: list[bytes] = []
    _held_size: int = 0
    _tail: bytes = b""
    _ready: bytes = b""
    _hold: bool = False
    _keeps: Transcript | None = None  # what the client has read, where somebody else may go on from it
    _seam: Seam | None = None  # where this stream goes on with another one
    _begun: bool = False  # whether an event has said something of the answer; those before it are held
    _events: int = 0  # that a decoder has made, and the last of them
    _sample: bytes = b""
    _live: bool = False
    _ended: bool = False
    _waiter: asyncio.Future[None] | None = None
    error: UpstreamError | None = None
    early: UpstreamError | None = None
    broken: bool = False
    fault: UpstreamError | None = None

    def __post_init__(self) -> None:
        if self._decoder is None:
            self._tap = tap(self._x.dialect)

    async def prime(self, hold: bool = False) -> None:
        """Waits for the first event; to `hold` means for the first that says something of the answer, because until
        then another try is possible. Afterwards `failed_early` tells whether the stream broke before."""
        self._hold = hold
        self._reply.pour(self)
        if not self._begun and not self._ended:
            await self._wait()

    @property
    def failed_early(self) -> bool:
        """Whether the stream failed before it said anything: nothing is lost by trying elsewhere."""
        return self.error is not None and not self._begun

    def deliver(self, status: int, head: bytes) -> asyncio.Future[None]:
        """Sends the head and everything; what it gives is done after the last byte. The client's going away cancels
        it."""
        # No coroutine: its frame would hold the head and the first event for as long as the stream lasts.
        x = self._x
        x.committed = True
        x.client.begin(status, head, None)
        self._reply.raw_headers, self._reply.shape = (), NO_SHAPE  # a stream may last; its head need not
        return self._flow()

    def keep(self, transcript: Transcript) -> None:
        """Asks for a transcript of what the client reads, so that another stream may go on from it."""
        self._keeps = transcript

    def carry_on(self, transcript: Transcript, seam: Seam, mark: bytes) -> asyncio.Future[None]:
        """Goes on with a stream that broke off, after a `mark`: what `deliver` does for a stream of its own."""
        self._keeps = transcript
        self._seam = seam
        self._x.client.write(mark)
        return self._flow()

    def give_up(self) -> None:
        """Nobody goes on: the error event ends the stream."""
        self._keeps = None
        self._finish(b"")

    def _flow(self) -> asyncio.Future[None]:
        ready, self._ready = self._ready, b""
        self._live = True
        over = self._wait()
        if self._ended:
            self._finish(ready)
            over.set_result(None)
            return over
        if self._decoder is None:
            self._passing = self._keeps is None and not self._held
            self._sample = b""  # its tap has more
        self._x.client.write(self._shown(ready))
        self._reply.resume()
        self._x.client.feed_from(self._reply)
        return over

    def _shown(self, out: bytes) -> bytes:
        """What the client gets for whole events."""
        if self._seam is not None:
            out = self._seam.feed(out)
        if self._keeps is not None:
            self._keeps.read(out)
        return out

    def _wait(self) -> asyncio.Future[None]:
        self._waiter = self._loop.create_future()
        return self._waiter

    @property
    def usage(self) -> Usage | None:
        """What the provider counted. Where it did not come to that, or nobody asked it to count, a guess from what was
        delivered, marked as one."""
        decoder, tap = self._decoder, self._tap
        if decoder is None:
            counted, events, sample = tap.usage(), tap.events, tap.tail()
            if self.early is not None:
                return counted  # it said nothing else
            whole = self.fault is None and tap.ended()
        else:
            counted, events, sample = decoder.usage, self._events, self._sample
            whole = self._ended and self.error is None
        if (whole and counted is not None) or not events or self._x.dialect is Dialect.PASSTHROUGH:
            return counted
        return _guess(self._x, counted, estimate.output_tokens(sample, events))

    # -- called by the connection

    def data(self, data: bytes, end: bool) -> None:
        """Takes bytes from upstream."""
        now = self._loop.time()  # uvloop reads it once a turn, so it costs next to nothing
        if now - self._last > _SHORT:
            self._late(now)
        self._last = now
        if self._passing and not end and data.endswith(_ENDS):
            # Whole events to a client that has its head: what nearly every read of a verbatim stream brings.
            self._tap.feed(data)
            self._x.client.write(data)
            return
        if self._ended:
            return
        decoder = self._decoder
        if decoder is None:
            out = self._whole_events(data, end)
        else:
            out = decoder.feed(data)
            self._events += out.count(b"\n\n")
            self.error = decoder.error
            if end and self.error is None:
                out += self._closed(decoder)
        if not self._begun and out:
            out = self._opening(out)
        if end or self.error is not None:
            self.fault = self.error or self.fault
            self._end(out)
        elif out:
            self._sample = out
            if self._live:
                self._x.client.write(out if self._keeps is None else self._shown(out))
            else:
                self._ready += out
                if len(self._ready) > ENOUGH:
                    self._reply.pause()
                if self._begun:
                    self._wake()

    def fail(self, failure: UpstreamFailure) -> None:
        """The upstream broke off."""
        if self._ended:
            return
        if not self._said_all():
            self.error = failure.told
            self.fault = failure.fault
        self._end(b"")

    # -- inside

    def _late(self, now: float) -> None:
        """Something came after a gap worth telling, or at all for the first time."""
        if not self._last:
            self._since = now
            return
        if self._long is None:
            self._long = [0] * len(GAPS)
        self._long[bisect_left(GAPS, now - self._last) - 1] += 1

    def _told(self) -> None:
        """Leaves the gaps of a stream that is over with its exchange: all, and those among them that were long."""
        long = self._long or [0] * len(GAPS)
        events = self._events if self._decoder is not None else self._tap.events
        gaps = Gaps(max(events - 1, sum(long)), self._last - self._since, long)
        x = self._x
        if x.gaps is None:
            x.gaps = gaps
        else:
            x.gaps.add(gaps)

    def _opening(self, out: bytes) -> bytes:
        """Looks at a stream's first events, until one says something; gives what may pass of them."""
        if not self._hold and (self._decoder is not None or out.find(b"error") < 0):
            self._begun = True  # nobody asks what it says, but for an error
            return out
        opening = look(self._x.dialect, out)
        if self._decoder is None:
            self.early = opening.error
            if opening.error is not None:
                out = self._hidden(out)
        self._begun = not self._hold or opening is not NOTHING or len(self._ready) + len(out) > ENOUGH
        return out

    def _hidden(self, out: bytes) -> bytes:
        """The words with which a stream fails, without the stored credential: some providers repeat it."""
        leaf = self._x.leaf
        if leaf is None:
            return out
        hide = leaf.target.hide
        for name in ("error", "early"):
            found: UpstreamError | None = getattr(self, name)
            if found is not None:
                message = hide(found.message.encode("utf-8", "replace")).decode()
                setattr(self, name, msgspec.structs.replace(found, message=message))
        return hide(out)

    def _closed(self, decoder: StreamDecoder) -> bytes:
        """The rest of a translated stream whose upstream ended."""
        rest = decoder.close()
        self.error = decoder.error
        if rest and self.error is None and not self._reply.framed:
            # The end marker never came, and a connection that just closes proves nothing.
            self.error = _EARLY
            return b""
        return rest

    def _said_all(self) -> bool:
        """Whether the end marker has passed: what breaks after it, broke nothing."""
        decoder = self._decoder
        if decoder is None:
            return not self._held and (self._has_failed() or self._tap.ended())
        return not decoder.close() and decoder.error is None

    def _has_failed(self) -> bool:
        """Whether a verbatim stream's last word is its provider's error, which then is the fault unless it was the
        first word too."""
        if self.early is not None:
            return True
        self.fault = closing.failure(self._x.dialect, self._tap)
        return self.fault is not None

    def _whole_events(self, data: bytes, end: bool) -> bytes:
        """What may pass of a verbatim stream: everything up to the end of its last whole event."""
        tap = self._tap
        tap.feed(data)
        if end:
            out = b"".join((*self._held, data))
            tap.begin(out)
            self._held = []
            whole = _events_end(out)
            if not _is_event(out[whole:]):
                self.error = closing.remark(self._x.dialect, out[whole:]) or _EARLY
            elif not self._has_failed() and not tap.ended() and not (self._reply.framed and tap.finished()):
                self.error = _EARLY
            return out if self.error is None else out[:whole]
        return self._cut(data)

    def _cut(self, data: bytes) -> bytes:
        # A boundary may straddle two reads: look at the new bytes with the last three before them that were held.
        before = self._tail if self._held else b""
        seam = before + data
        cut = _events_end(seam) - len(before)
        self._tail = seam[-3:]
        if cut <= 0:
            self._passing = False
            self._held.append(data)
            self._held_size += len(data)
            if self._held_size > _EVENT_LIMIT:
                self.error = UpstreamError(Kind.BAD_UPSTREAM, 502, "The provider sent an event that is too large.")
            return b""
        out = b"".join((*self._held, data[:cut]))
        if len(out) > cut:
            self._tap.begin(out)
        rest = data[cut:]
        self._held = [rest] if rest else []
        self._passing = self._live and not rest and self._keeps is None
        self._held_size = len(rest)
        return out

    def _end(self, out: bytes) -> None:
        self._ended = True
        self._passing = False
        if self.error is not None:
            out = self._hidden(out)
        if self._begun:
            self._told()
        decoder = self._decoder
        if decoder is not None and decoder.unsaid:
            self._x.dropped += together(decoder.unsaid)
        if self._live:
            self._finish(out)
        else:
            self._ready += out
        self._wake()

    def _finish(self, out: bytes) -> None:
        client = self._x.client
        out = self._shown(out)
        error = self.error
        if error is not None and self._keeps is not None and self._keeps.resumable:
            self.broken = True
            client.write(out)
            return
        if error is None:
            if self.fault is not None:
                self._x.kind = self.fault.kind
            client.write(out, end=True)
            return
        self._x.kind = error.kind
        client.hang_up()
        client.write(
            out
            + errors.event(
                self._x.dialect.family,
                error.kind,
                error.message,
                type=error.type,
                param=error.param,
                code=error.code,
                status=error.status,
                sequence=next_number(self._tap if self._decoder is None else self._decoder),
            ),
            end=True,
        )

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _guess(x: Exchange, counted: Usage | None, said: int) -> Usage:
    """Usage of a stream that nobody counted to its end."""
    rare = None if counted is None else counted.rare
    if counted is not None and (counted.input or counted.output):
        return msgspec.structs.replace(counted, output=max(counted.output, said), estimated=True)
    try:
        taken = estimate.input_tokens(x.prompt) if x.prompt else x.prompt_tokens
    except InvalidRequest:
        taken = 0
    return Usage(taken, said, estimated=True, rare=rare)


_EARLY = UpstreamError(Kind.BAD_UPSTREAM, 502, "The provider ended the stream early.")


def _is_event(rest: bytes) -> bool:
    """Whether what follows the last empty line is nothing or a whole event, as some servers end theirs."""
    last = rest.strip().replace(b"\r", b"\n").rpartition(b"\n")[2]
    if not last:
        return True
    field, _, data = last.partition(b":")
    if field != b"data":
        return False
    try:
        return data.strip() == b"[DONE]" or msgspec.json.decode(data) is not None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def _events_end(data: bytes) -> int:
    """Where the last whole event in `data` ends; 0 if none does."""
    if data.endswith(_ENDS):
        return len(data)
    return max((data.rfind(mark) + len(mark) for mark in _ENDS if mark in data), default=0)
