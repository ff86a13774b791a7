"""One try: one request to one target, until its answer is worth judging.

It ends in an `Outcome`: a status to decide by, and an answer that is not yet sent. The target's permit is held until
the outcome is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

import msgspec

from adapters import answers, closing, counting, errors, opening, pieces, registry
from adapters.errors import BadAnswer, Kind
from adapters.observe import Charged, Tap
from adapters.types import Call, Dialect, Outbound, Several, in_words
from adapters.unsaid import together
from proxy import headers, outbound
from proxy.config.leaf import Leaf
from proxy.config.wire import Wire
from proxy.credentials import Credentials
from proxy.errors import Refused, UpstreamFailure
from proxy.exchange import Attempt, Exchange
from proxy.health import enter
from proxy.outcome import (
    ESTIMATED,
    JSON,
    SMALL,
    Outcome,
    dropped_line,
    of_estimate,
    of_failure,
    of_refusal,
    of_timeout,
    of_upstream,
    retry_after,
    retry_line,
    unsaid_line,
)
from proxy.relay import Events
from proxy.retry import time_left, too_late
from proxy.seams import Reply, Timeouts, Transport
from proxy.trace import Span
from proxy.verbatim import Body

_ERROR_BODY = 1 << 20
_TIMED = b"x-portkey-request-timeout"
_REFUSED = (401, 403)
"""What providers answer to a credential that is over, revoked or not enough."""
_AT_ONCE = 8  # calls of one request that are under way at a time
_FRAMES = b"application/vnd.amazon.eventstream"
_EVENT_STREAM = b"text/event-stream"
_PAGES = frozenset((b"text/", b""))
"""How the media types of what is no JSON begin; no type at all is none either."""
_JSON = b"application/json"
_EVENTS = b"content-type: text/event-stream\r\n"


class Attempts:
    """Makes attempts. One per worker; holds no request's state."""

    def __init__(
        self,
        transport: Transport,
        timeouts: Timeouts,
        whole_limit: int,
        credentials: Credentials | None = None,
        clock: Callable[[], float] = monotonic,
        count_streams: bool = False,
    ) -> None:
        """`count_streams`: verbatim streams of OpenAI's are asked for their usage, whatever the client asked for."""
        self._transport = transport
        self.clock = clock
        self._count_streams = count_streams
        self._credentials = credentials
        self._timeouts = timeouts
        self._whole_limit = whole_limit
        self._loop = asyncio.get_running_loop()

    async def once(self, x: Exchange, leaf: Leaf, reason: str = "first", waited: float = 0.0) -> Outcome:
        """One try at one target, kept in the exchange's attempts however it ends. Raises Refused."""
        x.leaf = leaf
        target = leaf.target
        began = self.clock()
        status, kind, model, usage = 499, Kind.CANCELLED, x.model or "", None
        try:
            model = outbound.admit(x, leaf)
            outcome = await self._try(x, leaf, model, began, reason)
            outcome.leaf = leaf
            status, kind, usage = outcome.status, outcome.kind, outcome.usage  # type: ignore[assignment]
        except Refused as refused:
            status, kind = refused.status, refused.kind
            raise
        finally:
            took = self.clock() - began
            x.attempts.append(
                Attempt(
                    target.name, leaf.where, status, kind, took, reason, waited,
                    target.provider.name, model, began, usage=usage,
                )
            )  # fmt: skip
        return outcome

    async def _try(self, x: Exchange, leaf: Leaf, model: str, began: float, reason: str) -> Outcome:
        """The same, with the target's permit held until the outcome is closed."""
        target = leaf.target
        limit = outbound.request_timeout(x, leaf)
        left = None if leaf.total is None else time_left(x, leaf, began)
        limiter, permit = target.limiter, None
        spender = None if x.key is None else x.key.spender
        if spender is not None:
            permit = spender.enter(limiter, x, model)
            if permit is None:
                permit = await x.queue(spender.wait(limiter, x, model))
                began = self.clock()
        elif limiter is not None:
            permit = limiter.enter(x, model)
            if permit is None:
                permit = await x.queue(limiter.wait(x, model))
                began = self.clock()
        visit = None
        if target.health is not None:
            speed = None if leaf.track is None else leaf.track.speed(x.streamed)
            visit = enter(target.health, leaf.circuit, speed, self.clock, began, reason == "retry")
        outcome: Outcome | None = None
        try:
            passing = x.dialect is Dialect.PASSTHROUGH
            work = self._pass_through(x, leaf, model) if passing else self._exchange(x, leaf, model)
            if limit is None and left is None:
                outcome = await work
            else:
                outcome = await _within(limit, left, x, leaf, work)
        except UpstreamFailure as failure:
            outcome = of_failure(x, failure)
            outcome.own = failure.kind is Kind.TIMEOUT and leaf.idle is not None
        finally:
            if visit is not None:
                if outcome is None or outcome.own:
                    visit.leave()
                else:
                    visit.answered(outcome.status, outcome.retry_after)
                    if outcome.reply is None:
                        visit.leave()
                    else:
                        outcome.visit = visit
            if permit is not None:
                if outcome is None or outcome.reply is None:
                    permit.leave(None, answered=False)
                else:
                    outcome.permit = permit
        return outcome

    async def _exchange(self, x: Exchange, leaf: Leaf, model: str) -> Outcome:
        """One request in a dialect that the gateway knows."""
        target = leaf.target
        wire = target.wire_for(x.dialect, model, x.streamed)
        if wire is None:
            if x.dialect in ESTIMATED:
                return of_estimate(x)
            raise Refused(
                Kind.INVALID_REQUEST,
                f"The provider {target.provider.name!r} has no endpoint that {x.dialect} requests can be sent to.",
                code="unsupported_operation",
            )
        body = outbound.body_for(x, leaf, model)
        if self._count_streams and x.streamed and wire.codec.identity and x.dialect in outbound.COUNTED_IF_ASKED:
            body = outbound.counted(body)
        lines = outbound.extra_lines(x, leaf, wire.defaults)
        if x.span is not None:
            lines += _traced(x.span, x, leaf)
        call: Call | None = None
        dropped: tuple[str, ...] = ()
        sent: Outbound | None = None
        if not wire.codec.identity:
            call, sent = outbound.translated(x, leaf, wire, model, body)
            body, dropped = sent.body, sent.dropped
            lines += b"".join([f"{name}: {value}\r\n".encode("latin-1") for name, value in sent.headers])
            if dropped:
                outbound.lose(x, leaf, dropped)
            if sent.more:
                return await self._several(x, leaf, wire, call, lines, sent)
        if wire.quirks is not None:
            body, more = outbound.bent(x, wire.quirks, body)
            if wire.quirks.betas is not None:
                line, unknown = outbound.sifted_betas(x, target, wire.quirks.betas)
                lines, more = lines + line, more + unknown
            if more:
                dropped += more if sent is None else in_words(sent.words, more)
                outbound.lose(x, leaf, dropped)
        head = b"%b%bcontent-length: %d\r\n" % (wire.head, lines, len(body))
        asked = monotonic()
        if target.signing is None:
            reply = await self._transport.send(target.origin, head + b"\r\n", body, self._timeouts_of(leaf))
        else:
            reply = await self._send_signed(leaf, head, "POST", wire.path, "application/json", body)
        x.upstream += monotonic() - asked
        try:
            if not 200 <= reply.status < 300:
                return await self._error(x, leaf, wire, reply, dropped)
            kind = reply.shape.value(reply.raw_headers, b"content-type") or b""
            if kind[:17] == _EVENT_STREAM or (call is not None and kind[:34] == _FRAMES):
                head = _events_head(x, reply, kind)
                if dropped:
                    head += dropped_line(dropped)
                return await self._streamed(x, leaf, wire, call, reply, head)
            if call is not None:
                return await self._read(x, wire, call, reply, dropped)
            if kind[:5] in _PAGES and reply.complete and reply.status == 200:
                return await self._page(x, reply, dropped)
            if reply.shape.length_at < 0 and kind[:16] == _JSON:
                if x.dialect is Dialect.GEMINI_STREAM_ARRAY:
                    return await self._verbatim(x, reply, dropped)
                if not reply.framed:
                    return await self._unframed(x, reply, dropped)
            return _known(x, reply, dropped) if reply.complete else await self._verbatim(x, reply, dropped)
        except BaseException:
            reply.finish()
            raise

    async def _several(self, x: Exchange, leaf: Leaf, wire: Wire, call: Call, lines: bytes, sent: Outbound) -> Outcome:
        """One request that is several calls, a few at a time: all their answers become one, or the first error."""
        assert isinstance(wire.codec, Several)
        bodies = (sent.body, *sent.more)
        found: list[bytes] = []
        last: Reply | None = None
        passed = b""
        for start in range(0, len(bodies), _AT_ONCE):
            if last is not None:
                last.finish()
            made = await asyncio.gather(
                *(self._call(leaf, wire, lines, body) for body in bodies[start : start + _AT_ONCE]),
                return_exceptions=True,
            )
            bad = next((each for each in made if isinstance(each, BaseException) or each[1] is None), None)
            for each in made:
                if each is not bad and not isinstance(each, BaseException):
                    # Its head is gone with it.
                    passed = headers.for_client(each[0].raw_headers, each[0].shape, content_type=False)
                    each[0].finish()
            if isinstance(bad, BaseException):
                raise bad
            if bad is not None:
                try:
                    return await self._error(x, leaf, wire, bad[0], sent.dropped)
                except BaseException:
                    bad[0].finish()
                    raise
            done = [each for each in made if not isinstance(each, BaseException)]
            found += [raw for _, raw in done if raw is not None]
            last = done[-1][0]
        assert last is not None
        try:
            answer = wire.codec.combined(call, found)
        except BadAnswer as error:
            raise UpstreamFailure(Kind.BAD_UPSTREAM, str(error), sent=True) from error
        names = tuple(dict.fromkeys(name for raw in found for name in registry.unsaid(wire.dialect, call, raw)))
        x.dropped += together(names)
        head = JSON + passed + dropped_line(sent.dropped) + unsaid_line(names)
        return Outcome(200, last, head, None, answer.body, usage=answer.usage)

    async def _call(self, leaf: Leaf, wire: Wire, lines: bytes, body: bytes) -> tuple[Reply, bytes | None]:
        """One of several calls: its answer, and the whole body unless it is an error."""
        head = b"%b%bcontent-length: %d\r\n" % (wire.head, lines, len(body))
        if leaf.target.signing is None:
            reply = await self._transport.send(leaf.target.origin, head + b"\r\n", body, self._timeouts_of(leaf))
        else:
            reply = await self._send_signed(leaf, head, "POST", wire.path, "application/json", body)
        try:
            return reply, await reply.gather(self._whole_limit) if 200 <= reply.status < 300 else None
        except BaseException:
            reply.finish()
            raise

    def _timeouts_of(self, leaf: Leaf) -> Timeouts:
        timeouts, idle = self._timeouts, leaf.idle
        return timeouts if idle is None else Timeouts(timeouts.connect, timeouts.first_byte, idle)

    async def _send_signed(
        self, leaf: Leaf, head: bytes, method: str, path: str, content_type: str, body: bytes
    ) -> Reply:
        """Sends a request whose head lacks what authenticates this very request; waits only where a credential must be
        fetched. One that was fetched and is refused is fetched anew, and the request sent once more with that."""
        assert self._credentials is not None
        target, again = leaf.target, True
        signer = self._credentials.signer_of(target)
        while True:
            lines = signer.lines(method, path, content_type, body)
            while lines is None:
                await signer.wait()
                lines = signer.lines(method, path, content_type, body)
            asked = monotonic()
            timeouts = self._timeouts_of(leaf)
            reply = await self._transport.send(target.origin, b"%b%b\r\n" % (head, lines), body, timeouts)
            if reply.status not in _REFUSED or not signer.reject(asked) or not again:
                return reply
            again = False
            reply.finish()

    async def _streamed(
        self, x: Exchange, leaf: Leaf, wire: Wire, call: Call | None, reply: Reply, head: bytes
    ) -> Outcome:
        """A stream, once its first event is here. `call` is None where both sides speak the same dialect."""
        _refuse_packed(reply)
        relay = Events(x, reply, None if call is None else wire.codec.stream(call), self._loop)
        asked = monotonic()
        await relay.prime(leaf.holds or _TIMED in x.headers)
        x.upstream += monotonic() - asked
        if relay.failed_early and relay.error is not None:
            reply.finish()
            failed = of_upstream(x, relay.error)
            failed.usage = relay.usage
            failed.own = failed.kind is Kind.TIMEOUT and leaf.idle is not None
            return failed
        early = relay.early
        if early is None:
            return Outcome(reply.status, reply, head, relay=relay)
        if leaf.cache is not None:  # whoever shares an answer gets it whole
            reply.finish()
            return of_upstream(x, early)
        failed = Outcome(early.status, reply, head, early.kind, relay=relay, shown=reply.status)
        failed.retry_after = early.retry_after
        return failed

    async def _read(self, x: Exchange, wire: Wire, call: Call, reply: Reply, dropped: tuple[str, ...]) -> Outcome:
        """A whole answer in another dialect than the client's."""
        asked = monotonic()
        raw = await reply.gather(self._whole_limit)
        x.upstream += monotonic() - asked
        try:
            if wire.usage_header is not None:
                call = _counted(call, reply, wire.usage_header)
            answer = wire.codec.response(call, raw)
        except BadAnswer as bad:
            error = opening.error_in(wire.dialect, raw)
            if error is not None:
                reply.finish()
                return of_upstream(x, error)
            raise UpstreamFailure(Kind.BAD_UPSTREAM, str(bad), sent=True) from bad
        head = JSON + headers.for_client(reply.raw_headers, reply.shape, content_type=False)
        if dropped:
            head += dropped_line(dropped)
        names = registry.unsaid(wire.dialect, call, raw)
        if names:
            head += unsaid_line(names)
            x.dropped += together(names)
        return Outcome(reply.status, reply, head, None, answer.body, usage=answer.usage)

    async def _page(self, x: Exchange, reply: Reply, dropped: tuple[str, ...]) -> Outcome:
        """An answer that says it is a text: JSON by the wrong name passes, a login page or a proxy's does not."""
        raw = await reply.gather(self._whole_limit)
        begins = raw.lstrip()[:1]
        if begins not in (b"{", b"["):
            what = "an HTML page" if begins == b"<" else "a text" if begins else "nothing"
            message = f"The provider answered with {what}; is its address right?"
            raise UpstreamFailure(Kind.BAD_UPSTREAM, message, sent=True)
        return _judged(x, reply, dropped, raw)

    async def _unframed(self, x: Exchange, reply: Reply, dropped: tuple[str, ...]) -> Outcome:
        """A JSON answer that ends where its connection does: whether that is its own end, only the document tells."""
        raw = await reply.gather(self._whole_limit)
        _refuse_packed(reply)
        if not closing.is_whole(raw):
            raise UpstreamFailure(Kind.BAD_UPSTREAM, "The provider's answer broke off.", sent=True)
        return _judged(x, reply, dropped, raw)

    async def _error(
        self, x: Exchange, leaf: Leaf, wire: Wire | None, reply: Reply, dropped: tuple[str, ...] = ()
    ) -> Outcome:
        """An error answer: verbatim in the same dialect, else in the client's words. What a proxy in front of the
        provider says in plain text, as a page or not at all, is of no dialect."""
        status = reply.status
        raw = leaf.target.hide(await reply.gather(_ERROR_BODY))
        if status < 400:
            message = "The provider answered with a redirect, which is not followed."
            raise UpstreamFailure(Kind.BAD_UPSTREAM, message, sent=True)
        outcome = Outcome(status, reply, kind=errors.kind_of(status), body=raw, retry_after=retry_after(reply))
        packed = reply.shape.value(reply.raw_headers, b"content-encoding") is not None
        if wire is None or (wire.codec.identity and (packed or raw.lstrip()[:1] in (b"{", b"["))):
            outcome.head = headers.for_client(reply.raw_headers, reply.shape, content_type=True) + dropped_line(dropped)
            return outcome
        if packed:
            raw = b""  # though nothing but plain text was asked for
        fields = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in reply.raw_headers}
        error = wire.codec.error(status, fields, raw)
        outcome.kind = error.kind
        outcome.body = errors.body(
            x.dialect.family,
            error.kind,
            error.message,
            type=error.type,
            param=error.param,
            code=error.code,
            status=status,
        )
        outcome.head = JSON + headers.for_client(reply.raw_headers, reply.shape, content_type=False)
        outcome.head += dropped_line(dropped)
        if outcome.retry_after is None and error.retry_after is not None:
            # Google says in the body what others say in a header.
            outcome.retry_after = error.retry_after
            outcome.head += retry_line(error.retry_after)
        return outcome

    async def _pass_through(self, x: Exchange, leaf: Leaf, model: str) -> Outcome:
        """Any other path below /v1: body and answer stream, with the stored credential."""
        head, path, body = outbound.pass_through_head(x, leaf, model)
        if x.span is not None:
            head += _traced(x.span, x, leaf)
        if leaf.target.signing is None:
            reply = await self._transport.send(leaf.target.origin, head + b"\r\n", body, self._timeouts_of(leaf))
        else:
            if not isinstance(body, bytes):
                # A signature is over the whole body, so this one is held before it is sent.
                body = x.body = await x.client.body(self._whole_limit)
                head = outbound.with_length(head, len(body))
            content_type = x.headers.get(b"content-type", b"").decode("latin-1")
            reply = await self._send_signed(leaf, head, x.method, path, content_type, body)
        try:
            if reply.status >= 300:
                return await self._error(x, leaf, None, reply)
            if x.method == "POST" and (kind := pieces.paid(x.path)) is not None:
                return await self._charged(x, reply, kind)
            return await self._verbatim(x, reply)
        except BaseException:
            reply.finish()
            raise

    async def _charged(self, x: Exchange, reply: Reply, kind: str) -> Outcome:
        """The same where something is charged that the answer itself may not count."""
        charged = Charged(kind, x.body)
        outcome = await self._verbatim(x, reply, tap=charged)
        if outcome.relay is None:
            outcome.body = reply.take()
            charged.feed(outcome.body)
            outcome.usage = charged.usage()
        return outcome

    async def _verbatim(
        self, x: Exchange, reply: Reply, dropped: tuple[str, ...] = (), tap: Tap | None = None
    ) -> Outcome:
        """An answer that passes as it is, once its first bytes are here: until then it may still be tried again. `tap`
        is what counts in it, where that is not its dialect's."""
        outcome = _whole(reply, dropped)
        if not reply.complete or not reply.framed or x.dialect is Dialect.GEMINI_STREAM_ARRAY:
            outcome.relay = relay = Body(x, reply, self._loop, tap)
            asked = monotonic()
            await relay.prime()
            x.upstream += monotonic() - asked
            error = relay.wrong()
            if error is not None:
                reply.finish()
                return of_upstream(x, error)
        return outcome


