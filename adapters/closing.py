"""How an answer that passed through untouched has ended: whole, cut short, or with its provider's error.

Errors within a stream come last, so its tail tells, and it is looked at once, when the stream is over. OpenAI's
imitators end theirs in several ways: with the error alone, with `[DONE]` behind it, or with a last chunk that has an
`error` beside its choices (https://openrouter.ai/docs/api/reference/errors-and-debugging).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from adapters import openai_errors
from adapters.errors import Kind, UpstreamError
from adapters.observe import Tap
from adapters.opening import error_in, events_in
from adapters.types import Dialect
from adapters.values import UNREADABLE

_LAST = 3  # events that are looked at: usage or an empty one may follow an error

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def failure(dialect: Dialect, tap: Tap) -> UpstreamError | None:
    """The provider's own error that ended a stream; None where it ended well, or merely broke off. Never raises."""
    tail = tap.tail()
    if b"error" in tail:
        said = [event for event in events_in(tail) if event[1] != b"[DONE]"][-_LAST:]
        for name, data in reversed(said):
            error = _error(dialect, name, data)
            if error is not None:
                return error
    long = tap.long()
    for name, data in events_in(long) if long else ():
        error = _error(dialect, name, data) or _beginning(dialect, name, data, tail)
        if error is not None:
            return error
    return _UNREAD if tap.failed() else None


def remark(dialect: Dialect, rest: bytes) -> UpstreamError | None:
    """The provider's error where a stream's last words are no event but plain JSON, as Google's servers put it; None
    where they are anything else. Never raises."""
    if rest.lstrip()[:1] not in (b"{", b"["):
        return None
    return error_in(dialect, rest)


def item(dialect: Dialect, tap: Tap) -> UpstreamError | None:
    """The provider's error as the last item of a stream that is one array; None where that is none. Never raises."""
    tail = tap.tail()
    starts = [found.start(1) for found in _ITEM.finditer(tail) if found[2] == b"error"]
    if starts:
        return remark(dialect, tail[starts[-1] :].rstrip().removesuffix(b"]"))
    long = b"" if tap.finished() else tap.long()
    return _beginning(dialect, b"error", long, tail) if long else None


def ends_array(tail: bytes) -> bool:
    """Whether a stream that is one array ends with the array, as far as its tail can tell: from the beginning of an
    item, if there is one in it, everything must be JSON."""
    if not tail.rstrip().endswith(b"]"):
        return False
    starts = [found.start(1) for found in _ITEM.finditer(tail)]
    return not starts or any(is_whole(b"[" + tail[start:]) for start in reversed(starts))


def is_whole(document: bytes) -> bool:
    """Whether a JSON document has come to its end."""
    try:
        msgspec.json.decode(document, type=msgspec.Raw)
    except msgspec.MsgspecError:
        return False
    except (UnicodeDecodeError, RecursionError):
        pass  # it is something else that is wrong with it
    return True


def _error(dialect: Dialect, name: bytes, data: bytes) -> UpstreamError | None:
    if b"error" not in data and name != b"error":
        return None
    try:
        value = _decode(data)
    except UNREADABLE:
        return None  # the rest of an event whose beginning is gone, or none of this language
    if value.get("type") == "response.failed":
        response = value.get("response")
        error = response.get("error") if isinstance(response, Mapping) else None
        return openai_errors.read_event(msgspec.json.encode({"error": error})) or _UNREAD
    if name == b"error" or value.get("error") or value.get("type") == "error" or value.get("object") == "error":
        return error_in(dialect, data)
    return None


def _beginning(dialect: Dialect, name: bytes, data: bytes, tail: bytes) -> UpstreamError | None:
    """What the beginning of an error and the stream's tail say, where what was between them is gone."""
    if name != b"error" and _ERROR_EVENT.match(data) is None:
        return None
    inner = _INNER.search(data)
    said: dict[str, str] = {}
    for found in _FIELD.finditer(data, 0 if inner is None else inner.end()):
        said.setdefault(found["name"].decode(), _value(found))
    for found in _FIELD.finditer(tail):
        if found["name"] != b"message":
            said.setdefault(found["name"].decode(), _value(found))
    return error_in(dialect, msgspec.json.encode({"error": said})) if said else None


def _value(found: re.Match[bytes]) -> str:
    if found["number"] is not None:
        return found["number"].decode()
    try:
        text = _text(found["text"] + b'"')
    except UNREADABLE:
        return openai_errors.CUT
    return text if found["end"] is not None else text + openai_errors.CUT


_text = msgspec.json.Decoder(str).decode
_ERROR_EVENT = re.compile(rb'\{\s*"(?:error"|type"\s*:\s*"(?:error|response\.failed)")')
_INNER = re.compile(rb'"error"\s*:\s*\{')
_FIELD = re.compile(
    rb'"(?P<name>message|type|code|param)"\s*:\s*'
    rb'(?:(?P<number>\d{1,9})|(?P<text>"(?:[^"\\]|\\u[0-9a-fA-F]{4}|\\[^u])*)(?P<end>")?)'
)
_ITEM = re.compile(
    rb'[\[,]\s*(\{)\s*"(candidates|promptFeedback|usageMetadata|modelVersion|responseId|createTime|error)"\s*:'
)
"""How an item of Gemini's arrays begins. No text holds this: its quotation marks would be escaped."""
_UNREAD = UpstreamError(Kind.BAD_UPSTREAM, 502, "The provider ended the stream with an error.")
