"""The types of chat, as upstream codecs read its requests and write its answers.

Only the fields that matter are named. `Raw` values keep the JSON text they came in; what is absent reads as `null`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Raw, Struct

from adapters.types import Usage

NULL = Raw(b"null")
EMPTY_STRING = Raw(b'""')
EMPTY_OBJECT = Raw(b"{}")


# What the client sends.


class FunctionCall(Struct, forbid_unknown_fields=True, gc=False):
    """The function that an assistant called, and with what."""

    name: str
    arguments: str | None = None
    thought_signature: str | None = None


class Message(Struct, forbid_unknown_fields=True, gc=False):
    """A message with the fields that OpenAI, and this gateway's own answers, give it. `tool_calls`, which the dialects
    read differently, are added by theirs."""

    role: str
    content: Raw = NULL
    name: str | None = None
    tool_call_id: str | None = None
    content_blocks: Raw = NULL
    cache_control: Raw = NULL
    is_error: bool | None = None
    audio: Raw = NULL
    refusal: Raw = NULL
    function_call: FunctionCall | None = None
    # Came with an answer and says nothing that `content` does not say.
    annotations: Raw = NULL


class ToolCall(Struct, forbid_unknown_fields=True, gc=False):
    """What the dialects read alike of a call. Its type is told by what it holds; `index` is a leftover of a stream."""

    id: str
    type: Raw = NULL
    index: Raw = NULL
    cache_control: Raw = NULL


class File(Struct, forbid_unknown_fields=True, gc=False):
    file_url: str | None = None
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None
    mime_type: str | None = None


class JsonSchema(Struct, gc=False):
    """`name` is a label that no model sees."""

    name: str | None = None
    schema: Raw = NULL
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(Struct, gc=False):
    type: str
    json_schema: JsonSchema | None = None


class StreamOptions(Struct, gc=False):
    include_usage: bool | None = None


class Wish(Struct, gc=False):
    """The fields of a request that its answer depends on. With `functions` a client takes calls in the form that was
    before there were tools."""

    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    functions: Raw = NULL
    tools: Raw = NULL
    web_search_options: Raw = NULL


# What the client gets.


class CalledFunction(Struct, omit_defaults=True, gc=False):
    name: str
    arguments: str
    thought_signature: str = ""


class OutToolCall(Struct, gc=False):
    id: str
    type: str
    function: CalledFunction


class UrlCitation(Struct, gc=False):
    url: str
    title: str
    start_index: int
    end_index: int


class Annotation(Struct, gc=False):
    """A source with an address, as OpenAI cites it."""

    url_citation: UrlCitation
    type: str = "url_citation"


class AudioOut(Struct, gc=False):
    id: str
    data: str
    expires_at: int
    transcript: str


class OutMessage(Struct, omit_defaults=True, gc=False):
    """`content` is a text, or the JSON string of it."""

    role: str
    content: str | Raw | None
    refusal: str | None
    tool_calls: list[OutToolCall] | None = None
    function_call: CalledFunction | None = None
    annotations: list[Any] | None = None
    audio: AudioOut | None = None
    content_blocks: list[Any] | None = None


class Choice(Struct, gc=False):
    index: int
    message: Any
    logprobs: Any
    finish_reason: str


class PromptDetails(Struct, omit_defaults=True, frozen=True, gc=False):
    cached_tokens: int
    audio_tokens: int = 0
    cache_write_tokens: int = 0
    image_tokens: int = 0


class CompletionDetails(Struct, omit_defaults=True, gc=False):
    reasoning_tokens: int = 0
    audio_tokens: int = 0


class Written(Struct, gc=False):
    ephemeral_5m_input_tokens: int
    ephemeral_1h_input_tokens: int


class Searched(Struct, gc=False):
    web_search_requests: int


class OutUsage(Struct, omit_defaults=True, gc=False):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: Written | None = None
    server_tool_use: Searched | None = None


class Completion(Struct, omit_defaults=True, gc=False):
    """`provider` says who answered, to clients that did not ask for strict compliance."""

    id: str
    object: str
    created: int
    model: str
    choices: Sequence[Choice]
    usage: OutUsage | None = None
    provider: str = ""
    service_tier: str = ""


_ALL_NEW = PromptDetails(0)


TIERS = {"priority": "priority", "flex": "flex", "scale": "scale", "fast": "fast", "ultrafast": "ultrafast"}
"""OpenAI's words for the tier that served an answer, where it is not the usual one."""


def told(usage: Usage, cache_words: bool = False) -> OutUsage:
    """The usage object a client gets; with Anthropic's words for the cached tokens beside OpenAI's, if so wished."""
    read, said = usage.input, usage.output
    prompt = _ALL_NEW
    if usage.cached or usage.audio_input or usage.cache_write or usage.image_input:
        prompt = PromptDetails(usage.cached, usage.audio_input, usage.cache_write, usage.image_input)
    out = OutUsage(read, said, read + said, prompt)
    if usage.reasoning or usage.audio_output:
        out.completion_tokens_details = CompletionDetails(usage.reasoning, usage.audio_output)
    if cache_words:
        out.cache_read_input_tokens = usage.cached
        out.cache_creation_input_tokens = usage.cache_write
        if usage.cache_write_1h:
            out.cache_creation = Written(usage.cache_write - usage.cache_write_1h, usage.cache_write_1h)
        searched(out, usage)
    return out


def searched(out: OutUsage, usage: Usage) -> OutUsage:
    """The same, with the searches that the provider counts."""
    if usage.rare is not None and usage.rare.searches:
        out.server_tool_use = Searched(usage.rare.searches)
    return out