def _events_head(x: Exchange, reply: Reply, content_type: bytes) -> bytes:
    """The header lines of a stream: the provider's, and its content type unless the events become others."""
    if x.dialect is Dialect.GEMINI_STREAM_ARRAY:
        return JSON + headers.for_client(reply.raw_headers, reply.shape, content_type=False)
    if content_type[:34] == _FRAMES:
        return _EVENTS + headers.for_client(reply.raw_headers, reply.shape, content_type=False)
    return headers.for_client(reply.raw_headers, reply.shape, content_type=True)


def _counted(call: Call, reply: Reply, field: bytes) -> Call:
    """The call with the tokens that the answer's head counts, if it does."""
    value = reply.shape.value(reply.raw_headers, field) or b""
    return msgspec.structs.replace(call, counted=int(value)) if value.isdigit() and len(value) < 10 else call


def _refuse_packed(reply: Reply) -> None:
    """Refuses what nobody here can tell the end of. Raises UpstreamFailure."""
    if (reply.shape.value(reply.raw_headers, b"content-encoding") or b"identity") != b"identity":
        message = "The provider compressed its answer, which it was asked not to do."
        raise UpstreamFailure(Kind.BAD_UPSTREAM, message, sent=True)


def _whole(reply: Reply, dropped: tuple[str, ...]) -> Outcome:
    """An answer that passes as it is."""
    head = headers.for_client(reply.raw_headers, reply.shape, content_type=True)
    return Outcome(reply.status, reply, head + dropped_line(dropped) if dropped else head)


