"""Mistral's whole answers as OpenAI's clients read them. Only what has one of a few marks in it is looked into."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from adapters import counting
from adapters.errors import BadAnswer
from adapters.mistral.wire import CACHED, SIGNED, Counted
from adapters.types import Call, Usage
from adapters.values import UNREADABLE

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_counted = msgspec.json.Decoder(Counted).decode
marked = re.compile(rb'"content"\s*:\s*\[|"tool_calls"\s*:\s*\[|"model_length"').search
"""Finds what must be mended in an answer or a chunk, if anything."""


def usage_of(body: bytes) -> Usage | None:
    """What an answer or a chunk counted. Mistral tells cached tokens in a field of its own too, or there alone."""
    usage = counting.usage_of(body)
    if usage is None or usage.cached or CACHED not in body:
        return usage
    try:
        return msgspec.structs.replace(usage, cached=_counted(body).usage.num_cached_tokens or 0)
    except UNREADABLE:
        return usage


def mended(call: Call, body: bytes) -> bytes:
    """The whole answer. Raises BadAnswer when the body is no chat completion."""
    try:
        answer = _decode(body)
        choices = answer["choices"]
        if not choices or any(not isinstance(each.get("message"), dict) for each in choices):
            raise BadAnswer("The provider's answer has no choices with a message.")
        if marked(body) is None:
            return body
        for choice in choices:
            mend(choice, choice["message"], call, True)
    except (*UNREADABLE, KeyError, TypeError, AttributeError) as error:
        raise BadAnswer("The provider's answer is not a chat completion.") from error
    return _encode(answer)


def mend(choice: dict[str, Any], said: dict[str, Any], call: Call, first: bool) -> None:
    """Changes a choice and its message, or its delta where it is not the `first` and only one, in place."""
    if choice.get("finish_reason") == "model_length" and call.strict:
        choice["finish_reason"] = "length"
    for each in said.get("tool_calls") or ():
        each.setdefault("type", "function")
    content = said.get("content")
    if not isinstance(content, list):
        return
    texts = [part.get("text", "") for part in content if part.get("type") == "text"]
    thoughts = [_thought(part) for part in content if part.get("type") == "thinking"]
    said["content"] = "".join(texts)
    if call.shows_blocks and thoughts:
        if not any("signature" in each for each in thoughts):
            thoughts = [{"type": "thinking", "thinking": "".join(each["thinking"] for each in thoughts)}]
        said["content_blocks"] = thoughts if first else [{"index": 0, "delta": each} for each in thoughts]


def _thought(part: dict[str, Any]) -> dict[str, str]:
    thought = {"type": "thinking", "thinking": "".join(word.get("text", "") for word in part["thinking"])}
    if part.get("signature"):
        thought["signature"] = f"{SIGNED}{part['signature']}"
    return thought
