"""A whole chat answer, made of what a provider said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from adapters import peek
from adapters.chat.wire import TIERS, Choice, Completion, OutMessage, OutToolCall, OutUsage, ResponseFormat, Wish
from adapters.types import Call
from adapters.values import BRACE, UNREADABLE, first

_encode = msgspec.json.Encoder().encode
_wish = msgspec.json.Decoder(Wish).decode

_NO_WISH = Wish()
_WISHES = Wish.__struct_fields__


def wish_of(call: Call) -> Wish:
    """What the request says about the form of its answer."""
    try:
        return _wish(call.body)
    except UNREADABLE:
        return _NO_WISH


def wishes(body: bytes) -> bytes:
    """Those fields of a request that `wish_of` reads, as a body of their own. Raises InvalidRequest."""
    top = peek.fields(body)
    return _encode({name: top[name] for name in _WISHES if name in top})


def wants_schema(wanted: ResponseFormat) -> bool:
    """Whether the answer shall be JSON of a schema."""
    if wanted.type != "json_schema" or wanted.json_schema is None:
        return False
    return first(wanted.json_schema.schema) == BRACE


def message_of(
    texts: list[str], calls: list[OutToolCall], legacy: bool, annotations: list[Any] | None = None
) -> OutMessage:
    """The message for the texts and tool calls of an answer; `legacy` clients get the first call alone."""
    content = "".join(texts) if texts or not calls else None
    if not calls:
        return OutMessage("assistant", content, None, None, None, annotations or None)
    if legacy:
        return OutMessage("assistant", content, None, None, calls[0].function)
    return OutMessage("assistant", content, None, calls, None, annotations or None)


def completion(
    call: Call,
    provider: str,
    choices: Sequence[Choice],
    usage: OutUsage | None,
    id: str | None,
    model: str | None,
    tier: str | None = None,
) -> bytes:
    """The answer's body, with the provider's own words for its id and model if it has any, and for the `tier` that
    served it."""
    return _encode(
        Completion(
            id or f"chatcmpl-{call.id}",
            "chat.completion",
            call.created,
            model or call.model,
            choices,
            usage,
            "" if call.strict else provider,
            TIERS.get(tier, "") if tier is not None else "",
        )
    )
