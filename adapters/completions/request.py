"""Text completion request → chat request. All that both endpoints know moves as the bytes it came in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from msgspec import Raw

from adapters import peek
from adapters.errors import InvalidRequest
from adapters.types import Call, Outbound
from adapters.values import ABSENT, BRACKET, NULL, QUOTE, first

_encode = msgspec.json.Encoder().encode
_items = msgspec.json.Decoder(list[Raw]).decode

_NOTHING = frozenset((b"null", b"false", b'""'))


def to_chat(call: Call) -> Outbound:
    """Builds the chat request for `call.model`. Raises InvalidRequest with `param` where chat cannot do it."""
    fields = peek.fields(call.body)
    for name, fits in _TEXT_ONLY.items():
        value = fields.pop(name, None)
        if value is not None and not fits(bytes(value)):
            raise InvalidRequest(
                f"`{name}` is not supported: this model is served through the chat endpoint, which does not know it.",
                name,
                "unsupported_parameter",
            )
    prompt = _prompt(fields.pop("prompt", None))
    body: dict[str, Raw] = {
        "model": Raw(_encode(call.model)),
        "messages": Raw(b"".join((b'[{"role":"user","content":', prompt, b"}]"))),
    }
    fields.pop("model", None)
    # The prompt is the conversation here.
    messages = fields.pop("messages", ABSENT)
    body.update(fields)
    return Outbound(_encode(body), dropped=() if first(messages) == NULL else ("messages",))


def _prompt(value: Raw | None) -> Raw:
    """The one text that a prompt is, as a JSON string."""
    if value is None or first(value) == NULL:
        raise InvalidRequest("Object missing required field `prompt`.", "prompt")
    if first(value) == QUOTE:
        return value
    if first(value) != BRACKET:
        raise InvalidRequest("Expected a string or a list with one string.", "prompt")
    items = _items(value)
    if len(items) == 1 and first(items[0]) == QUOTE:
        return items[0]
    if any(first(item) != QUOTE for item in items):
        raise InvalidRequest("Tokens are not supported as a prompt: a chat model takes text.", "prompt")
    raise InvalidRequest(f"Expected one prompt, got {len(items)}: a chat model answers one at a time.", "prompt")


def _is_nothing(value: bytes) -> bool:
    return value in _NOTHING


def _is_one(value: bytes) -> bool:
    return value in (b"null", b"1")


_TEXT_ONLY: Mapping[str, Callable[[bytes], bool]] = {
    "echo": _is_nothing,
    "logprobs": _is_nothing,
    "suffix": _is_nothing,
    "best_of": _is_one,
}
"""Parameters of text models only, and whether a value asks for nothing that chat would not do anyway."""
