"""Reading usage from whole answers, whatever the dialect: `Usage` follows OpenAI's meaning, and `input` includes cached
tokens."""

from __future__ import annotations

import msgspec

from adapters import claude_usage, google_usage, pieces
from adapters.types import Count, CountAsFloat, Rare, TierName, Usage
from adapters.values import UNREADABLE


class _Prompt(msgspec.Struct, gc=False):
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    audio_tokens: Count | None = None
    image_tokens: Count | None = None


class _Completion(claude_usage.OutputDetails, gc=False):
    reasoning_tokens: Count | None = None
    audio_tokens: Count | None = None
    image_tokens: Count | None = None


class _Served(msgspec.Struct, gc=False):
    web_search_calls: Count | None = None
    x_search_calls: Count | None = None
    code_interpreter_calls: Count | None = None
    file_search_calls: Count | None = None
    document_search_calls: Count | None = None


class Tokens(claude_usage.Tokens, gc=False):
    # Both vendors' names side by side; which are set says whose they are.
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    total_tokens: Count | None = None  # all that some embeddings and rankings tell
    prompt_tokens_details: _Prompt | None = None
    completion_tokens_details: _Completion | None = None
    input_tokens_details: _Prompt | None = None
    output_tokens_details: _Completion | None = None
    # OpenAI's transcriptions: their own name for the details, or no tokens at all.
    input_token_details: _Prompt | None = None
    seconds: CountAsFloat | None = None
    # DeepSeek's (https://api-docs.deepseek.com/guides/kv_cache), and that of Moonshot and hosts behind Hugging Face.
    prompt_cache_hit_tokens: Count | None = None
    cached_tokens: Count | None = None
    # xAI's, and what Perplexity searched with.
    num_sources_used: Count | None = None
    num_server_side_tools_used: Count | None = None
    server_side_tool_usage_details: _Served | None = None
    search_context_size: TierName | None = None


class _Body(msgspec.Struct, gc=False):
    usage: Tokens | None = None
    service_tier: TierName | None = None
    usageMetadata: google_usage.Tokens | None = None


_decode_body = msgspec.json.Decoder(_Body).decode
decode_tokens = msgspec.json.Decoder(Tokens).decode


def usage_of(body: bytes) -> Usage | None:
    """The usage object of a whole JSON answer, or None where there is none."""
    try:
        answer = _decode_body(body)
    except UNREADABLE:
        return None
    tokens = answer.usage
    if tokens is not None:
        if tokens.input_tokens_details is None:
            return usage_from(tokens, answer.service_tier)
        # Only Responses tell tokens so, and have items.
        return _with_items(usage_from(tokens, answer.service_tier), tokens, body)
    if answer.usageMetadata is None:
        return None
    return with_rare(google_usage.counted(answer.usageMetadata), pieces.of_grounding(body))


def with_rare(usage: Usage, rare: Rare | None) -> Usage:
    """The usage with what was counted elsewhere in the answer."""
    return usage if rare is None else msgspec.structs.replace(usage, rare=pieces.added(usage.rare, rare))


def _with_items(usage: Usage, tokens: Tokens, body: bytes) -> Usage:
    """The same with what the items of a Response say, unless its usage says it all."""
    rare = None if tokens.server_side_tool_usage_details is not None else pieces.of_response(body)
    return usage if rare is None else msgspec.structs.replace(usage, rare=rare)


def usage_from(tokens: Tokens, tier: str | None = None) -> Usage:
    if tokens.prompt_tokens is not None:
        taken, given = tokens.prompt_tokens_details, tokens.completion_tokens_details
        hits = tokens.prompt_cache_hit_tokens or tokens.cached_tokens
        if taken is None and given is None and tokens.search_context_size is None and not hits:
            return Usage(tokens.prompt_tokens, tokens.completion_tokens or 0, tier=tier)
        if taken is None and hits:
            taken = _Prompt(hits)
        return _of_openai(tokens, tokens.prompt_tokens, tokens.completion_tokens, taken, given, tier)
    taken = tokens.input_tokens_details or tokens.input_token_details
    if taken is not None:
        # OpenAI's Responses: other names, the same meaning.
        given = tokens.output_tokens_details
        return _of_openai(tokens, tokens.input_tokens or 0, tokens.output_tokens, taken, given, tier)
    return _of_anthropic(tokens)


def _of_openai(
    tokens: Tokens,
    total: int,
    output: int | None,
    taken: _Prompt | None,
    given: _Completion | None,
    tier: str | None,
) -> Usage:
    taken, given = taken or _NO_PROMPT, given or _NO_COMPLETION
    cached = taken.cached_tokens or 0
    # Some hosts tell the same ones twice; this gateway's own answers have Anthropic's word for them.
    written = taken.cache_write_tokens or tokens.cache_creation_input_tokens or 0
    said, thought = output or 0, given.reasoning_tokens or 0
    if thought and tokens.total_tokens == total + said + thought:
        said += thought  # xAI's chat tells them beside what was said, and not as a part of it
    return Usage(
        total,
        said,
        cached,
        min(written, max(0, total - cached)) if written else 0,
        thought,
        0 if tokens.cache_creation is None else tokens.cache_creation.ephemeral_1h_input_tokens or 0,
        taken.audio_tokens or 0,
        given.audio_tokens or 0,
        taken.image_tokens or 0,
        given.image_tokens or 0,
        tier,
        rare=_served(tokens),
    )


def _served(tokens: Tokens) -> Rare | None:
    """What xAI's servers did beside answering (https://docs.x.ai/docs/models#tools-pricing), and Perplexity's."""
    size, served = tokens.search_context_size, tokens.server_side_tool_usage_details
    if size is not None:
        return Rare(size=size)
    if tokens.server_tool_use is not None and tokens.server_tool_use.web_search_requests:
        return Rare(searches=tokens.server_tool_use.web_search_requests)  # this gateway's own answers
    if not (tokens.num_sources_used or tokens.num_server_side_tools_used):
        return None
    if served is None:
        # Which ones it does not say; Responses have items of some.
        return Rare(sources=tokens.num_sources_used or 0, uncounted=not tokens.num_sources_used)
    return Rare(
        searches=(served.web_search_calls or 0) + (served.x_search_calls or 0),
        sources=tokens.num_sources_used or 0,
        files=(served.file_search_calls or 0) + (served.document_search_calls or 0),
        sessions=served.code_interpreter_calls or 0,
    )


def _of_anthropic(tokens: Tokens) -> Usage:
    if tokens.input_tokens is None and not tokens.output_tokens:
        tokens.input_tokens = tokens.total_tokens
    usage = claude_usage.counted(tokens)
    return usage if not tokens.seconds else with_rare(usage, Rare(seconds=tokens.seconds))


_NO_PROMPT = _Prompt()
_NO_COMPLETION = _Completion()
