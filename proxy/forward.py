"""Trying: one request, one plan, as many attempts as it allows, until an answer is worth delivering.

An attempt ends in an `Outcome`: a status to decide by, and an answer that is not yet sent. Only when no retry and no
other target follows is it delivered. So everything up to the first byte can be tried again, and nothing after it.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable
from email.utils import parsedate_to_datetime
from time import time

import msgspec

from adapters import errors, estimate, observe, peek
from adapters.errors import TRAITS, BadAnswer, InvalidRequest, Kind
from adapters.types import Call, Dialect, Outbound, Usage
from proxy import headers
from proxy.config.plan import Leaf, Plan
from proxy.config.target import Target, Wire
from proxy.errors import Refused, Source, UpstreamFailure
from proxy.exchange import Attempt, Exchange
from proxy.limits import Gate
from proxy.relay import Body, Events
from proxy.seams import Reply, Timeouts, Transport

_ERROR_BODY = 1 << 20
_WHOLE_LIMIT = 64 << 20
_RETRY_AFTER_CAP = 60.0
_BASE_WAIT = 1.0
_SMALL = 1 << 18


class Outcome:
    """How an attempt ended. Exactly one of `relay`, `reply` and `body` carries the answer.

    `head` are the header lines for the client. `close` gives back what the attempt holds: connection and permit.
    """

    __slots__ = ("body", "gate", "head", "kind", "message", "relay", "reply", "retry_after", "status", "usage")

    def __init__(self, status: int) -> None:
        self.status = status
        self.kind: Kind | None = None
        self.message = ""
        self.head = b""
        self.body: bytes | None = None
        self.reply: Reply | None = None
        self.relay: Events | None = None
        self.usage: Usage | None = None
        self.retry_after: float | None = None
        self.gate: Gate | None = None

    def __repr__(self) -> str:
        return f"Outcome({self.status} {self.kind or 'ok'})"

    def close(self) -> None:
        """Gives everything back; idempotent."""
        reply, self.reply = self.reply, None
        if reply is not None:
            reply.finish()
        gate, self.gate = self.gate, None
        if gate is not None:
            gate.leave()


class Forwarder:
    """Runs plans. One per worker; holds no request's state."""

    def __init__(
        self,
        transport: Transport,
        timeouts: Timeouts,
        whole_limit: int = _WHOLE_LIMIT,
        sleep: Callable[[float], object] = asyncio.sleep,
    ) -> None:
        self._transport = transport
        self._timeouts = timeouts
        self._whole_limit = whole_limit
        self._sleep = sleep
        self._loop = asyncio.get_running_loop()

    async def run(self, x: Exchange, plan: Plan) -> None:
        """Tries the plan and delivers the answer. Raises Refused for the gateway's own refusals; whatever else goes
        wrong upstream becomes an answer, in the client's dialect."""
        leaf = plan.single
        steps = None
        if leaf is None:
            steps = plan.root.steps()
            leaf = next(steps)
        while True:
            outcome = await self._leaf(x, leaf, alone=steps is None)
            try:
                if steps is not None:
                    try:
                        leaf = steps.send(outcome.status)
                    except StopIteration:
                        steps = None
                    else:
                        continue
                await self._deliver(x, outcome)
                return
            finally:
                outcome.close()

    # -- one leaf

    async def _leaf(self, x: Exchange, leaf: Leaf, *, alone: bool) -> Outcome:
        x.leaf = leaf
        x.retries = 0
        tried = 0
        while True:
            began = self._loop.time()
            try:
                outcome = await self._attempt(x, leaf)
            except Refused as refused:
                if alone and not tried:
                    raise
                outcome = _refusal(x, refused)
            x.attempts.append(
                Attempt(leaf.target.name, leaf.where, outcome.status, outcome.kind, self._loop.time() - began)
            )
            if outcome.status not in leaf.retry_codes or leaf.attempts == 0:
                return outcome
            wait = _wait(tried, leaf, outcome)
            if tried == leaf.attempts or wait is None:
                x.retries = -1
                return outcome
            outcome.close()
            tried += 1
            x.retries = tried
            await self._sleep(wait)  # type: ignore[misc]

    async def _attempt(self, x: Exchange, leaf: Leaf) -> Outcome:
        target = leaf.target
        model = _admit(x, leaf)
        timeout = _request_timeout(x, leaf)
        gate = target.gate
        if gate is not None:
            gate.enter()
        passing = x.dialect is Dialect.PASSTHROUGH
        work = self._pass_through(x, leaf) if passing else self._exchange(x, leaf, model)
        held = True
        try:
            if timeout is None:
                outcome = await work
            else:
                async with asyncio.timeout(timeout):
                    outcome = await work
            outcome.gate, held = gate, False
            return outcome
        except UpstreamFailure as failure:
            return _failure(x, failure)
        except TimeoutError:
            return _timed_out(x, timeout or 0)
        finally:
            if held and gate is not None:
                gate.leave()

    async def _exchange(self, x: Exchange, leaf: Leaf, model: str) -> Outcome:
        target = leaf.target
        upstream = target.dialect_for(x.dialect, model)
        if upstream is None and x.dialect is Dialect.ANTHROPIC_COUNT_TOKENS:
            return _estimated(x)
        if upstream is None:
            raise Refused(
                Kind.INVALID_REQUEST,
                f"The provider {target.provider.name!r} has no endpoint that {x.dialect} requests can be sent to.",
                code="unsupported_operation",
            )
        wire = target.wire(x.dialect, upstream)
        strict = _strict(x, leaf)
        call = Call(x.dialect, model, x.streamed, _body(x, leaf, model), x.request_id, int(x.at), strict)
        body, extra = call.body, b""
        dropped: tuple[str, ...] = ()
        if not wire.codec.identity:
            try:
                outbound: Outbound = wire.codec.request(call)
            except InvalidRequest as invalid:
                raise _invalid(invalid) from invalid
            body, dropped = outbound.body, outbound.dropped
            extra = b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in outbound.headers)
        head = b"%b%b%bcontent-length: %d\r\n\r\n" % (wire.head, _extra(x, leaf, wire.defaults), extra, len(body))
        reply = await self._transport.send(target.origin, head, body, self._timeouts)
        try:
            return await self._answer(x, leaf, wire, call, reply, dropped)
        except BaseException:
            reply.finish()
            raise

    async def _answer(
        self, x: Exchange, leaf: Leaf, wire: Wire, call: Call, reply: Reply, dropped: tuple[str, ...]
    ) -> Outcome:
        status, codec = reply.status, wire.codec
        if not 200 <= status < 300:
            return await self._error(x, leaf, wire, reply)
        outcome = Outcome(status)
        outcome.reply = reply
        content_type = headers.value_of(reply.raw_headers, b"content-type") or b""
        if content_type.startswith(b"text/event-stream"):
            decoder = None if codec.identity else codec.stream(call)
            relay = Events(x, reply, decoder, self._loop)
            await relay.prime()
            if relay.failed_early and relay.error is not None:
                reply.finish()
                return _upstream_error(x, relay.error)
            outcome.relay = relay
            outcome.head = _head(x, leaf, reply, content_type=True, dropped=dropped)
            return outcome
        if codec.identity:
            outcome.head = _head(x, leaf, reply, content_type=True)
            return outcome
        raw = await reply.gather(self._whole_limit)
        try:
            answer = codec.response(call, raw)
        except BadAnswer as bad:
            raise UpstreamFailure(Kind.BAD_UPSTREAM, str(bad), sent=True) from bad
        outcome.body, outcome.usage = answer.body, answer.usage
        outcome.head = _JSON + _head(x, leaf, reply, content_type=False, dropped=dropped)
        return outcome

    async def _error(self, x: Exchange, leaf: Leaf, wire: Wire | None, reply: Reply) -> Outcome:
        status = reply.status
        raw = await reply.gather(_ERROR_BODY)
        if status < 400:
            raise UpstreamFailure(
                Kind.BAD_UPSTREAM, "The provider answered with a redirect, which is not followed.", sent=True
            )
        outcome = Outcome(status)
        outcome.reply = reply
        outcome.retry_after = _retry_after(reply)
        verbatim = wire is None or wire.codec.identity
        if verbatim:
            outcome.kind = errors.kind_of(status)
            outcome.body = raw
        else:
            assert wire is not None
            mapping = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in reply.raw_headers}
            error = wire.codec.error(status, mapping, raw)
            outcome.kind = error.kind
            outcome.body = errors.body(
                x.dialect.family, error.kind, error.message, type=error.type, param=error.param, code=error.code
            )
        outcome.head = (b"" if verbatim else _JSON) + _head(x, leaf, reply, content_type=verbatim)
        return outcome

    # -- any other path

    async def _pass_through(self, x: Exchange, leaf: Leaf) -> Outcome:
        target = leaf.target
        path = target.base_path + _below_version(x.path)
        if x.query:
            path = f"{path}?{x.query}"
        content_type = x.header(b"content-type")
        head, defaults = target.request_head(x.method, path, content_type)
        length = x.headers.get(b"content-length")
        body: bytes | AsyncIterator[bytes] = x.body
        if x.body or (length is None and b"transfer-encoding" not in x.headers):
            framing = b"" if x.method in ("GET", "DELETE") and not x.body else b"content-length: %d\r\n" % len(x.body)
        elif length is not None:
            body = x.client.chunks()
            framing = b"content-length: %b\r\n" % length
        else:
            body = _chunked(x.client.chunks())
            framing = b"transfer-encoding: chunked\r\n"
        encoding = x.headers.get(b"content-encoding")
        if encoding is not None:
            framing += b"content-encoding: %b\r\n" % encoding
        head = b"%b%b%b\r\n" % (head, _extra(x, leaf, defaults), framing)
        reply = await self._transport.send(target.origin, head, body, self._timeouts)
        try:
            if reply.status >= 300:
                return await self._error(x, leaf, None, reply)
        except BaseException:
            reply.finish()
            raise
        outcome = Outcome(reply.status)
        outcome.reply = reply
        outcome.head = _head(x, leaf, reply, content_type=True)
        return outcome

    # -- delivering

    async def _deliver(self, x: Exchange, outcome: Outcome) -> None:
        x.status = outcome.status
        x.kind = outcome.kind
        head = outcome.head + _info(x)
        client = x.client
        x.first_byte = self._loop.time()
        if outcome.body is not None:
            x.usage = outcome.usage
            x.committed = True
            client.respond(outcome.status, head, outcome.body)
            return
        reply = outcome.reply
        assert reply is not None
        if outcome.relay is not None:
            try:
                await outcome.relay.deliver(head)
            finally:
                x.usage = outcome.relay.usage
            return
        if reply.complete:
            raw = reply.take()
            x.committed = True
            client.respond(outcome.status, head, raw)
            x.usage = observe.usage_of(raw) if len(raw) < _SMALL else None
            return
        length = headers.value_of(reply.raw_headers, b"content-length")
        body = Body(x, reply, self._loop)
        try:
            await body.deliver(outcome.status, head, int(length) if length is not None else None)
        finally:
            x.usage = body.usage


