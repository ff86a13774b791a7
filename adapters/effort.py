"""Reasoning effort: a word in one dialect, a budget of tokens in another.

Either becomes the other where a provider knows one only. That loses something wherever two words get the same budget,
or a budget gets a word; who translates names what was lost.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from adapters.values import ABSENT, BRACE, NULL, UNREADABLE, first

_STEPS = ((1024, "low"), (4096, "medium"))
"""Thinking tokens up to which a budget counts as this effort; what is above counts as high."""


class _Thinking(msgspec.Struct, gc=False):
    type: str = ""
    budget_tokens: int | None = None


_PLAIN = {
    b'"enabled"': ("type", "budget_tokens"),
    b'"adaptive"': ("type",),
    b'"disabled"': ("type",),
    b"": ("budget_tokens",),
}
"""What is read of each type of thinking."""
_decode = msgspec.json.Decoder(_Thinking).decode
_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def of_budget(budget: int) -> str:
    """The effort that a budget of thinking tokens asks for."""
    return next((effort for limit, effort in _STEPS if budget <= limit), "high")


def beside(thinking: Raw) -> dict[str, Raw]:
    """What a chat request's `thinking`, a JSON object, says beside its type and budget: `display`, a budget where none
    belongs, a type that nobody here knows, and whatever comes to be."""
    fields = _fields(thinking)
    plain = _PLAIN.get(bytes(fields.get("type", ABSENT)), ())
    return {name: value for name, value in fields.items() if name not in plain and first(value) != NULL}


def implied(thinking: Raw) -> str | None:
    """The effort that a chat request's `thinking` says already: to leave that word out beside it loses nothing."""
    if first(thinking) != BRACE:
        return None
    try:
        found = _decode(thinking)
    except UNREADABLE:
        return None
    return of_budget(found.budget_tokens or 0) if found.type == "enabled" else None


def enabled(thinking: Raw | None) -> bool:
    """Whether a chat request's `thinking`, if it has one, turns it on."""
    if thinking is None or first(thinking) != BRACE:
        return False
    return _fields(thinking).get("type", ABSENT) not in (ABSENT, _DISABLED)


_DISABLED = Raw(b'"disabled"')
