"""How Claude is told to reason, and which sampling it takes then: the same at Anthropic, on Bedrock and on Vertex AI.

Newer models think as much as they see fit when told `adaptive`, and without it not at all; `output_config.effort` says
how much. Older ones take a budget of tokens. https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking,
…/effort and …/extended-thinking
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import Raw

from adapters.anthropic.models import Traits
from adapters.effort import enabled, implied

BUDGETS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16_384, "xhigh": 32_768, "max": 32_768}
"""Thinking tokens for each `reasoning_effort`, for models that do not take the word itself."""
_TIED = ("minimal", "max")
"""Efforts that get no other budget than the one beside them: there is none smaller, and no larger one is certain."""
_ORDER = tuple(BUDGETS)

_ONE = (Raw(b"1"), Raw(b"1.0"))
"""The default of temperature and top_p: leaving it out changes nothing."""


class Reasoning(NamedTuple):
    """What is sent for a `reasoning_effort`: the `level` for `output_config`, the `thinking`, None where there is
    nothing to say. `whole`: that is what the word asks for, and not what another one would get as well."""

    level: str | None
    thinking: dict[str, Any] | None
    whole: bool


def reasoning(traits: Traits, effort: str, own: Raw | None, limit: int | None, barred: bool, shown: bool) -> Reasoning:
    """What to send. `own` is the client's `thinking`, beside which there is no other; `limit` are the tokens that an
    answer may have, thinking among them; `barred`: thoughts of a budget would be refused; `shown`: the client can be
    shown what the model thinks."""
    if effort == "none":
        thinking = {"type": "disabled"} if traits.unthinking == "disabled" and own is None else None
        return Reasoning(None, thinking, traits.unthinking != "never" and not enabled(own))
    level, whole = None, True
    if traits.efforts:
        at = _ORDER.index(effort)
        level = next((word for word in reversed(_ORDER[: at + 1]) if word in traits.efforts), traits.efforts[0])
        whole = level == effort
    if own is not None:
        return Reasoning(level, None, whole and (level is not None or effort == implied(own)))
    if traits.reasoning == "adaptive":
        adaptive = {"type": "adaptive"}
        if shown and traits.sampling == "none":
            # These do not show it otherwise.
            adaptive["display"] = "summarized"
        return Reasoning(level, adaptive, whole)
    # The smallest budget must leave room for the answer.
    if traits.reasoning is None or barred or (limit is not None and limit <= 1024):
        return Reasoning(level, None, whole and level is not None)
    budget, exact = _within(effort, limit)
    return Reasoning(level, {"type": "enabled", "budget_tokens": budget}, whole if level is not None else exact)


def _within(effort: str, limit: int | None) -> tuple[int, bool]:
    budget = BUDGETS[effort]
    if limit is None or limit > budget:
        return budget, effort not in _TIED
    return max(1024, limit // 2), False


def thinks(thinking: Any) -> bool:
    """Whether thinking was turned on here. Beside the client's own its parameters are its affair."""
    return isinstance(thinking, dict) and thinking["type"] != "disabled"


def refused(traits: Traits, thinking: bool, given: Mapping[str, Raw]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which of `temperature`, `top_p` and `top_k`, as `given`, a model does not take, and which of those are lost by
    leaving them out. Of the first two, where it takes one of them, the one stays that asks for something."""
    if traits.sampling == "none" or thinking:
        out = tuple(given)
    elif traits.sampling == "one" and "temperature" in given and "top_p" in given:
        out = ("temperature",) if given["temperature"] in _ONE else ("top_p",)
    else:
        return (), ()
    return out, tuple(name for name in out if name == "top_k" or given[name] not in _ONE)
