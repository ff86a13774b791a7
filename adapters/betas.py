"""Which of Anthropic's betas the clouds know that serve its models.

A cloud refuses a whole request for one word of `anthropic-beta` that it does not know ("invalid beta flag"), and
Anthropic's own clients send several that concern Anthropic alone. So only what a cloud knows goes there, under the name
that it has for it; the rest is named among what could not come along. Betas that stand in a request's body are the
client's explicit wish and are left alone.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html
and https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude; where those are silent, what other
gateways found that each cloud accepts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Known = Mapping[str, str]
"""Anthropic's name of a beta → the cloud's name for it."""

_SEARCH = "tool-search-tool-2025-10-19"
_BOTH = (
    "compact-2026-01-12",
    "computer-use-2024-10-22",
    "computer-use-2025-01-24",
    "computer-use-2025-11-24",
    "context-1m-2025-08-07",
    "context-management-2025-06-27",
    "dangerous-tool-use-2026-09-03",
    "interleaved-thinking-2025-05-14",
    "thinking-binding-controls-2026-08-01",
    "thinking-display-updates-2026-08-18",
    _SEARCH,
)
_BEDROCK = (
    "dev-full-thinking-2025-05-14",
    "effort-2025-11-24",
    "fine-grained-tool-streaming-2025-05-14",
    "mid-conversation-output-config-2026-07-01",
    "mid-conversation-tool-changes-2026-07-01",
    "output-128k-2025-02-19",
    "token-efficient-tools-2025-02-19",
    "tool-examples-2025-10-29",
)
_MANTLE = (
    "claude-code-20250219",
    "effort-2025-11-24",
    "fine-grained-tool-streaming-2025-05-14",
    "output-128k-2025-02-19",
    "per-turn-control-2026-07-01",
    "structured-outputs-2025-11-13",
    "token-efficient-tools-2025-02-19",
    "tool-examples-2025-10-29",
    "web-search-2025-03-05",
)
_FOUNDRY = (
    "advanced-tool-use-2025-11-20",
    "code-execution-2025-08-25",
    "computer-use-2025-01-24",
    "computer-use-2025-11-24",
    "context-1m-2025-08-07",
    "context-management-2025-06-27",
    "dangerous-tool-use-2026-09-03",
    "effort-2025-11-24",
    "files-api-2025-04-14",
    "interleaved-thinking-2025-05-14",
    "mcp-client-2025-04-04",
    "mcp-client-2025-11-20",
    "per-turn-control-2026-07-01",
    "prompt-caching-scope-2026-01-05",
    "skills-2025-10-02",
    "structured-outputs-2025-11-13",
    "thinking-display-updates-2026-08-18",
    "web-fetch-2025-09-10",
    "web-search-2025-03-05",
)
_VERTEX = ("compact-2026-09-04", "per-turn-control-2026-07-01", "web-search-2025-03-05")


def _table(names: tuple[str, ...]) -> Known:
    # Anthropic has one beta for what the clouds have several for; searching for tools is the part that clients use.
    return {**{name: name for name in names}, "advanced-tool-use-2025-11-20": _SEARCH}


BEDROCK = _table((*_BOTH, *_BEDROCK))
VERTEX = _table((*_BOTH, *_VERTEX))
MANTLE = _table((*_BOTH, *_MANTLE))
FOUNDRY: Known = {name: name for name in _FOUNDRY}
"""Microsoft Foundry's, whose Claude runs at Anthropic and has Anthropic's own names, but not all of its betas."""


_PERMITTING = frozenset(
    (
        "advanced-tool-use", "advisor-tool", "claude-code", "code-execution", "compact", "computer-use", "context-1m",
        "context-management", "effort", "extended-cache-ttl", "fast-mode", "files-api", "fine-grained-tool-streaming",
        "mcp-client", "mid-conversation-output-config", "mid-conversation-tool-changes", "oauth", "output-128k", "pdfs",
        "per-turn-control", "prompt-caching", "prompt-caching-scope", "search-results", "skills", "structured-outputs",
        "task-budgets", "thinking-binding-controls", "thinking-display-updates", "token-counting", "tool-examples",
        "tool-search-tool", "web-fetch", "web-search",
    )
)  # fmt: skip
"""Betas, without their dates, that ask for nothing by themselves: they permit fields and values, of which each is named
where it is lost, or for long prompts and answers; they say who asks; or they ask for what all others do anyway, which
is to stream a tool's input as it comes."""
_date = re.compile(r"-\d{4}-?\d\d-?\d\d$").sub


def unheard(betas: tuple[str, ...]) -> tuple[str, ...]:
    """What is lost of the betas with a provider that is not Anthropic, nor a cloud with its models: names, as
    `Outbound.dropped` has them."""
    return tuple(f"anthropic-beta.{beta}" for beta in betas if _date("", beta) not in _PERMITTING)


def sift(betas: tuple[str, ...], known: Known) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The betas under the cloud's names, each once and in order; and the names of those it does not know, as
    `Outbound.dropped` has them."""
    kept = dict.fromkeys(known[beta] for beta in betas if beta in known)
    return tuple(kept), tuple(f"anthropic-beta.{beta}" for beta in betas if beta not in known)
