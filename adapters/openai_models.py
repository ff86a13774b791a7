"""What OpenAI's models refuse of a request, known by their names, for clients of other dialects: those cannot know it,
and gemini-cli, say, sends `temperature` and `topP` to every model. Who speaks OpenAI's own dialects is told by OpenAI.

https://developers.openai.com/api/docs/guides/reasoning and …/guides/latest-model: models that reason take no sampling
(`Unsupported value: 'temperature' does not support 0 with this model`), newer ones unless they are told not to reason;
others take no `reasoning_effort` (`Unrecognized request argument supplied: reasoning_effort`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from msgspec import Raw

from adapters.reading import Dropped
from adapters.types import in_words
from adapters.values import ABSENT

_PLAIN, _REASONING, _EITHER = "plain", "reasoning", "either"
_KINDS = (
    (r"gpt-3\.5|gpt-4|chatgpt-|gpt-5[\w.-]*-chat", _PLAIN),
    (r"o[1-9](-|$)|gpt-5(-|$)", _REASONING),
    (r"gpt-(5\.[1-9]|[6-9])", _EITHER),
)
_MODELS = tuple((re.compile(pattern), kind) for pattern, kind in _KINDS)

_SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs")
_DEFAULTS = (Raw(b"1"), Raw(b"1.0")), (Raw(b"0"), Raw(b"0.0"), Raw(b"false"))
"""What asks for nothing: of the first two, and of the others."""


def kind_of(model: str) -> str | None:
    """Whether a model reasons, never does, or does either; None for those of other makers."""
    # Clients choose the name: one of a megabyte must not be kept in the cache.
    return _kind_of(model[:64])


@lru_cache(maxsize=1024)
def _kind_of(model: str) -> str | None:
    return next((kind for pattern, kind in _MODELS if pattern.match(model)), None)


def fit(out: Any, dropped: Dropped, words: tuple[Mapping[str, str], ...]) -> None:
    """Leaves out of a chat request, a struct, what its model refuses, and names in the client's `words` what asked for
    something."""
    kind = kind_of(out.model)
    if kind is None:
        return
    lost: list[str] = []
    effort = out.reasoning_effort
    if kind == _PLAIN and effort is not None:
        out.reasoning_effort = None
        lost += ["reasoning_effort"] if effort != "none" else []
    if kind == _REASONING or (kind == _EITHER and effort not in (None, "none")):
        for at, name in enumerate(_SAMPLING):
            value = getattr(out, name, ABSENT)
            if value and value not in _DEFAULTS[at > 1]:
                setattr(out, name, ABSENT)
                lost.append(name)
    if kind == _REASONING and out.stop:
        out.stop = ABSENT
        lost.append("stop")
    for name in in_words(words, tuple(lost)):
        dropped.add(name)