_JSON = b"content-type: application/json\r\n"


# -- what a request becomes for one leaf


def _admit(x: Exchange, leaf: Leaf) -> str:
    """The model as the provider names it. Raises Refused when key or target may not be used, or not for this model."""
    target, key = leaf.target, x.key
    assert key is not None
    if target.slug is not None and not key.may_use(target.slug):
        raise Refused(
            Kind.FORBIDDEN,
            f"This API key may not use the virtual key {target.slug!r}.",
            code="virtual_key_not_allowed",
        )
    if target.expires_at is not None and target.expires_at <= time():
        raise Refused(
            Kind.UNAUTHENTICATED,
            f"The virtual key {target.name!r} has expired.",
            type="virtual_key_expired_error",
            code="01",
        )
    asked = x.model
    override = leaf.override_params.get("model") if leaf.override_params else None
    if isinstance(override, str):
        asked = override.partition("/")[2] if override[:1] == "@" else override
    if asked == peek.DEFAULT or asked == "":
        asked = None
    model = target.model_for(asked)
    if model is None:
        if x.dialect is Dialect.PASSTHROUGH:
            return ""
        raise Refused(Kind.INVALID_REQUEST, "A model is required.", param="model", code="missing_required_parameter")
    asked = asked or model
    if not target.allows(asked, model) or not key.may_ask_for(asked, model):
        raise _not_allowed(x, target, asked)
    return model


