"""Gemini's token counts in OpenAI's meaning."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from adapters.types import Count, Rare, TierName, Usage


class Modality(Struct, gc=False, rename="camel"):
    """How many of the tokens are sound, pictures and so on."""

    modality: str = ""
    token_count: Count = 0


class Tokens(Struct, gc=False, rename="camel"):
    """A `usageMetadata`."""

    prompt_token_count: Count = 0
    candidates_token_count: Count = 0
    thoughts_token_count: Count = 0
    tool_use_prompt_token_count: Count = 0
    cached_content_token_count: Count = 0
    prompt_tokens_details: list[Modality] | None = None
    candidates_tokens_details: list[Modality] | None = None
    service_tier: TierName | None = None


decode = msgspec.json.Decoder(Tokens).decode
"""Reads a `usageMetadata`. Raises what msgspec raises."""


def counted(tokens: Tokens) -> Usage:
    """What Google's own tools read counts as input, thoughts as output."""
    prompt, answer = tokens.prompt_tokens_details, tokens.candidates_tokens_details
    seen, shown = _of(prompt, "VIDEO"), _of(answer, "VIDEO")
    return Usage(
        tokens.prompt_token_count + tokens.tool_use_prompt_token_count,
        tokens.candidates_token_count + tokens.thoughts_token_count,
        tokens.cached_content_token_count,
        0,
        tokens.thoughts_token_count,
        0,
        _of(prompt, "AUDIO"),
        _of(answer, "AUDIO"),
        _of(prompt, "IMAGE"),
        _of(answer, "IMAGE"),
        tokens.service_tier,
        rare=Rare(video_input=seen, video_output=shown) if seen or shown else None,
    )


def _of(details: list[Modality] | None, modality: str) -> int:
    return sum(each.token_count for each in details or () if each.modality == modality)
