"""What went wrong, in words every dialect shares, and how each client dialect says it.

One table gives each `Kind` its status, whether another try may help, whether it counts against the target's health,
and the names OpenAI's and Anthropic's clients know it by.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec


class Kind(StrEnum):
    """Why a request failed. The value is also the metrics label."""

    INVALID_REQUEST = "invalid_request"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXCEEDED = "quota_exceeded"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    BAD_UPSTREAM = "bad_upstream"
    CONTENT_FILTERED = "content_filtered"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


class Traits(NamedTuple):
    """What follows from a kind. `openai` and `anthropic` are the `error.type` their clients know."""

    status: int
    retryable: bool
    openai: str
    anthropic: str


TRAITS: dict[Kind, Traits] = {
    Kind.INVALID_REQUEST: Traits(400, False, "invalid_request_error", "invalid_request_error"),
    Kind.UNAUTHENTICATED: Traits(401, False, "authentication_error", "authentication_error"),
    Kind.FORBIDDEN: Traits(403, False, "permission_error", "permission_error"),
    Kind.NOT_FOUND: Traits(404, False, "not_found_error", "not_found_error"),
    Kind.CONFLICT: Traits(409, False, "conflict_error", "invalid_request_error"),
    Kind.TOO_LARGE: Traits(413, False, "invalid_request_error", "request_too_large"),
    Kind.RATE_LIMITED: Traits(429, True, "rate_limit_error", "rate_limit_error"),
    Kind.QUOTA_EXCEEDED: Traits(412, False, "insufficient_quota", "billing_error"),
    Kind.OVERLOADED: Traits(503, True, "overloaded_error", "overloaded_error"),
    Kind.TIMEOUT: Traits(504, True, "timeout_error", "timeout_error"),
    Kind.UNREACHABLE: Traits(502, True, "upstream_error", "api_error"),
    Kind.BAD_UPSTREAM: Traits(502, True, "upstream_error", "api_error"),
    Kind.CONTENT_FILTERED: Traits(400, False, "content_filter", "invalid_request_error"),
    Kind.CANCELLED: Traits(499, False, "cancelled", "api_error"),
    Kind.INTERNAL: Traits(500, False, "server_error", "api_error"),
}

_BY_STATUS: dict[int, Kind] = {
    400: Kind.INVALID_REQUEST,
    401: Kind.UNAUTHENTICATED,
    402: Kind.QUOTA_EXCEEDED,
    403: Kind.FORBIDDEN,
    404: Kind.NOT_FOUND,
    408: Kind.TIMEOUT,
    409: Kind.CONFLICT,
    412: Kind.QUOTA_EXCEEDED,
    413: Kind.TOO_LARGE,
    422: Kind.INVALID_REQUEST,
    429: Kind.RATE_LIMITED,
    503: Kind.OVERLOADED,
    504: Kind.TIMEOUT,
    529: Kind.OVERLOADED,
}


def kind_of(status: int) -> Kind:
    """The kind that an upstream's HTTP status means when its body says nothing better."""
    kind = _BY_STATUS.get(status)
    if kind is not None:
        return kind
    return Kind.INVALID_REQUEST if 400 <= status < 500 else Kind.BAD_UPSTREAM


class UpstreamError(msgspec.Struct, frozen=True):
    """A provider's error as a value. `type` and `code` are the provider's own words where it gave any; `retry_after` is
    in seconds, where the body says when to come back."""

    kind: Kind
    status: int
    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None


NO_THREADS = "thread_unsupported_request"
"""Anthropic's own code for a conversation that the server cannot hold. Its SDKs look for it in `details.error_code`,
and go on by sending the whole conversation."""


class InvalidRequest(Exception):
    """The client's request is wrong or cannot be translated. `param` is the JSON path of the field, such as `stop`."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


def no_thread() -> InvalidRequest:
    """What is said to `thread`, by which Anthropic's clients leave the conversation with the server."""
    return InvalidRequest(
        "Only Anthropic itself keeps conversations: send all `messages`, without `thread`.", "thread", NO_THREADS
    )


NO_WORD = "The provider's answer says nothing, nor why it ended."


class BadAnswer(Exception):
    """A provider's 2xx answer is not what its dialect allows. The message names what was missing, never the body."""


class _OpenAIError(msgspec.Struct):
    message: str
    type: str
    param: str | None
    code: str | None


class _OpenAIBody(msgspec.Struct):
    # Both shapes at once: OpenAI's clients read `error`, the Portkey SDKs' native paths read `status` and `message`.
    error: _OpenAIError
    status: str
    message: str


class _OpenAIEvent(msgspec.Struct):
    error: _OpenAIError


class _ResponsesEvent(msgspec.Struct):
    # OpenAI's own has all of it in `error`; its documentation, and some clients, have it beside.
    error: _OpenAIError
    message: str
    code: str | None
    param: str | None
    sequence_number: int = 0
    type: str = "error"


class _AnthropicError(msgspec.Struct, omit_defaults=True):
    type: str
    message: str
    code: str | None = None  # Anthropic has none; the gateway's own errors do
    details: dict[str, Any] | None = None


class _AnthropicBody(msgspec.Struct):
    error: _AnthropicError
    type: str = "error"
    request_id: str | None = None


class _GoogleError(msgspec.Struct, omit_defaults=True):
    code: int
    message: str
    status: str
    details: list[dict[str, Any]] = []


class _GoogleBody(msgspec.Struct):
    error: _GoogleError


_encode = msgspec.json.Encoder().encode


