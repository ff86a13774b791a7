"""What a request becomes on its way to one leaf: its model, its body, its header lines."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from time import time
from typing import Any

import msgspec

from adapters import forms, params, peek
from adapters.betas import Known, sift, unheard
from adapters.errors import InvalidRequest, Kind
from adapters.quirks import Quirks
from adapters.types import Call, Dialect, Outbound
from adapters.values import UNREADABLE
from proxy import headers
from proxy.config.leaf import Leaf
from proxy.config.target import Target
from proxy.config.wire import Wire
from proxy.errors import Refused
from proxy.exchange import Exchange
from proxy.outcome import invalid
from proxy.routing import ONLY_VIRTUAL_KEYS

COUNTED_IF_ASKED = frozenset((Dialect.OPENAI_CHAT, Dialect.OPENAI_COMPLETIONS))
"""Dialects whose streams tell their usage to those who ask for it."""

_BETAS = frozenset(
    (
        Dialect.BEDROCK_ANTHROPIC,
        Dialect.BEDROCK_COUNT_TOKENS,
        Dialect.VERTEX_ANTHROPIC,
        Dialect.VERTEX_COUNT_TOKENS,
    )
)
_STORED = "/v1/responses/"
_FORM_MODEL = re.compile(rb'name="model"\r\n(?:[^\r\n]+\r\n)?\r\n([!-~]{1,256})\r\n')
_LONGEST_FIELD = 512
_DEFAULTED = b'"portkey-default"'
_NAME_NO_MODEL = ("/v1/files", "/v1/uploads")


def admit(x: Exchange, leaf: Leaf) -> str:
    """The model as the provider names it. Raises Refused when key or target may not be used, or not for this model."""
    target, key, asked = leaf.target, x.key, x.model
    assert key is not None
    if asked and key.unrestricted and target.open and not leaf.edits and asked != peek.DEFAULT:
        return target.aliases.get(asked, asked) if target.aliases else asked
    if not key.may_use(target.slug):
        _refuse_beside_list(x, target)
    if target.expires_at is not None and target.expires_at <= time():
        message = f"The virtual key {target.name!r} has expired."
        raise Refused(Kind.UNAUTHENTICATED, message, type="virtual_key_expired_error", code="01")
    if x.dialect is Dialect.PASSTHROUGH:
        # Where a path names the model, or the deployment, it is the one that answers, whatever the body says.
        asked = target.model_in(_below_version(x.path)) or asked
        if target.models is not None or key.models is not None:
            _refuse_unread(x, named=bool(asked) or not target.provider.by_model)
        if not asked and x.body and _is_form(x):
            return forms.fields(x.body, x.headers[b"content-type"], "model").get("model", "")[: peek.MODEL_LENGTH]
    override = leaf.override_params.get("model")
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
    if (target.models is not None or key.models is not None) and x.body and _repeats_model(x):
        raise Refused(Kind.INVALID_REQUEST, "The body has more than one `model`.", param="model", code="invalid_json")
    return model


def _refuse_beside_list(x: Exchange, target: Target) -> None:
    """Refuses a target that is not on the list of virtual keys that the API key may use. A config that holds a
    credential itself has no name there: the key may use it if it is the default that the key's operator gave it."""
    assert x.key is not None
    if target.slug is not None:
        message = f"This API key may not use the virtual key {target.slug!r}."
    elif x.config is None:
        message = ONLY_VIRTUAL_KEYS
    elif x.config == x.key.config:
        return
    else:
        message = f"This API key may only use its virtual keys, not the credential in the config {x.config!r}."
    raise Refused(Kind.FORBIDDEN, message, code="virtual_key_not_allowed")


def _refuse_unread(x: Exchange, *, named: bool) -> None:
    """Refuses a body that streams where an allow-list would have to look into it: a form may name any model. So it does
    a request that names none where the provider's paths might."""
    has_body = b"transfer-encoding" in x.headers or x.headers.get(b"content-length", b"0") != b"0"
    if has_body and not named and not x.path.startswith(_NAME_NO_MODEL):
        message = "A model must be named here, because the models that may be used are restricted."
        raise Refused(Kind.QUOTA_EXCEEDED, message, type="model_not_allowed_error", param="model", close=True)
    if (not x.body or _is_form(x)) and has_body and not x.path.startswith(_NAME_NO_MODEL):
        message = "Only JSON bodies are accepted here, because the models that may be used are restricted."
        raise Refused(Kind.QUOTA_EXCEEDED, message, type="model_not_allowed_error", param="model", close=True)


def _is_form(x: Exchange) -> bool:
    return x.headers.get(b"content-type", b"")[:19].lower() == b"multipart/form-data"


def _repeats_model(x: Exchange) -> bool:
    try:
        return peek.repeated(x.body, "model")
    except InvalidRequest as error:
        raise invalid(error) from error


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


