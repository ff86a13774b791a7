"""A local guess at tokens, where no provider counts: labelled as a guess wherever it is shown."""

from __future__ import annotations

import re
from math import ceil
from typing import Any

import msgspec

from adapters.peek import malformed
from adapters.values import UNREADABLE

_BYTES_PER_TOKEN = 4
_PER_MESSAGE = 3
_PER_IMAGE = 1_600

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def input_tokens(body: bytes) -> int:
    """About how many tokens the prompt of a chat, messages or generateContent request has: its text's bytes by four, a
    flat price for each image or document. Raises InvalidRequest when the body is not a JSON object."""
    try:
        request = _decode(body)
    except UNREADABLE as error:
        raise malformed(error) from error
    inner = request.get("generateContentRequest")
    request = {**request, **inner} if isinstance(inner, dict) else request
    messages = request.get("messages") or request.get("contents")
    count = _PER_MESSAGE * len(messages) if isinstance(messages, list) else 0
    return count + sum(_size(request.get(name)) for name in _COUNTED) // _BYTES_PER_TOKEN


_COUNTED = ("system", "systemInstruction", "messages", "contents", "tools")


def output_tokens(sample: bytes, events: int) -> int:
    """About how many tokens a stream of `events` events has said, of which `sample` shows some: the text in them by
    four bytes, or one for each event that has text, whichever is more. (Most providers send a token an event.)"""
    texts = [_said(part) for part in _EVENT.split(sample)]
    seen = [size for size in texts if size is not None]
    if not seen:
        return 0
    share = max(1.0, events / len(seen))
    return ceil(share * max(sum(seen) / _BYTES_PER_TOKEN, sum(1 for size in seen if size)))


def _said(event: bytes) -> int | None:
    """Bytes of text in one event of a stream, in OpenAI's or Anthropic's words; None for what is no whole event."""
    for line in event.splitlines():
        if line.startswith(b"data:"):
            try:
                return _text(_decode(line[5:]))
            except UNREADABLE:
                return None
    return None


_EVENT = re.compile(rb"\r?\n\r?\n")
_SAID = frozenset(
    ("arguments", "content", "partial_json", "reasoning", "reasoning_content", "refusal", "text", "thinking")
)


def _text(value: Any, depth: int = 0) -> int:
    """Bytes of everything in an event that is an answer's text."""
    if depth > 16:
        return 0
    if isinstance(value, list):
        return sum(_text(item, depth + 1) for item in value)
    if not isinstance(value, dict):
        return 0
    return sum(
        len(item.encode("utf-8", "replace")) if isinstance(item, str) else _text(item, depth + 1)
        for name, item in value.items()
        if not isinstance(item, str) or name in _SAID
    )


def _size(value: Any, depth: int = 0) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace"))
    if depth > 64:
        return 0
    if isinstance(value, list):
        return sum(_size(item, depth + 1) for item in value)
    if isinstance(value, dict):
        if value.get("type") in ("base64", "image_url") or "file_data" in value or "mimeType" in value:
            return _PER_IMAGE * _BYTES_PER_TOKEN
        return sum(_size(item, depth + 1) + len(name) for name, item in value.items())
    return 2 if value is not None else 0
