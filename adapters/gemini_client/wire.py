"""The types of both sides: the client's generateContent request and answer, the upstream's chat request.

Only the fields that matter are named; what else a client sends is for `adapters.known` to name as lost. `Raw` values
keep the JSON they came in; an empty `Raw` means absent.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct, field

from adapters.values import ABSENT

# What the client sends.


class Blob(Struct, gc=False, rename="camel", forbid_unknown_fields=True):
    mime_type: str = ""
    data: Raw = ABSENT
    display_name: str | None = None


class Link(Struct, gc=False, rename="camel", forbid_unknown_fields=True):
    mime_type: str = ""
    file_uri: Raw = ABSENT
    display_name: str | None = None


class Called(Struct, gc=False, forbid_unknown_fields=True):
    name: str = ""
    args: Raw = ABSENT
    id: str | None = None


class Shown(Struct, gc=False, rename="camel", forbid_unknown_fields=True):
    inline_data: Blob | None = None
    file_data: Link | None = None


class Result(Struct, gc=False, forbid_unknown_fields=True):
    name: str = ""
    response: Raw = ABSENT
    id: str | None = None
    parts: list[Shown] | None = None


class Code(Struct, gc=False, forbid_unknown_fields=True):
    """Code that ran at Google. `language` can be Python's alone, and `id` is a label."""

    code: Raw = ABSENT
    language: Raw = ABSENT
    id: Raw = ABSENT


class Outcome(Struct, gc=False, forbid_unknown_fields=True):
    """What came of it."""

    output: Raw = ABSENT
    outcome: str | None = None
    id: Raw = ABSENT


class Part(Struct, gc=False, rename="camel", forbid_unknown_fields=True):
    """Any part: the union of the fields that some kind of it has."""

    text: Raw = ABSENT
    thought: bool | None = None
    thought_signature: str | None = None
    inline_data: Blob | None = None
    file_data: Link | None = None
    function_call: Called | None = None
    function_response: Result | None = None
    executable_code: Code | None = None
    code_execution_result: Outcome | None = None


class Content(Struct, gc=False, forbid_unknown_fields=True):
    parts: list[Part] | None = None
    role: str | None = None


class Declaration(Struct, gc=False, rename="camel", forbid_unknown_fields=True):
    name: str
    description: Raw = ABSENT
    parameters: Raw = ABSENT
    parameters_json_schema: Raw = ABSENT
    response: Raw = ABSENT
    response_json_schema: Raw = ABSENT


class CallingConfig(Struct, gc=False, rename="camel", forbid_unknown_fields=True):
    mode: str = "AUTO"
    allowed_function_names: list[str] | None = None


class ThinkingConfig(Struct, gc=False, rename="camel", forbid_unknown_fields=True):
    """Thoughts are told whenever the model shows them, as parts that say what they are."""

    include_thoughts: bool | None = None
    thinking_budget: int | None = None
    thinking_level: str | None = None


# What the upstream gets.


class Block(Struct, omit_defaults=True, gc=False):
    """One of `content_blocks`."""

    type: str
    text: Raw = ABSENT
    thinking: Raw = ABSENT
    signature: str = ""


class FunctionCall(Struct, omit_defaults=True, gc=False):
    name: str
    arguments: str
    thought_signature: str = ""


class ToolCall(Struct, tag_field="type", tag="function", gc=False):
    id: str
    function: FunctionCall


class Text(Struct, gc=False):
    """A system or user message."""

    role: str
    content: Any


class ToolText(Struct, tag_field="role", tag="tool", omit_defaults=True, gc=False):
    """The message that answers one tool call."""

    tool_call_id: str
    content: Any
    is_error: bool = False


class Assistant(Struct, tag_field="role", tag="assistant", omit_defaults=True, gc=False):
    content: Raw
    tool_calls: list[ToolCall] | None = None
    content_blocks: list[Any] | None = None
    reasoning_content: Raw = ABSENT
    reasoning: Raw = ABSENT
    reasoning_details: list[dict[str, Any]] | None = None


ChatMessage = Text | ToolText | Assistant


class ChatRequest(Struct, omit_defaults=True, gc=False):
    model: str
    messages: list[ChatMessage] = []
    max_completion_tokens: Raw = ABSENT
    stop: Raw = ABSENT
    temperature: Raw = ABSENT
    top_p: Raw = ABSENT
    top_k: Raw = ABSENT
    n: Raw = ABSENT
    seed: Raw = ABSENT
    presence_penalty: Raw = ABSENT
    frequency_penalty: Raw = ABSENT
    logprobs: Raw = ABSENT
    top_logprobs: Raw = ABSENT
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    web_search_options: dict[str, Any] | None = None
    response_format: Any = None
    reasoning_effort: str | None = None
    reasoning: Raw = ABSENT
    modalities: list[str] | None = None
    service_tier: str | None = None
    stream: bool = False
    stream_options: dict[str, bool] | None = None


# What the client gets.


class OutPart(Struct, omit_defaults=True, gc=False):
    text: Raw = ABSENT
    thought: bool = False
    function_call: dict[str, Any] | None = field(default=None, name="functionCall")
    inline_data: dict[str, Any] | None = field(default=None, name="inlineData")
    thought_signature: str = field(default="", name="thoughtSignature")


class OutContent(Struct, gc=False):
    parts: list[OutPart]
    role: str = "model"


class OutCandidate(Struct, omit_defaults=True, gc=False):
    content: OutContent
    finish_reason: str = field(default="", name="finishReason")
    grounding_metadata: dict[str, Any] | None = field(default=None, name="groundingMetadata")
    logprobs_result: dict[str, Any] | None = field(default=None, name="logprobsResult")
    index: int | None = None


class OutModality(Struct, gc=False, rename="camel"):
    modality: str
    token_count: int


class OutUsage(Struct, omit_defaults=True, gc=False, rename="camel"):
    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    total_token_count: int | None = None
    thoughts_token_count: int = 0
    cached_content_token_count: int = 0
    prompt_tokens_details: list[OutModality] | None = None
    candidates_tokens_details: list[OutModality] | None = None
    service_tier: str = ""


class Answer(Struct, omit_defaults=True, gc=False, rename="camel"):
    candidates: list[OutCandidate]
    usage_metadata: OutUsage | None = None
    model_version: str = ""
    response_id: str = ""


FINISH = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "function_call": "STOP",
    "length": "MAX_TOKENS",
    "model_length": "MAX_TOKENS",
    "content_filter": "SAFETY",
}
"""OpenAI's finish reasons in Gemini's words. What is not listed, means STOP."""