def _not_allowed(x: Exchange, target: Target, model: str) -> Refused:
    if target.models is not None and not target.allows(model, target.model_for(model) or model):
        where, allowed = f"by the virtual key {target.name!r}", target.models
    else:
        where, allowed = "by this API key", (x.key.models if x.key is not None else None) or ()
    return Refused(
        Kind.QUOTA_EXCEEDED,
        f"The model {model[:200]!r} is not allowed {where}; allowed: {', '.join(allowed[:20])}.",
        type="model_not_allowed_error",
        param="model",
    )


def _body(x: Exchange, leaf: Leaf, model: str) -> bytes:
    """The request's body for this leaf: the bytes received, unless model or parameters must change."""
    body = x.body
    try:
        if leaf.edits:
            body = _edited(body, leaf)
        if peek.DEFAULT.encode() in body:
            defaulted = msgspec.json.encode(peek.DEFAULT)
            names = tuple(name for name, value in peek.fields(body).items() if bytes(value) == defaulted)
            body = peek.without(body, names)
        # The body's own model says whether anything must change; x.model has lost its slug.
        if peek.peek(body).model != model if leaf.edits or x.model != model or b'"@' in body else False:
            body = peek.with_model(body, model)
    except InvalidRequest as invalid:
        raise _invalid(invalid) from invalid
    return body