def _known(x: Exchange, reply: Reply, dropped: tuple[str, ...]) -> Outcome:
    """The same, if it is an answer at all; else the failure that it is."""
    body = reply.take()
    if len(body) < SMALL:
        return _judged(x, reply, dropped, body)
    outcome = _whole(reply, dropped)
    outcome.body = body
    return outcome


def _judged(x: Exchange, reply: Reply, dropped: tuple[str, ...], body: bytes) -> Outcome:
    """The same, of one that was read."""
    outcome = _whole(reply, dropped)
    outcome.body = body
    usage = outcome.usage = counting.usage_of(body)
    if usage is None and reply.status == 200 and reply.shape.value(reply.raw_headers, b"content-encoding") is None:
        error = answers.failure(x.dialect, body)
        if error is not None:
            reply.finish()
            return of_upstream(x, error)
    return outcome


async def _within(
    limit: float | None, left: float | None, x: Exchange, leaf: Leaf, work: Coroutine[Any, Any, Outcome]
) -> Outcome:
    """What `work` gives, within the `limit` of the attempt and what is `left` of the whole request's time."""
    total = left is not None and (limit is None or left < limit)
    try:
        async with asyncio.timeout(left if total else limit):
            return await work
    except TimeoutError:
        outcome = of_refusal(x, too_late(leaf)) if total else of_timeout(x, limit or 0)
        outcome.own = True
        return outcome


def _traced(span: Span, x: Exchange, leaf: Leaf) -> bytes:
    """The header lines that tell a provider where this attempt stands in a trace: the next one at its target."""
    return span.lines(leaf.where, sum(before.where == leaf.where for before in x.attempts), leaf.target.origin)