def body_for(x: Exchange, leaf: Leaf, model: str) -> bytes:
    """The request's body for this leaf: the bytes received, unless model or parameters must change. Raises Refused."""
    if model == x.body_model and not leaf.edits and b"x-portkey-package-version" not in x.headers:
        return x.body
    if x.path_model is not None:
        return _unnamed(x, leaf)
    body = x.body
    try:
        if leaf.edits:
            body = params.edited(body, leaf.default_params, leaf.override_params, leaf.drops)
        if _DEFAULTED in body:
            # What the SDKs send for a parameter that the user left out is left out here as well.
            names = tuple(name for name, value in peek.fields(body).items() if bytes(value) == _DEFAULTED)
            body = peek.without(body, names)
        if body is not x.body or model != x.body_model:
            body = body if peek.peek(body).model == model else peek.with_model(body, model)
    except InvalidRequest as error:
        raise invalid(error) from error
    return body


def counted(body: bytes) -> bytes:
    """A streamed request's body that asks for the usage as well; everything else in it keeps its bytes. Raises
    Refused."""
    try:
        given = peek.fields(body).get("stream_options")
        options = {} if given is None else msgspec.json.decode(given, type=dict[str, Any] | None) or {}
    except InvalidRequest as error:
        raise invalid(error) from error
    except UNREADABLE:
        return body  # the provider says what is wrong with it
    if options.get("include_usage") is True:
        return body
    return peek.with_params(body, {"stream_options": {**options, "include_usage": True}})


def _unnamed(x: Exchange, leaf: Leaf) -> bytes:
    """The same for a dialect that has the model in the path, and refuses one in the body."""
    if not leaf.edits:
        return x.body
    try:
        body = params.edited(x.body, leaf.default_params, leaf.override_params, leaf.drops)
        return peek.without(body, ("model",))
    except InvalidRequest as error:
        raise invalid(error) from error


def all_or_nothing(x: Exchange, leaf: Leaf) -> bool:
    """Whether a request of which something would stay behind is to be refused."""
    asked = x.headers.get(b"x-portkey-strict-params")
    return asked == b"true" or (leaf.strict_params and asked != b"false")


def lose(x: Exchange, leaf: Leaf, dropped: tuple[str, ...]) -> None:
    """Notes what of a request cannot reach this leaf's provider: its answer and the access log name it. Raises Refused
    (400) instead where config (`strict_params`) or header (`x-loopway-strict-params: true`) asks for all or nothing."""
    if all_or_nothing(x, leaf):
        names = ", ".join(dropped)[:1000]
        raise Refused(
            Kind.INVALID_REQUEST,
            f"The provider {leaf.target.provider.name!r} cannot be told {names}: leave it out, or let it be dropped.",
            param=dropped[0][:200],
            code="unsupported_parameter",
        )
    x.dropped = dropped


def strict(x: Exchange, leaf: Leaf) -> bool:
    """Whether the client gets OpenAI's shape and nothing beside it."""
    if x.headers.get(b"x-portkey-strict-open-ai-compliance") == b"false":
        return False
    return leaf.strict is not False


def request_timeout(x: Exchange, leaf: Leaf) -> float | None:
    """Seconds that header or config allow until the first byte, or None. Raises Refused (400)."""
    text = x.headers.get(b"x-portkey-request-timeout")
    if text is None:
        return leaf.timeout
    if not text.isdigit() or len(text) > 8 or not 0 < int(text) <= 86_400_000:
        raise Refused(
            Kind.INVALID_REQUEST,
            "x-portkey-request-timeout must be a whole number of milliseconds, at most a day.",
            param="x-portkey-request-timeout",
        )
    return int(text) / 1000


def translated(x: Exchange, leaf: Leaf, wire: Wire, model: str, body: bytes) -> tuple[Call, Outbound]:
    """A request in the target's dialect, and what its answer is read by. Raises Refused."""
    call = Call(x.dialect, model, x.streamed, body, x.request_id, int(x.at), strict(x, leaf))
    if wire.quirks is not None:
        call = wire.quirks.told(call)
    if x.prefilled:
        # The target is one that goes on; where it wants a mark, `bent` sets it.
        call = msgspec.structs.replace(call, prefill="")
    if wire.dialect in _BETAS:
        call = msgspec.structs.replace(call, betas=betas(x, leaf.target))
    try:
        sent = wire.codec.request(call)
    except InvalidRequest as error:
        raise invalid(error) from error
    if x.dialect is Dialect.ANTHROPIC_MESSAGES and wire.dialect not in _BETAS:
        lost = unheard(_words(x.header(b"anthropic-beta") or x.header(b"x-portkey-anthropic-beta")))
        if lost:
            sent = msgspec.structs.replace(sent, dropped=sent.dropped + lost)
    return call if sent.middle is None else msgspec.structs.replace(call, middle=sent.middle), sent


