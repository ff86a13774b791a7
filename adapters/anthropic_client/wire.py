"""The types of both sides: the client's Messages request and answer, the upstream's chat request.

Only the fields that matter are named. `Raw` values keep the JSON text they came in; an empty `Raw` means absent.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct

from adapters.values import ABSENT

# What the client sends.


class Message(Struct, forbid_unknown_fields=True, gc=False):
    role: str
    content: Raw


class Block(Struct, forbid_unknown_fields=True, gc=False):
    """Any content block: the union of the fields that some type of block has."""

    type: str
    text: Raw = ABSENT
    source: Raw = ABSENT
    title: str | None = None
    context: str | None = None
    id: str = ""
    name: str = ""
    input: Raw = ABSENT
    tool_use_id: str = ""
    tool_name: str = ""
    content: Raw = ABSENT
    is_error: bool | None = None
    cache_control: Raw = ABSENT
    citations: Raw = ABSENT
    data: Raw = ABSENT
    thinking: Raw = ABSENT
    signature: Raw = ABSENT
    caller: Raw = ABSENT
    toolset_name: Raw = ABSENT
    transformations: Raw = ABSENT


class Source(Struct, forbid_unknown_fields=True, gc=False):
    type: str
    media_type: str = ""
    data: Raw = ABSENT
    url: Raw = ABSENT
    content: Raw = ABSENT


class ToolChoice(Struct, forbid_unknown_fields=True, gc=False):
    type: str
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class Thinking(Struct, gc=False):
    type: str
    budget_tokens: int | None = None


class Format(Struct, forbid_unknown_fields=True, gc=False):
    type: str
    schema: Raw = ABSENT


class Metadata(Struct, forbid_unknown_fields=True, gc=False):
    user_id: str | None = None


# What the upstream gets.


class TextPart(Struct, tag_field="type", tag="text", omit_defaults=True, gc=False):
    text: Raw
    cache_control: Raw = ABSENT


class Url(Struct, gc=False):
    url: Raw


class ImagePart(Struct, tag_field="type", tag="image_url", omit_defaults=True, gc=False):
    image_url: Url
    cache_control: Raw = ABSENT


class File(Struct, omit_defaults=True, gc=False):
    filename: str | None = None
    file_data: Raw = ABSENT
    file_url: Raw = ABSENT


class FilePart(Struct, tag_field="type", tag="file", omit_defaults=True, gc=False):
    file: File
    cache_control: Raw = ABSENT


Part = TextPart | ImagePart | FilePart


class Text(Struct, gc=False):
    """A system or user message."""

    role: str
    content: Raw | list[Part]


class ToolText(Struct, tag_field="role", tag="tool", omit_defaults=True, gc=False):
    """The message that answers one tool call. Only what follows OpenAI's rules no further takes parts and marks."""

    tool_call_id: str
    content: Raw | list[Part]
    is_error: bool | None = None
    cache_control: Raw = ABSENT


class FunctionCall(Struct, omit_defaults=True, gc=False):
    name: str
    arguments: str
    thought_signature: str | None = None


class ToolCall(Struct, tag_field="type", tag="function", omit_defaults=True, gc=False):
    id: str
    function: FunctionCall
    cache_control: Raw = ABSENT


class Assistant(Struct, tag_field="role", tag="assistant", omit_defaults=True, gc=False):
    content: Raw
    tool_calls: list[ToolCall] | None = None
    content_blocks: list[Raw] | None = None
    reasoning_content: Raw = ABSENT
    reasoning: Raw = ABSENT
    reasoning_details: list[dict[str, Any]] | None = None
    partial: bool = False


ChatMessage = Text | ToolText | Assistant


class Function(Struct, omit_defaults=True, gc=False):
    name: str
    description: Raw = ABSENT
    parameters: Raw = ABSENT
    strict: bool | None = None


class Tool(Struct, tag_field="type", tag="function", omit_defaults=True, gc=False):
    function: Function
    cache_control: Raw = ABSENT


class Named(Struct, gc=False):
    name: str


class NamedChoice(Struct, tag_field="type", tag="function", gc=False):
    function: Named


class JsonSchema(Struct, gc=False):
    name: str
    schema: Raw
    strict: bool


class ResponseFormat(Struct, tag_field="type", tag="json_schema", gc=False):
    json_schema: JsonSchema


class StreamOptions(Struct, gc=False):
    include_usage: bool = True


class ChatRequest(Struct, omit_defaults=True, gc=False):
    model: str
    messages: list[ChatMessage] = []
    max_completion_tokens: Raw = ABSENT
    stop: Raw = ABSENT
    temperature: Raw = ABSENT
    top_p: Raw = ABSENT
    top_k: Raw = ABSENT
    tools: list[Tool | Raw] | None = None
    tool_choice: str | NamedChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    thinking: Raw = ABSENT
    service_tier: str | None = None
    user: str | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None


# What the client gets.


class TextBlock(Struct, tag_field="type", tag="text", omit_defaults=True, gc=False):
    text: Raw
    citations: list[Raw] | None = None


class ThinkingBlock(Struct, tag_field="type", tag="thinking", gc=False):
    thinking: Raw
    signature: Raw


class RedactedBlock(Struct, tag_field="type", tag="redacted_thinking", gc=False):
    data: Raw


class SearchCitation(Struct, tag_field="type", tag="web_search_result_location", gc=False):
    """A source that the provider named by its address alone."""

    url: str
    title: str | None
    cited_text: str = ""
    encrypted_index: str = ""


class ToolUse(Struct, tag_field="type", tag="tool_use", gc=False):
    id: str
    name: str
    input: Raw


ContentBlock = TextBlock | ThinkingBlock | RedactedBlock | ToolUse | Raw


class OutputDetails(Struct, gc=False):
    thinking_tokens: int


class Written(Struct, gc=False):
    ephemeral_5m_input_tokens: int
    ephemeral_1h_input_tokens: int


class Searched(Struct, gc=False):
    web_search_requests: int
    web_fetch_requests: int = 0


class MessageUsage(Struct, omit_defaults=True, gc=False):
    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    output_tokens_details: OutputDetails | None = None
    cache_creation: Written | None = None
    server_tool_use: Searched | None = None
    service_tier: str | None = None


class MessageAnswer(Struct, tag_field="type", tag="message", gc=False):
    id: str
    role: str
    model: str
    content: list[ContentBlock]
    stop_reason: str | None
    stop_sequence: None
    usage: MessageUsage


class MessageStart(Struct, tag_field="type", tag="message_start", gc=False):
    message: MessageAnswer


class Stop(Struct, gc=False):
    stop_reason: str
    stop_sequence: None = None


class MessageDelta(Struct, tag_field="type", tag="message_delta", gc=False):
    delta: Stop
    usage: MessageUsage
