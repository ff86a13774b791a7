"""Anthropic's token counts in OpenAI's meaning, as an answer or its events tell them.

A stream tells some at its start and all that have come together by its end: what searches and other tools at Anthropic
brought is read as input again and again, so only the last count is whole. Beside the sums stand the steps that they
came from, and with them what is in no sum (https://platform.claude.com/docs/en/build-with-claude/compaction#usage).
"""

from __future__ import annotations

import re

from msgspec import Struct
from msgspec.structs import replace

from adapters.types import Count, Rare, TierName, Usage

FAST = "fast"
"""The speed that is a tier of its own: https://platform.claude.com/docs/en/build-with-claude/fast-mode"""
_ANYWHERE = frozenset((None, "", "global", "not_available"))
"""Places that cost no more: https://platform.claude.com/docs/en/manage-claude/data-residency"""
SERVER_TOOL = b'"server_tool_use"'
"""A word of every event that begins a search."""
_SEARCH = re.compile(rb'"type" ?: ?"server_tool_use"[^{}]*"name" ?: ?"web_search"')
# Quotes within text are escaped, so these words are no answer's.
_SAME_MODEL = frozenset(("message", "compaction"))


class OutputDetails(Struct, gc=False):
    thinking_tokens: Count | None = None


class Written(Struct, gc=False):
    ephemeral_1h_input_tokens: Count | None = None


class Searched(Struct, gc=False):
    web_search_requests: Count | None = None


class Step(Struct, gc=False):
    """One sampling, of which a request may take several. Those of type `compaction` are in no sum; those of other types
    than `message` are another model's."""

    type: str = "message"
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_creation: Written | None = None


class Tokens(Struct, gc=False):
    """A `usage`."""

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    output_tokens_details: OutputDetails | None = None
    cache_creation: Written | None = None
    service_tier: TierName | None = None
    server_tool_use: Searched | None = None
    speed: TierName | None = None
    inference_geo: TierName | None = None
    iterations: list[Step] | None = None


def counted(tokens: Tokens, before: Usage | None = None) -> Usage:
    """The counts of an answer. What `tokens` leaves out keeps its value of `before`, an earlier count of the same."""
    was = before or _NOTHING
    details, created, tier = tokens.output_tokens_details, tokens.cache_creation, tokens.service_tier
    cached, written = tokens.cache_read_input_tokens, tokens.cache_creation_input_tokens
    fresh, output = tokens.input_tokens, tokens.output_tokens
    cached = was.cached if cached is None else cached
    written = was.cache_write if written is None else written
    fresh = was.input - was.cached - was.cache_write if fresh is None else fresh
    usage = Usage(
        fresh + cached + written,
        was.output if output is None else output,
        cached,
        written,
        was.reasoning if details is None else details.thinking_tokens or 0,
        was.cache_write_1h if created is None else created.ephemeral_1h_input_tokens or 0,
        tier=FAST if tokens.speed == FAST else tier if tier is not None else was.tier,
        rare=_rare(tokens, was.rare),
    )
    return usage if not tokens.iterations else _with_steps(usage, tokens.iterations)


def searched(usage: Usage | None, event: bytes) -> Usage | None:
    """With the searches that an event of a stream begins, which count where the stream does not come to its own
    count."""
    if SERVER_TOOL not in event:
        return usage
    begun = len(_SEARCH.findall(event))
    if not begun:
        return usage
    was = usage or _NOTHING
    rare = was.rare or _NOTHING_RARE
    return replace(was, rare=replace(rare, searches=rare.searches + begun))


def _rare(tokens: Tokens, before: Rare | None) -> Rare | None:
    used, region = tokens.server_tool_use, None if tokens.inference_geo in _ANYWHERE else tokens.inference_geo
    if before is None and region is None and (used is None or not used.web_search_requests):
        return None
    was = before or _NOTHING_RARE
    searches = was.searches if used is None else used.web_search_requests or 0
    rare = Rare(searches=searches, region=region or was.region)
    return None if rare == _NOTHING_RARE else rare


def _with_steps(usage: Usage, steps: list[Step]) -> Usage:
    """With the steps that the sums leave out. What another model did has a price of its own, which is not looked for:
    nothing is known of that cost."""
    others = any(step.type not in _SAME_MODEL for step in steps)
    beside = [step for step in steps if step.type == "compaction"]
    cached = sum(step.cache_read_input_tokens or 0 for step in beside)
    written = sum(step.cache_creation_input_tokens or 0 for step in beside)
    lasting = sum(
        step.cache_creation.ephemeral_1h_input_tokens or 0
        for step in steps
        if step.cache_creation is not None and step.type in _SAME_MODEL
    )
    rare = usage.rare
    if others:
        rare = Rare(
            searches=0 if rare is None else rare.searches, region=None if rare is None else rare.region, uncounted=True
        )
    return Usage(
        usage.input + sum(step.input_tokens or 0 for step in beside) + cached + written,
        usage.output + sum(step.output_tokens or 0 for step in beside),
        usage.cached + cached,
        usage.cache_write + written,
        usage.reasoning,
        max(usage.cache_write_1h, lasting),
        tier=usage.tier,
        rare=rare,
    )


_NOTHING = Usage()
_NOTHING_RARE = Rare()
