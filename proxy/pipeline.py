"""The life of a request, on one screen.

    authenticate → authorize → read → peek → resolve → limits → forward (attempts, relay) → settle

Each phase either goes on or raises `Refused`. Settling is last and always runs, once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic, time

import msgspec

from adapters import errors, peek
from adapters.errors import InvalidRequest, Kind
from adapters.pieces import paid
from adapters.types import Dialect
from proxy import keys, routing
from proxy.config.snapshot import Key
from proxy.errors import Refused, of_bug
from proxy.exchange import Exchange
from proxy.forward import Forwarder

Settle = Callable[[Exchange, float], None]
_FORM = 32 << 20
"""Bytes of a form that is held to see what model it names; larger ones stream."""


class Pipeline:
    """Runs exchanges. One per worker."""

    def __init__(
        self,
        forwarder: Forwarder,
        settle: Settle,
        max_body: int,
        loop: asyncio.AbstractEventLoop,
        reserve: Callable[[Exchange], None] | None = None,
    ) -> None:
        """`reserve` is called before any provider hears of a request, and may refuse it; None: nobody need know."""
        self.on_refused: Callable[[Exchange], None] | None = None
        """Told of each request that was refused before a target was chosen."""
        self._forwarder = forwarder
        self._settle = settle
        self._reserve = reserve
        self._max_body = max_body
        self._loop = loop

    async def infer(self, x: Exchange, dialect: Dialect, scope: str) -> None:
        """One inference request, from its head to its settlement."""
        x.dialect = dialect
        x.at = time()
        try:
            key = x.key = keys.authenticate(x)
            keys.authorize(key, scope)
            reading = self._read(x)
            if reading is not None:
                await reading
            plan = routing.resolve(x, key)
            if self._reserve is not None:
                self._reserve(x)
            limiter = key.limiter
            if limiter is None:
                await self._forwarder.run(x, plan)
                return
            permit = x.permit = limiter.enter(x, x.model) or await x.queue(limiter.wait(x, x.model))
            try:
                await self._forwarder.run(x, plan)
            finally:
                # A kept answer used nothing: no attempt was made for it.
                permit.leave(x.usage, bool(x.attempts) and 200 <= x.status < 300)
        except Refused as refused:
            refuse(x, refused)
            if self.on_refused is not None and x.leaf is None:
                self.on_refused(x)
        except asyncio.CancelledError:
            x.kind = Kind.CANCELLED
            x.status = x.status or 499
            raise
        except Exception as error:  # noqa: BLE001 - the last line of defence: logged whole, told as a plain 500
            self._broken(x, error)
        finally:
            self._settle(x, monotonic())

    def foresee(self, x: Exchange, dialect: Dialect, key: Key) -> bool:
        """Whether a request whose body is here would come as far as the limits of its key, which may call for what its
        scope says; it is then as it would be there."""
        x.dialect = dialect
        x.at = time()
        x.key = key
        try:
            if self._read(x) is not None:
                return False
            routing.resolve(x, key)
        except Refused:
            return False
        return True

    def _read(self, x: Exchange) -> Awaitable[None] | None:
        """Takes the body, at once if it is here, and looks at it; else what waits for it. On the routes that only pass
        through, bodies that are no JSON stay unread, but for forms that name a model whose price matters."""
        if x.dialect is not Dialect.PASSTHROUGH:
            _expect_json(x)
        elif not _is_json(x) and not _is_paid_form(x, self._max_body):
            return None
        body = x.client.arrived(self._max_body)
        if body is None:
            return self._wait_for_body(x)
        _look(x, body)
        return None

    async def _wait_for_body(self, x: Exchange) -> None:
        _look(x, await x.client.body(self._max_body))

    def _broken(self, x: Exchange, error: Exception) -> None:
        # A fault of ours. The client learns that, and no more; the log has the rest.
        logging.getLogger("loopway").error("request %s failed", x.request_id, exc_info=error)
        refuse(x, of_bug())


def _look(x: Exchange, body: bytes) -> None:
    """Looks at the fields of the body that routing and allow-lists need."""
    x.body = body
    if x.dialect is Dialect.PASSTHROUGH and body[:1] != b"{":
        return
    try:
        seen = peek.peek(body)
    except InvalidRequest as invalid:
        raise Refused(Kind.INVALID_REQUEST, invalid.message, param=invalid.param, code=invalid.code) from invalid
    x.read = monotonic()
    x.model = x.body_model = seen.model
    x.streamed = seen.stream is True
    if seen.user:
        x.user = bytes(seen.user)
    if x.path_model is not None:
        _read_path(x, x.path_model)


def _read_path(x: Exchange, model: str) -> None:
    """Gemini's clients name the model in the path, and say there whether and how the answer shall be streamed."""
    if len(model) > peek.MODEL_LENGTH:
        raise Refused(Kind.INVALID_REQUEST, "The name of the model is too long.", param="model")
    x.model = model.removeprefix("models/")
    x.body_model = None
    x.streamed = x.path.endswith(":streamGenerateContent")
    if x.streamed and "alt=sse" not in x.query:
        x.dialect = Dialect.GEMINI_STREAM_ARRAY


def _is_json(x: Exchange) -> bool:
    media_type = x.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    return media_type == b"application/json" and b"content-encoding" not in x.headers


def _is_paid_form(x: Exchange, limit: int) -> bool:
    """Whether it is a form of no great size, sent where answers cost something by the model that it names."""
    length = x.headers.get(b"content-length", b"")
    return (
        x.headers.get(b"content-type", b"")[:19].lower() == b"multipart/form-data"
        and x.method == "POST"
        and paid(x.path) is not None
        and b"content-encoding" not in x.headers
        and 0 < int(length or b"0") <= min(_FORM, limit)
    )


def _expect_json(x: Exchange) -> None:
    content_type = x.headers.get(b"content-type", b"application/json")
    if content_type == b"application/json" and b"content-encoding" not in x.headers:
        return
    content_type = content_type.partition(b";")[0].strip().lower()
    if content_type != b"application/json":
        raise Refused(
            Kind.INVALID_REQUEST,
            "Invalid content type passed: this route takes application/json.",
            param="content-type",
            close=True,
        )
    if x.headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Refused(Kind.INVALID_REQUEST, "Compressed request bodies are not accepted.", status=415, close=True)


def refuse(x: Exchange, refused: Refused) -> None:
    """Answers with an error of the gateway's own; after the first byte all that is left is to cut."""
    x.kind = refused.kind
    client = x.client
    if x.committed or client.answered:
        client.abort()
        return
    x.status = refused.status
    if refused.close:
        client.hang_up()
    client.respond(refused.status, *told(refused, x.family))


def told(refused: Refused, family: str) -> tuple[bytes, bytes]:
    """The header lines and the body of such an answer, as clients of that family of dialects read it."""
    lines = ["content-type: application/json\r\n"]
    if refused.retry_after is not None:
        lines.append(f"retry-after: {max(1, round(refused.retry_after))}\r\n")
    lines += [f"{name}: {value}\r\n" for name, value in refused.headers]
    body = errors.body(
        family,
        refused.kind,
        refused.message,
        type=refused.type,
        param=refused.param,
        code=refused.code,
        status=refused.status,
        findings=refused.errors,
    )
    if refused.errors:
        body = body[:-1] + b',"errors":' + msgspec.json.encode(refused.errors) + b"}"
    return "".join(lines).encode("latin-1", "replace"), body
