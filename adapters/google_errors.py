"""Reading what Google's APIs say when something went wrong: `{"error": {code, message, status, details}}`.

Streams may give it inside an array. What stands before Google's servers answers in HTML or plain text.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from adapters import openai_errors
from adapters.errors import TRAITS, Kind, UpstreamError, kind_of
from adapters.values import UNREADABLE


class Detail(Struct, gc=False, rename="camel"):
    kind: str = msgspec.field(default="", name="@type")
    retry_delay: str | None = None
    reason: str | None = None


class Error(Struct, gc=False):
    code: int | None = None
    message: str | None = None
    status: str | None = None
    details: list[Detail] | None = None


class Body(Struct, gc=False):
    error: Error


_decode = msgspec.json.Decoder(Body | list[Body]).decode

STATUSES: dict[str | None, tuple[Kind, int]] = {
    "INVALID_ARGUMENT": (Kind.INVALID_REQUEST, 400),
    "FAILED_PRECONDITION": (Kind.INVALID_REQUEST, 400),
    "OUT_OF_RANGE": (Kind.INVALID_REQUEST, 400),
    "UNAUTHENTICATED": (Kind.UNAUTHENTICATED, 401),
    "PERMISSION_DENIED": (Kind.FORBIDDEN, 403),
    "NOT_FOUND": (Kind.NOT_FOUND, 404),
    "ABORTED": (Kind.CONFLICT, 409),
    "ALREADY_EXISTS": (Kind.CONFLICT, 409),
    "RESOURCE_EXHAUSTED": (Kind.RATE_LIMITED, 429),
    "CANCELLED": (Kind.CANCELLED, 499),
    "INTERNAL": (Kind.BAD_UPSTREAM, 500),
    "UNKNOWN": (Kind.BAD_UPSTREAM, 500),
    "UNAVAILABLE": (Kind.OVERLOADED, 503),
    "DEADLINE_EXCEEDED": (Kind.TIMEOUT, 504),
}
"""Google's error words, with the status each has when it comes inside a stream."""

_REASONS = {"API_KEY_INVALID": Kind.UNAUTHENTICATED, "API_KEY_SERVICE_BLOCKED": Kind.FORBIDDEN}
"""Reasons that say more than the word they come with: Google answers a wrong key with INVALID_ARGUMENT."""


def read(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """The error that a non-2xx answer means. Takes any body, and never raises; the provider's status is kept."""
    error = _parse(body)
    if error is None or (error.code is None and error.status is None):
        # Of other makers' models at Vertex AI it is their own that comes through.
        return openai_errors.read(status, headers, body)
    kind, _ = STATUSES.get(error.status) or (kind_of(status), status)
    return _told(error, kind, status)


def read_event(body: bytes) -> UpstreamError:
    """The error that an event within a stream tells; its status is the one its word has elsewhere."""
    return find(body) or _told(Error(), Kind.BAD_UPSTREAM, TRAITS[Kind.BAD_UPSTREAM].status)


def find(body: bytes) -> UpstreamError | None:
    """The same; None where it tells of none in Google's words."""
    error = _parse(body)
    if error is None or not (error.code or error.message or error.status):
        return None
    status = error.code if error.code is not None and 400 <= error.code < 600 else None
    kind = kind_of(status) if status is not None else Kind.BAD_UPSTREAM
    kind, usual = STATUSES.get(error.status) or (kind, TRAITS[kind].status)
    return _told(error, kind, status or usual)


def _parse(body: bytes) -> Error | None:
    found: Body | list[Body]
    try:
        found = _decode(body)
    except UNREADABLE:
        return None
    if isinstance(found, list):
        return found[0].error if found else None
    return found.error


def _told(error: Error, kind: Kind, status: int) -> UpstreamError:
    message = error.message or f"The provider answered with status {status} and no message."
    wait = None
    for detail in error.details or ():
        kind = _REASONS.get(detail.reason or "", kind)
        wait = _seconds(detail.retry_delay) if detail.retry_delay else wait
    code = None if error.code is None else str(error.code)
    return UpstreamError(kind, status, openai_errors.short(message), error.status, code, retry_after=wait)


def _seconds(text: str) -> float | None:
    """A duration as protocol buffers write it, such as `34.4s`."""
    number = text.removesuffix("s")
    return float(number) if number.replace(".", "", 1).isdecimal() and len(number) < 16 else None