def _edited(body: bytes, leaf: Leaf) -> bytes:
    if leaf.default_params:
        present = peek.fields(body)
        body = peek.with_params(body, {k: v for k, v in leaf.default_params.items() if k not in present})
    if leaf.override_params:
        body = peek.with_params(body, leaf.override_params)
    # Deeper paths than the top level belong to the config objects' own pass.
    return peek.without(body, tuple(leaf.drop_params)) if leaf.drop_params else body


def _strict(x: Exchange, leaf: Leaf) -> bool:
    if x.headers.get(b"x-portkey-strict-open-ai-compliance") == b"false":
        return False
    return leaf.strict is not False


def _request_timeout(x: Exchange, leaf: Leaf) -> float | None:
    text = x.headers.get(b"x-portkey-request-timeout")
    if text is None:
        return leaf.timeout
    if not text.isdigit() or not 0 < int(text) <= 86_400_000:
        raise Refused(
            Kind.INVALID_REQUEST,
            "x-portkey-request-timeout must be a whole number of milliseconds, at most a day.",
            param="x-portkey-request-timeout",
        )
    return int(text) / 1000


def _extra(x: Exchange, leaf: Leaf, defaults: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """The header lines that this request adds to the prebuilt ones."""
    asked = x.header(b"x-portkey-forward-headers")
    names = tuple(asked.split(",")) if asked is not None else leaf.forward_headers
    vendor = "anthropic" if leaf.target.provider.name == "anthropic" else "openai"
    sent = headers.for_provider(x.headers, vendor)
    stored = leaf.target.headers
    lines = [line for name, line in defaults if name not in sent]
    for name, value in sent.items():
        # What the operator stored stands, but for those that the row says a client may replace.
        if name.decode() not in stored or any(name == replaceable for replaceable, _ in defaults):
            lines.append(b"%b: %b\r\n" % (name, value))
    if names:
        lines.append(headers.forwarded(names, x.raw_headers))
    return b"".join(lines)


def _below_version(path: str) -> str:
    rest = path.removeprefix("/v1")
    return rest.removeprefix("/v1") if rest.startswith("/v1/") else rest


async def _chunked(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for piece in pieces:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


# -- what an ending becomes


def _head(x: Exchange, leaf: Leaf, reply: Reply, *, content_type: bool, dropped: tuple[str, ...] = ()) -> bytes:
    lines = headers.for_client(reply.raw_headers, content_type=content_type)
    if dropped:
        lines += b"x-loopway-dropped-params: %b\r\n" % _NOT_A_NAME.sub("?", ",".join(dropped))[:1000].encode()
    return lines


_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_.,\[\]-]")  # the names are the client's own: no line end gets into a header


def _info(x: Exchange) -> bytes:
    leaf = x.leaf
    if leaf is None:
        return b""
    return _INFO % (leaf.target.provider.name.encode(), leaf.where.encode(), x.retries)


_INFO = (
    b"x-portkey-provider: %b\r\n"
    b"x-portkey-last-used-option-index: %b\r\n"
    b"x-portkey-retry-attempt-count: %d\r\n"
    b"x-portkey-cache-status: DISABLED\r\n"
)


def _invalid(invalid: InvalidRequest) -> Refused:
    return Refused(Kind.INVALID_REQUEST, invalid.message, param=invalid.param, code=invalid.code)


def _refusal(x: Exchange, refused: Refused) -> Outcome:
    outcome = Outcome(refused.status)
    outcome.kind, outcome.message, outcome.head = refused.kind, refused.message, _JSON
    outcome.body = errors.body(
        x.dialect.family, refused.kind, refused.message, type=refused.type, param=refused.param, code=refused.code
    )
    return outcome


def _upstream_error(x: Exchange, error: errors.UpstreamError) -> Outcome:
    # A stream's own error comes under a 200; what it means decides the status that retries and clients see.
    status = error.status if error.status >= 400 else TRAITS[error.kind].status
    outcome = Outcome(status)
    outcome.kind, outcome.message, outcome.head = error.kind, error.message, _JSON
    outcome.body = errors.body(
        x.dialect.family, error.kind, error.message, type=error.type, param=error.param, code=error.code
    )
    return outcome


def _failure(x: Exchange, failure: UpstreamFailure) -> Outcome:
    if failure.kind is Kind.FORBIDDEN:
        raise Refused(Kind.INVALID_REQUEST, failure.message, param="custom_host", source=Source.CLIENT)
    outcome = Outcome(TRAITS[failure.kind].status)
    outcome.kind, outcome.message, outcome.head = failure.kind, failure.message, _JSON
    outcome.body = errors.body(x.dialect.family, failure.kind, failure.message, code=failure.kind.value)
    return outcome


def _estimated(x: Exchange) -> Outcome:
    """Tokens counted here, for a provider that counts none."""
    outcome = Outcome(200)
    try:
        outcome.body = b'{"input_tokens":%d}' % estimate.input_tokens(x.body)
    except InvalidRequest as invalid:
        raise _invalid(invalid) from invalid
    outcome.head = _JSON + b"x-loopway-estimated: true\r\n"
    return outcome


def _timed_out(x: Exchange, timeout: float) -> Outcome:
    outcome = Outcome(408)
    message = f"Request exceeded the timeout sent in the request: {round(timeout * 1000)}ms"
    outcome.kind, outcome.message, outcome.head = Kind.TIMEOUT, message, _JSON
    outcome.body = errors.body(x.dialect.family, Kind.TIMEOUT, message, type="timeout_error")
    return outcome


# -- waiting between attempts


def _wait(tried: int, leaf: Leaf, outcome: Outcome) -> float | None:
    """Seconds before the next try: 1, 2, 4 … ± 20 %, or what the provider asked for. None: do not try again."""
    if leaf.use_retry_after and outcome.retry_after is not None and outcome.status == 429:
        return outcome.retry_after if outcome.retry_after < _RETRY_AFTER_CAP else None
    return float(_BASE_WAIT * 2**tried * random.uniform(0.8, 1.2))


def _retry_after(reply: Reply) -> float | None:
    """Seconds, from whichever spelling the provider uses."""
    for name in (b"retry-after-ms", b"x-ms-retry-after-ms"):
        value = headers.value_of(reply.raw_headers, name)
        if value is not None and value.isdigit():
            return int(value) / 1000
    value = headers.value_of(reply.raw_headers, b"retry-after")
    if value is None:
        return None
    try:
        return float(value)
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value.decode("latin-1")).timestamp() - time())
    except (ValueError, TypeError):
        return None
