"""Reading what OpenAI-compatible providers say when something went wrong.

OpenAI's own shape is `{"error": {"message", "type", "param", "code"}}`. Its imitators say it in half a dozen other
ways, and the proxies in front of them in plain text, in HTML or not at all. `read` takes any of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from adapters.errors import TRAITS, Kind, UpstreamError, kind_of
from adapters.values import UNREADABLE

_LONGEST = 2000
"""Characters of a provider's message that are passed on."""

CUT = " […]"
"""What stands where a provider's words were too many to pass on, or to keep."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

_CODES: dict[str, Kind] = {
    "insufficient_quota": Kind.QUOTA_EXCEEDED,
    "billing_hard_limit_reached": Kind.QUOTA_EXCEEDED,
    "billing_not_active": Kind.QUOTA_EXCEEDED,
    "context_length_exceeded": Kind.INVALID_REQUEST,
    "string_above_max_length": Kind.INVALID_REQUEST,
    "content_filter": Kind.CONTENT_FILTERED,
    "content_policy_violation": Kind.CONTENT_FILTERED,
    "ResponsibleAIPolicyViolation": Kind.CONTENT_FILTERED,
}
"""Words that say more than the status they come with: OpenAI answers an empty account with 429, for one."""

_WORDS: dict[str, Kind] = {
    **_CODES,
    "invalid_request_error": Kind.INVALID_REQUEST,
    "invalid_api_key": Kind.UNAUTHENTICATED,
    "authentication_error": Kind.UNAUTHENTICATED,
    "permission_error": Kind.FORBIDDEN,
    "model_not_found": Kind.NOT_FOUND,
    "not_found_error": Kind.NOT_FOUND,
    "rate_limit_exceeded": Kind.RATE_LIMITED,
    "rate_limit_error": Kind.RATE_LIMITED,
    "requests": Kind.RATE_LIMITED,
    "tokens": Kind.RATE_LIMITED,
    "overloaded": Kind.OVERLOADED,
    "overloaded_error": Kind.OVERLOADED,
    "engine_overloaded": Kind.OVERLOADED,
    "service_unavailable": Kind.OVERLOADED,
    "timeout": Kind.TIMEOUT,
    "timeout_error": Kind.TIMEOUT,
    "rate_limited": Kind.RATE_LIMITED,
    "slow_down": Kind.RATE_LIMITED,
    "server_is_overloaded": Kind.OVERLOADED,
    "vector_store_timeout": Kind.TIMEOUT,
    **dict.fromkeys(
        ("bio_policy", "misalignment_policy_violation", "image_content_policy_violation"), Kind.CONTENT_FILTERED
    ),
    **dict.fromkeys(
        (
            "invalid_prompt", "invalid_image", "invalid_image_format", "invalid_base64_image", "invalid_image_url",
            "image_too_large", "image_too_small", "image_parse_error", "invalid_image_mode", "image_file_too_large",
            "unsupported_image_media_type", "empty_image_file", "failed_to_download_image", "image_file_not_found",
            "data_residency_mismatch",
        ),
        Kind.INVALID_REQUEST,
    ),
}  # fmt: skip
"""The same for errors inside a stream, and those that a Response under a 200 failed with, where no status says
anything."""

_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


class _Found(NamedTuple):
    message: str | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None


def read(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """The error that a non-2xx answer means. Takes any body, and never raises.

    The provider's status is kept; the kind follows from it unless the provider's own code says better.
    """
    found = _look(_parse(body)) or _Found(_prose(body))
    message = found.message or f"The provider answered with status {status} and no message."
    kind = _named(_CODES, found) or kind_of(status)
    return UpstreamError(kind, status, short(message), found.type, found.code, found.param)


def read_event(data: bytes) -> UpstreamError | None:
    """The error that an event of a stream, or an answer under a 200, carries; None when it carries none. Never raises.

    The status is the one the provider names as a numeric `code`, else the one that goes with the kind.
    """
    value = _parse(data)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]  # so Google's servers put it
    if isinstance(value, dict) and "choices" in value and not value.get("error"):
        value = _of_choice(value["choices"])
    if not isinstance(value, dict):
        return None
    found = _look(value)
    if found is None:
        return None
    status = _status(found.code)
    kind = _named(_WORDS, found) or (Kind.BAD_UPSTREAM if status is None else kind_of(status))
    message = found.message or "The provider reported an error without a message."
    return UpstreamError(kind, status or TRAITS[kind].status, short(message), found.type, found.code, found.param)


def _of_choice(choices: Any) -> Any:
    """What a choice that failed says, as OpenRouter tells it; None where none did."""
    for each in choices if isinstance(choices, list) else ():
        if isinstance(each, dict) and isinstance(each.get("error"), dict):
            return {"error": each["error"]}
    return None


def short(message: str) -> str:
    """A provider's message, cut with a mark where it is longer than what is passed on."""
    return message if len(message) <= _LONGEST else f"{message[: _LONGEST - len(CUT)]}{CUT}"


