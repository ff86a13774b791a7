"""The types and tables of a Messages answer and its events, and of the parts of chat requests that matter to Anthropic.

Only the fields that matter are named. `Raw` values keep the JSON text they came in; an empty `Raw` means absent.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct

from adapters.chat import wire as chat
from adapters.chat.wire import NULL, File, FunctionCall
from adapters.claude_usage import Tokens
from adapters.errors import Kind
from adapters.values import ABSENT

JSON_TOOL = "respond_with_json"
"""The tool an older model is made to call when the client asked for a JSON schema; its input is the answer."""


# What the client sends.


class ToolCall(chat.ToolCall, kw_only=True, gc=False):
    function: FunctionCall


class Message(chat.Message):
    """A message, with its calls."""

    tool_calls: list[ToolCall] | None = None


class ImageUrl(Struct, forbid_unknown_fields=True, gc=False):
    url: str
    detail: str | None = None


class Part(Struct, forbid_unknown_fields=True, gc=False):
    """Any content part: the union of the fields that some type of part has. Those of parts that cross whole are here so
    that nobody need look for them."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | str | None = None
    video_url: ImageUrl | str | None = None
    file: File | None = None
    cache_control: Raw = NULL
    phase: Raw = NULL
    prompt_cache_breakpoint: Raw = NULL
    input_audio: Raw = NULL
    thinking: Raw = NULL
    signature: Raw = NULL
    data: Raw = NULL
    citations: Raw = NULL


class Function(Struct, forbid_unknown_fields=True):
    name: str
    description: str | None = None
    parameters: Raw = NULL
    strict: bool | None = None
    cache_control: Raw = NULL
    defer_loading: Raw = NULL
    allowed_callers: Raw = NULL
    input_examples: Raw = NULL


# What Anthropic gets.


class Turn(Struct, gc=False):
    """One message. `content` is a JSON string or array as `Raw`, or a list of blocks, each `Raw` or a dict."""

    role: str
    content: Any


# What Anthropic answers.


class Citation(Struct, gc=False):
    """A source of a text. Those of documents have no `url`; that of a search result of the client's own may be one."""

    url: str | None = None
    title: str | None = None
    source: str | None = None

    @property
    def address(self) -> str | None:
        """Where the source is, if that is known."""
        if self.url is None and self.source is not None and self.source.startswith(("https://", "http://")):
            return self.source
        return self.url


class Block(Struct, gc=False):
    type: str
    text: str = ""
    id: str = ""
    name: str = ""
    input: Raw = ABSENT
    citations: list[Citation] | None = None


class StopDetails(Struct, gc=False):
    """What Anthropic says of a refusal."""

    explanation: str | None = None


class Answer(Struct, gc=False):
    content: list[Block]
    id: str | None = None
    model: str | None = None
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    usage: Tokens | None = None


class RawContent(Struct, gc=False):
    content: list[Raw]


class ErrorDetail(Struct, gc=False):
    type: str | None = None
    message: str | None = None


class ErrorBody(Struct, gc=False):
    error: ErrorDetail


# The events of a streamed answer.


class StartMessage(Struct, gc=False):
    id: str | None = None
    model: str | None = None
    usage: Tokens | None = None


class MessageStart(Struct, gc=False):
    message: StartMessage


class BlockStart(Struct, gc=False):
    index: int
    content_block: Raw


class Delta(Struct, gc=False):
    type: str
    text: str = ""
    partial_json: str = ""
    citation: Citation | None = None


class BlockDelta(Struct, gc=False):
    index: int
    delta: Delta


class RawBlockDelta(Struct, gc=False):
    index: int
    delta: dict[str, Raw]


class BlockStop(Struct, gc=False):
    index: int


class StopInfo(Struct, gc=False):
    stop_reason: str | None = None
    stop_details: StopDetails | None = None


class MessageDelta(Struct, gc=False):
    delta: StopInfo
    usage: Tokens | None = None


class Empty(Struct, gc=False):
    """An event whose fields do not matter."""


class Typed(Struct, gc=False):
    type: str


# Tables.

FINISH: dict[str | None, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
"""Anthropic's stop reasons in OpenAI's words. What is not listed, None too, means `stop`."""

ERRORS: dict[str | None, tuple[Kind, int]] = {
    "invalid_request_error": (Kind.INVALID_REQUEST, 400),
    "authentication_error": (Kind.UNAUTHENTICATED, 401),
    "billing_error": (Kind.QUOTA_EXCEEDED, 402),
    "permission_error": (Kind.FORBIDDEN, 403),
    "not_found_error": (Kind.NOT_FOUND, 404),
    "conflict_error": (Kind.CONFLICT, 409),
    "request_too_large": (Kind.TOO_LARGE, 413),
    "rate_limit_error": (Kind.RATE_LIMITED, 429),
    "api_error": (Kind.BAD_UPSTREAM, 500),
    "timeout_error": (Kind.TIMEOUT, 504),
    "overloaded_error": (Kind.OVERLOADED, 529),
}
"""Anthropic's error types, with the status each has when it comes inside a stream."""