def bent(x: Exchange, quirks: Quirks, body: bytes) -> tuple[bytes, tuple[str, ...]]:
    """A body as its provider wants it, and what that cost. Raises Refused."""
    try:
        body, lost = quirks.apply(body)
        return quirks.marked(body) if x.prefilled else body, lost
    except InvalidRequest as error:
        raise invalid(error) from error


def extra_lines(x: Exchange, leaf: Leaf, defaults: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """The header lines that this request adds to the prebuilt ones. Raises Refused (400) for a forbidden one."""
    asked = x.headers.get(b"x-portkey-forward-headers")
    sent = headers.for_provider(x.headers, leaf.target.vendor)
    if not sent and asked is None and not leaf.forward_headers:
        return b"".join([line for _, line in defaults]) if defaults else b""
    stored = leaf.target.headers
    lines = [line for name, line in defaults if name not in sent]
    for name, value in sent.items():
        # What the operator stored stands, but for those that the row says a client may replace.
        if name.decode() not in stored or any(name == replaceable for replaceable, _ in defaults):
            lines.append(b"%b: %b\r\n" % (name, value))
    names = leaf.forward_headers if asked is None else tuple(asked.decode("latin-1").split(","))
    if names:
        lines.append(headers.forwarded(names, x.raw_headers, stored))
    return b"".join(lines)


def betas(x: Exchange, target: Target) -> tuple[str, ...]:
    """The words of `anthropic-beta`: the client's header's, else the target's own."""
    sent = x.header(b"anthropic-beta") or x.header(b"x-portkey-anthropic-beta") or target.headers.get("anthropic-beta")
    return _words(sent)


def _words(line: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in line.split(",") if word.strip()) if line else ()


def sifted_betas(x: Exchange, target: Target, known: Known) -> tuple[bytes, tuple[str, ...]]:
    """The header line with the client's betas as far as a cloud knows them, and the names of the others. What the
    operator stored is in the head already, and stands."""
    if "anthropic-beta" in target.headers:
        return b"", ()
    kept, lost = sift(betas(x, target), known)
    return b"anthropic-beta: %b\r\n" % ",".join(kept).encode("latin-1") if kept else b"", lost


def pass_through_head(x: Exchange, leaf: Leaf, model: str) -> tuple[bytes, str, bytes | AsyncIterator[bytes]]:
    """Head (without its last, empty line), path and body of a request that only passes through; a body not held
    already streams."""
    target = leaf.target
    if x.path.startswith(_STORED) and Dialect.OPENAI_RESPONSES not in target.provider.paths:
        raise Refused(
            Kind.INVALID_REQUEST,
            f"The provider {target.provider.name!r} stores no responses: there is nothing to read, cancel or delete.",
            code="unsupported_operation",
        )
    path = target.passed_path(_below_version(x.path), x.query, model)
    content_type = x.headers.get(b"content-type", b"").decode("latin-1")
    head, defaults = target.request_head(x.method, path, content_type)
    length = x.headers.get(b"content-length")
    held = x.body if x.model is None or not x.body else body_for(x, leaf, model)
    body: bytes | AsyncIterator[bytes] = held
    if held or (length is None and b"transfer-encoding" not in x.headers):
        bare = x.method in ("GET", "DELETE") and not held
        framing = b"" if bare else b"content-length: %d\r\n" % len(held)
    elif length is not None:
        body = _once(x)
        framing = b"content-length: %b\r\n" % length
    else:
        body = _chunked(_once(x))
        framing = b"transfer-encoding: chunked\r\n"
    encoding = x.headers.get(b"content-encoding")
    if encoding is not None:
        framing += b"content-encoding: %b\r\n" % encoding
    return b"%b%b%b" % (head, extra_lines(x, leaf, defaults), framing), path, body


def with_length(head: bytes, length: int) -> bytes:
    """The head of a request whose body was to stream and is now held."""
    return head.replace(b"transfer-encoding: chunked\r\n", b"content-length: %d\r\n" % length)


def _below_version(path: str) -> str:
    if path.startswith("/v1beta1/"):
        # It is Vertex AI's alone, where not everything is below `/v1` as well.
        return path
    rest = path.removeprefix("/v1beta") if path.startswith("/v1beta/") else path.removeprefix("/v1")
    for prefix in ("/v1/", "/proxy/"):
        if rest.startswith(prefix):
            rest = rest[len(prefix) - 1 :]
    return rest


async def _once(x: Exchange) -> AsyncIterator[bytes]:
    """The request's body as it comes. From its first piece on it cannot be sent again."""
    x.consumed = True
    unread, before = x.model is None and _is_form(x), b""
    async for piece in x.client.chunks():
        if unread:
            # For the account alone: nothing is decided by it, as what is further on may say something else.
            named = _FORM_MODEL.search(before + piece)
            before = piece[-_LONGEST_FIELD:]
            if named is not None:
                x.model, unread = named[1].decode(), False
        yield piece


async def _chunked(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for piece in pieces:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"