def _status(code: str | None) -> int | None:
    return int(code) if code is not None and len(code) == 3 and code.isdecimal() and code[0] in "45" else None


def _parse(body: bytes) -> Any:
    try:
        return _decode(body)
    except UNREADABLE:
        return None


def _named(table: Mapping[str, Kind], found: _Found) -> Kind | None:
    return table.get(found.code or "") or table.get(found.type or "")


def _look(value: Any) -> _Found | None:
    """Finds the error in a decoded body; None when it holds nothing like one."""
    if isinstance(value, list):
        # Google's compatible endpoint wraps its one error object in an array.
        return _look(value[0]) if value and isinstance(value[0], dict) else None
    if isinstance(value, str):
        return _Found(value) if value.strip() else None
    if not isinstance(value, dict):
        return None
    error = value.get("error")
    if isinstance(error, dict) and error:
        return _from_object(error)
    if isinstance(error, str) and error:
        return _from_object({**value, "message": value.get("message") or error})
    for name, reader in _SHAPES:
        found = reader(value) if value.get(name) else None
        if found is not None:
            return found
    return None


def _from_object(error: dict[str, Any]) -> _Found:
    message = _text(error.get("message")) or _text(error.get("detail")) or _text(error.get("msg"))
    code = _text(error.get("code"))
    inner = error.get("innererror")
    if isinstance(inner, dict) and code not in _CODES:
        # Azure names a refusal by its content filter only here.
        named = _text(inner.get("code"))
        code = named if named in _CODES else code
    return _Found(message or _json(error), _text(error.get("type")), code, _text(error.get("param")))


def _from_list(value: dict[str, Any]) -> _Found | None:
    errors = value["errors"]
    if isinstance(errors, dict):
        return _Found(_json(errors))
    if not isinstance(errors, list):
        return _Found(_text(errors))
    first = errors[0]
    if not isinstance(first, dict):
        return _Found("; ".join(_text(each) or "" for each in errors))
    return _from_object(first)


def _from_detail(value: dict[str, Any]) -> _Found | None:
    """FastAPI's shape: a string, an object, or a list of `{loc, msg, type}` where `loc` starts with `body`."""
    detail = value["detail"]
    if isinstance(detail, dict):
        return _from_object(detail)
    if not isinstance(detail, list):
        return _Found(_text(detail))
    messages = []
    for each in detail:
        path = _path(each)
        text = (_text(each.get("msg")) if isinstance(each, dict) else None) or _text(each) or ""
        messages.append(f"{path}: {text}" if path else text)
    first = detail[0]
    type = _text(first.get("type")) if isinstance(first, dict) else None
    return _Found("; ".join(messages), type, None, _path(first))


def _path(each: Any) -> str | None:
    steps = each.get("loc") if isinstance(each, dict) else None
    if not isinstance(steps, list):
        return None
    path = ""
    for step in steps[1:] if steps[:1] == ["body"] else steps:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    return path or None


_SHAPES = (("message", _from_object), ("detail", _from_detail), ("errors", _from_list), ("msg", _from_object))
"""Top-level keys under which a body without `error` may tell its message, the most telling first."""


def _text(value: Any) -> str | None:
    if value is None or value == "" or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) else _json(value)


def _json(value: Any) -> str:
    try:
        return _encode(value).decode()
    except RecursionError:
        return "The provider's message is nested too deeply to show."


def _prose(body: bytes) -> str | None:
    """The message of a body that is not JSON: its text, or for an HTML page its title."""
    text = body[: 8 * _LONGEST].decode("utf-8", "replace").strip()
    if not text.startswith("<"):
        return " ".join("".join(each if each.isprintable() else " " for each in text).split()) or None
    title = _TITLE.search(text)
    words = " ".join(title.group(1).split()) if title else ""
    return f"The provider answered with an HTML page: {words}" if words else "The provider answered with an HTML page."