def body(
    family: str,
    kind: Kind,
    message: str,
    *,
    type: str | None = None,
    param: str | None = None,
    code: str | None = None,
    status: int | None = None,
    request_id: str | None = None,
    findings: tuple[str, ...] = (),
) -> bytes:
    """The JSON body of an error answer as clients of that family (`adapters.types.Dialect.family`) read it. `status` is
    the answer's HTTP status where it is not the kind's own. `findings` are what the message is about, one by one: SDKs
    show their users the innermost message and nothing else."""
    outer = message
    if findings:
        message = f"{message}: {'; '.join(findings)}"
    if family == "anthropic":
        return _encode(_AnthropicBody(_anthropic(kind, message, type, param, code), request_id=request_id))
    if family in ("gemini", "gemini_array"):
        return _encode(_google(kind, message, type, param, code, status))
    error = _OpenAIError(message, type or TRAITS[kind].openai, param, code)
    return _encode(_OpenAIBody(error, "failure", outer))


def event(
    family: str,
    kind: Kind,
    message: str,
    *,
    type: str | None = None,
    param: str | None = None,
    code: str | None = None,
    status: int | None = None,
    sequence: int = 0,
) -> bytes:
    """One server-sent event that ends a stream with an error; no `[DONE]` and no `message_stop` follow it. For clients
    that read a stream as one array (`gemini_array`) it is the last item. `sequence` is its number where events have one
    (`responses`)."""
    if family == "anthropic":
        told = _AnthropicBody(_anthropic(kind, message, type, param, code))
        return b"event: error\ndata: %b\n\n" % _encode(told)
    if family == "responses":
        error = _OpenAIError(message, type or TRAITS[kind].openai, param, code)
        return b"event: error\ndata: %b\n\n" % _encode(_ResponsesEvent(error, message, code, param, sequence))
    if family == "gemini":
        return b"data: %b\r\n\r\n" % _encode(_google(kind, message, type, param, code, status))
    if family == "gemini_array":
        return b",\r\n%b]" % _encode(_google(kind, message, type, param, code, status))
    return b"data: %b\n\n" % _encode(_OpenAIEvent(_OpenAIError(message, type or TRAITS[kind].openai, param, code)))


_GOOGLE: dict[Kind, str] = {
    Kind.INVALID_REQUEST: "INVALID_ARGUMENT",
    Kind.UNAUTHENTICATED: "UNAUTHENTICATED",
    Kind.FORBIDDEN: "PERMISSION_DENIED",
    Kind.NOT_FOUND: "NOT_FOUND",
    Kind.CONFLICT: "ABORTED",
    Kind.TOO_LARGE: "INVALID_ARGUMENT",
    Kind.RATE_LIMITED: "RESOURCE_EXHAUSTED",
    Kind.QUOTA_EXCEEDED: "RESOURCE_EXHAUSTED",
    Kind.OVERLOADED: "UNAVAILABLE",
    Kind.TIMEOUT: "DEADLINE_EXCEEDED",
    Kind.UNREACHABLE: "UNAVAILABLE",
    Kind.BAD_UPSTREAM: "INTERNAL",
    Kind.CONTENT_FILTERED: "INVALID_ARGUMENT",
    Kind.CANCELLED: "CANCELLED",
    Kind.INTERNAL: "INTERNAL",
}
"""Google's canonical words; its clients read these in `error.status`."""
_GOOGLE_STATUSES: dict[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""Where a status has one word, that word goes with it."""
_GOOGLE_WORDS = frozenset((*_GOOGLE.values(), "FAILED_PRECONDITION", "OUT_OF_RANGE", "ALREADY_EXISTS", "UNKNOWN"))
_RPC = "type.googleapis.com/google.rpc."


def _google(
    kind: Kind, message: str, type: str | None, param: str | None, code: str | None, status: int | None
) -> _GoogleBody:
    word = type if type is not None and type in _GOOGLE_WORDS else _GOOGLE_STATUSES.get(status or 0) or _GOOGLE[kind]
    details: list[dict[str, Any]] = []
    if param is not None:
        violation = {"field": param, "description": message}
        details.append({"@type": f"{_RPC}BadRequest", "fieldViolations": [violation]})
    reason = code or (type if type != word else None)
    if reason is not None:
        metadata = {"type": type} if type is not None and type not in (word, reason) else {}
        info = {"@type": f"{_RPC}ErrorInfo", "reason": reason, "domain": "loopway"}
        details.append({**info, "metadata": metadata} if metadata else info)
    return _GoogleBody(_GoogleError(status or TRAITS[kind].status, message, word, details))


_INDEX = re.compile(r"\[(\d+)\]")


def _located(message: str, param: str | None) -> str:
    """Anthropic's errors have no field for the place of what is wrong: it stands before the message, as its own do
    (`messages.0.content: Field required`), unless the message names it."""
    if not param or param in message:
        return message
    place = _INDEX.sub(r".\1", param)
    return f"{place}: {message}"


_ANTHROPIC_TYPES = frozenset(traits.anthropic for traits in TRAITS.values())


def _anthropic(kind: Kind, message: str, type: str | None, param: str | None, code: str | None) -> _AnthropicError:
    word = _anthropic_type(kind, type)
    details: dict[str, Any] | None = None
    if code == NO_THREADS:
        details = {"error_code": code, "unsupported": [param]}
    elif type is not None and type != word:
        details = {"type": type}  # the provider's own word, for whoever reads it
    return _AnthropicError(word, _located(message, param), code, details)


def _anthropic_type(kind: Kind, type: str | None) -> str:
    # Anthropic's clients switch on a closed list of types; a foreign word would mean nothing to them. One word is in
    # both languages and means less in OpenAI's, which uses it for 401, 403 and 404 as well: there the kind decides.
    known = type in _ANTHROPIC_TYPES and type != TRAITS[Kind.INVALID_REQUEST].openai
    return type if type is not None and known else TRAITS[kind].anthropic
