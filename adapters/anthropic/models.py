"""What each generation of Anthropic's models takes: one row each, the first that matches a model's name counts."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple


class Traits(NamedTuple):
    """What a model takes.

    `max_tokens` is sent where the client names no limit, for Anthropic wants one. `structured`: JSON schemas for
    answers and strict tools. `reasoning` is how it is told to think: `adaptive`, with a `budget` of tokens, or not at
    all (None). `sampling`: of temperature, top_p and top_k `all` may be set, only `one` of the first two, or `none`.
    `unthinking`: thinking is turned off by `omit`ting it, by saying `disabled`, or `never`. `efforts` are the words
    that it knows for how much.
    """

    max_tokens: int
    structured: bool = False
    reasoning: str | None = None
    sampling: str = "all"
    unthinking: str = "omit"
    efforts: tuple[str, ...] = ()


_END = r"(-0|-latest|[-@]20\d{6}|-v\d|$)"
"""What follows a version that has no minor number."""

_WORDS = ("low", "medium", "high", "xhigh", "max")
_NEW = Traits(64_000, True, "adaptive", "none", efforts=_WORDS)

_ROWS = (
    (r"claude-(instant|[12]\b)", Traits(4096)),
    (r"claude-3-(opus|sonnet|haiku)", Traits(4096)),
    (r"claude-3-5", Traits(8192)),
    (r"claude-3-7", Traits(64_000, reasoning="budget")),
    (rf"claude-(sonnet-4|4-sonnet){_END}", Traits(64_000, reasoning="budget")),
    (rf"claude-(opus-4|4-opus){_END}", Traits(32_000, reasoning="budget")),
    (r"claude-opus-4-1\b", Traits(32_000, reasoning="budget", sampling="one")),
    (r"claude-(sonnet|haiku)-4-5\b", Traits(64_000, True, "budget", "one")),
    (r"claude-opus-4-5\b", Traits(64_000, True, "budget", "one", efforts=_WORDS[:3])),
    (
        r"claude-(opus|sonnet|haiku)-4-6\b",
        Traits(64_000, True, "adaptive", "one", efforts=("low", "medium", "high", "max")),
    ),
    (r"claude-(opus|sonnet|haiku)-4-[7-9]\b", _NEW),
    (rf"claude-(opus|sonnet|haiku)-5{_END}", _NEW._replace(unthinking="disabled")),
    # A name of no row above is taken for a model of the newest generation.
    (r"claude-", _NEW._replace(unthinking="never")),
)
_MODELS = tuple((re.compile(pattern), traits) for pattern, traits in _ROWS)

FOREIGN = Traits(4096, reasoning="budget")
"""Other makers' models behind Anthropic's dialect: only what the dialect had early on is relied upon."""


def traits(model: str) -> Traits:
    """What the model takes, by its name; the names cloud platforms give (`anthropic.claude-…-v1:0`) count too."""
    # Clients choose the name: one of a megabyte must not be kept in the cache.
    return _traits(model[:128])


@lru_cache(maxsize=1024)
def _traits(model: str) -> Traits:
    name = model.replace(".", "-")
    return next((found for pattern, found in _MODELS if pattern.search(name)), FOREIGN)
