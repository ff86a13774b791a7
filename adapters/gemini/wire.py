"""The types and tables of both sides: what of a chat request matters to Gemini; its answer and the events of one.

Only the fields that matter are named. `Raw` values keep the JSON text they came in; an empty `Raw` means absent.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from adapters.chat import wire as chat
from adapters.chat.wire import Choice, File
from adapters.google_usage import Tokens
from adapters.values import ABSENT

SIGNED = "google:"
"""Stands before the signature in a `thinking` block of ours: signatures of other makers, which Gemini would refuse, are
told apart by its absence. Base64 has no colon."""

UNSIGNED = "skip_thought_signature_validator"
"""What Google tells to send for a call that another model made: newer models refuse a call without any signature."""


# What the client sends.


class GoogleExtra(Struct, forbid_unknown_fields=True, gc=False):
    thought_signature: str | None = None


class ExtraContent(Struct, forbid_unknown_fields=True, gc=False):
    """Where Google's own OpenAI-compatible endpoint keeps the signature of a call."""

    google: GoogleExtra | None = None


class ToolCall(chat.ToolCall, kw_only=True, gc=False):
    function: chat.FunctionCall
    extra_content: ExtraContent | None = None

    @property
    def signature(self) -> str | None:
        """The thought signature that the model gave with this call."""
        extra = self.extra_content
        given = self.function.thought_signature
        return given if given or extra is None or extra.google is None else extra.google.thought_signature


class Message(chat.Message):
    """A message, with its calls."""

    tool_calls: list[ToolCall] | None = None


class Url(Struct, forbid_unknown_fields=True, gc=False):
    url: str
    detail: str | None = None
    mime_type: str | None = None


class Audio(Struct, forbid_unknown_fields=True, gc=False):
    data: Raw
    format: str


class Part(Struct, forbid_unknown_fields=True, gc=False):
    """Any content part or block: the union of the fields that some type of it has."""

    type: str
    text: Raw = ABSENT
    refusal: Raw = ABSENT
    image_url: Url | str | None = None
    video_url: Url | str | None = None
    input_audio: Audio | None = None
    file: File | None = None
    thinking: Raw = ABSENT
    signature: str = ""
    part: Raw = ABSENT
    cache_control: Raw = ABSENT
    phase: Raw = ABSENT
    citations: Raw = ABSENT
    prompt_cache_breakpoint: Raw = ABSENT


class Function(Struct, forbid_unknown_fields=True, gc=False):
    name: str
    description: Raw = ABSENT
    parameters: Raw = ABSENT
    strict: bool | None = None
    cache_control: Raw = ABSENT


class Thinking(Struct, gc=False):
    type: str
    budget_tokens: int | None = None


class ImageConfig(Struct, forbid_unknown_fields=True, gc=False):
    aspect_ratio: Raw = ABSENT
    image_size: Raw = ABSENT


class AudioWish(Struct, forbid_unknown_fields=True, gc=False):
    voice: str | None = None
    format: str | None = None


# What Gemini gets.


class Turn(Struct):
    """One content. Each part is a dict, or `Raw` where the client wrote Gemini's own."""

    role: str
    parts: list[Any]


# What Gemini answers.


class PartialArg(Struct, gc=False, rename="camel"):
    """One value of a call's arguments, or a part of a string among them."""

    json_path: str = ""
    string_value: Raw = ABSENT
    number_value: Raw = ABSENT
    bool_value: Raw = ABSENT
    will_continue: bool = False


class Called(Struct, gc=False, rename="camel"):
    name: str = ""
    args: Raw = ABSENT
    id: str | None = None
    partial_args: list[PartialArg] | None = None
    will_continue: bool = False


class Inline(Struct, gc=False, rename="camel"):
    mime_type: str = ""
    data: str = ""


class AnswerPart(Struct, gc=False, rename="camel"):
    text: Raw = ABSENT
    thought: bool = False
    thought_signature: str = ""
    function_call: Called | None = None
    inline_data: Inline | None = None


class Content(Struct, gc=False):
    parts: list[AnswerPart] = []


class Candidate(Struct, gc=False, rename="camel"):
    content: Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int = 0
    grounding_metadata: Raw = ABSENT
    citation_metadata: Raw = ABSENT
    logprobs_result: Raw = ABSENT


class Feedback(Struct, gc=False, rename="camel"):
    block_reason: str | None = None
    block_reason_message: str | None = None


class Answer(Struct, gc=False, rename="camel"):
    candidates: list[Candidate] | None = None
    prompt_feedback: Feedback | None = None
    usage_metadata: Tokens | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: Raw = ABSENT

    @property
    def refused(self) -> Feedback | None:
        """Why there are no candidates, where that is because the prompt was refused."""
        told = self.prompt_feedback
        return told if told is not None and told.block_reason and not self.candidates else None


class RawContent(Struct, gc=False):
    parts: list[Raw] = []


class RawCandidate(Struct, gc=False):
    content: RawContent | None = None


class RawAnswer(Struct, gc=False):
    """The same, for the parts that cross whole."""

    candidates: list[RawCandidate] | None = None

    def parts(self) -> list[list[Raw]]:
        """Each candidate's parts, in the candidates' order."""
        return [each.content.parts if each.content is not None else [] for each in self.candidates or ()]


# What the client gets.


class OutChoice(Choice, omit_defaults=True):
    grounding_metadata: Raw = msgspec.field(default=ABSENT, name="groundingMetadata")


# Tables.

FILTERED = "content_filter"
FILTERS = (
    "SAFETY", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "MODEL_ARMOR", "RECITATION",
    "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
)  # fmt: skip
"""Gemini's finish reasons that say that a filter ended the answer."""
FINISH: dict[str, str] = {"MAX_TOKENS": "length", **dict.fromkeys(FILTERS, FILTERED)}
"""Gemini's finish reasons in OpenAI's words. What is not listed means `stop`, or `tool_calls` where there are calls."""
