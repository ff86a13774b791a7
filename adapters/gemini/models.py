"""What each generation of Google's models takes: one row each, the first that matches a model's name counts."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple


class Traits(NamedTuple):
    """What a model takes.

    `reasoning` is how `reasoning_effort` is told: as a thinking `level`, as a thinking `budget`, or not at all (None).
    `levels` are the words that the model knows where it takes levels. `unthinking` is the budget or level that turns
    thinking off, or as far down as it goes; None: it cannot be turned off. `json_with_tools`: JSON answers beside
    tools. `shown_results`: images and files in the results of tools. `signed`: a call in the history needs its thought
    signature.
    """

    reasoning: str | None = None
    levels: tuple[str, ...] = ()
    unthinking: int | str | None = None
    json_with_tools: bool = False
    shown_results: bool = False
    signed: bool = False


_ALL = ("minimal", "low", "medium", "high")
_NEW = Traits("level", _ALL, "minimal", True, True, True)

_ROWS = (
    (r"gemini-3-pro\b", Traits("level", ("low", "high"), None, True, True, True)),
    (r"gemini-(3\.\d+|[4-9])[\w.-]*-pro\b|gemini-pro-latest", _NEW._replace(levels=_ALL[1:], unthinking=None)),
    (r"gemini-2\.5-pro\b", Traits("budget")),
    (r"gemini-2\.5-flash-image|gemini-2\.[05]-[\w.-]*(tts|audio|live)", Traits()),
    (r"gemini-2\.5|gemini-robotics", Traits("budget", unthinking=0)),
    (r"gemini-(1|2\.0|pro|exp)|gemma|learnlm|imagen|medlm", Traits()),
    # A name of no row above is taken for a model of the newest generation.
    (r"", _NEW),
)
_MODELS = tuple((re.compile(pattern), traits) for pattern, traits in _ROWS)


def traits(model: str) -> Traits:
    """What the model takes, by its name; a publisher or a folder in front of it does not matter."""
    # Clients choose the name: one of a megabyte must not be kept in the cache.
    return _traits(model[:128])


@lru_cache(maxsize=1024)
def _traits(model: str) -> Traits:
    return next(found for pattern, found in _MODELS if pattern.search(model))
