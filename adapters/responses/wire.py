"""The types of a chat request as far as Responses have words for it, of a response and its events; and the tables.

Only the fields that matter are named. `Raw` values keep the JSON text they came in; an empty `Raw` means absent.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple

import msgspec
from msgspec import Raw, Struct

from adapters.chat import wire as chat
from adapters.chat.wire import NULL, FunctionCall
from adapters.responses_client.output import INCOMPLETE
from adapters.values import ABSENT

# What the client sends.


class CustomCall(Struct, forbid_unknown_fields=True, gc=False):
    name: str
    input: str = ""


class ToolCall(chat.ToolCall, gc=False):
    function: FunctionCall | None = None
    custom: CustomCall | None = None


class Message(chat.Message):
    """A message, with its calls."""

    tool_calls: list[ToolCall] | None = None


class ImageUrl(Struct, forbid_unknown_fields=True, gc=False):
    url: Raw
    detail: Raw = NULL


class File(Struct, forbid_unknown_fields=True, gc=False):
    file_url: Raw = NULL
    file_data: str | None = None
    file_id: Raw = NULL
    filename: str | None = None
    mime_type: str | None = None


class Part(Struct, forbid_unknown_fields=True, gc=False):
    """Any content part or block: the union of the fields that some type of it has."""

    type: str
    text: Raw = NULL
    refusal: Raw = NULL
    image_url: Raw = NULL
    file: File | None = None
    cache_control: Raw = NULL
    thinking: Raw = NULL
    signature: str = ""
    phase: Raw = NULL
    citations: Raw = NULL
    prompt_cache_breakpoint: Raw = NULL
    item: Raw = NULL
    after: int = 0


# What a provider answers.


class Cited(Struct, gc=False):
    type: str = ""
    url: str = ""
    title: str | None = None
    start_index: int | None = None
    end_index: int | None = None


class OutPart(Struct, gc=False):
    type: str = ""
    text: str | None = None
    refusal: str | None = None
    annotations: list[Cited] | None = None
    logprobs: Raw = ABSENT


class Item(Struct):
    """An output item of one of the types in `SPOKEN`."""

    type: str = ""
    id: str | None = None
    call_id: str | None = None
    name: str = ""
    arguments: str | None = None
    input: str | None = None
    content: list[OutPart] | None = None
    summary: list[OutPart] | None = None
    encrypted_content: str | None = None
    phase: str | None = None


class Failure(Struct, gc=False):
    code: str | None = None
    message: str | None = None
    type: str | None = None
    param: str | None = None


class Incomplete(Struct, gc=False):
    reason: str | None = None


class Response(Struct):
    """A whole answer. Items are read one by one: those without a word here may have fields of any form."""

    output: list[Raw]
    status: str | None = None
    id: str | None = None
    model: str | None = None
    error: Failure | None = None
    incomplete_details: Incomplete | None = None


# The events of a streamed answer.


class Begun(Struct, gc=False):
    id: str | None = None
    model: str | None = None


class Opened(Struct, gc=False):
    response: Begun


class ItemEvent(Struct, gc=False):
    item: Raw
    output_index: int = 0


class Delta(Struct, gc=False):
    """A piece of text, of arguments, or of thinking; `logprobs` come with text alone."""

    delta: Raw
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    logprobs: Raw = ABSENT


class TextDelta(Struct, gc=False):
    delta: str | None = None
    output_index: int = 0


class TextDone(Struct, gc=False):
    text: str | None = None


class Written(Struct, gc=False):
    """The whole of what deltas told, for servers that send none."""

    output_index: int = 0
    arguments: str | None = None
    input: str | None = None


class AnnotationEvent(Struct, gc=False):
    annotation: Cited


class Outcome(Struct):
    status: str | None = None
    error: Failure | None = None
    incomplete_details: Incomplete | None = None


class Ended(Struct, gc=False):
    response: Raw


class ErrorEvent(Struct, gc=False):
    """An error, flat or, as OpenAI's servers really send it, in an object of its own."""

    error: Failure | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None


class Typed(Struct, gc=False):
    type: str = ""


# Tables.

SPOKEN = frozenset(("message", "function_call", "custom_tool_call", "reasoning"))
"""The items that a chat has words for."""

FINISH: dict[str | None, str] = {reason: finish for finish, reason in reversed(INCOMPLETE.items())}
"""Why a response is incomplete, in the words of a chat. What is not listed means `length`."""

FAILED = frozenset(("failed", "cancelled", "queued", "in_progress"))
"""States of a response that are no answer: nobody asks for one in the background here."""

_decode_item = msgspec.json.Decoder(Item).decode
_decode_type = msgspec.json.Decoder(Typed).decode


def item_of(raw: Raw) -> Item | None:
    """An output item, or None for one that a chat has no word for. Raises what msgspec raises."""
    return _decode_item(raw) if _decode_type(raw).type in SPOKEN else None


_UNREASONING = ("gpt-3.5*", "gpt-4*", "chatgpt-*", "gpt-5*-chat*")
"""Models that do not reason: they refuse to be asked for what they thought."""


def reasons(model: str) -> bool:
    """Whether a model can be asked for the encrypted content of its reasoning."""
    return not any(fnmatchcase(model, pattern) for pattern in _UNREASONING)


# Signatures.

SIGNED = "openai:"
"""Begins the signature of a `thinking` block that is a reasoning item of OpenAI's."""


class Signature(NamedTuple):
    """What the signature holds: how many calls of the answer came before the item, its id and what only OpenAI reads.

    Blocks and calls are told apart in a chat, so the order among them must travel with them.
    """

    after: int
    id: str
    encrypted: str

    def text(self) -> str:
        """The signature."""
        return f"{SIGNED}{self.after}:{self.id}:{self.encrypted}"


def signature_of(text: str) -> Signature | None:
    """The signature in `text`; None for one of another maker."""
    if not text.startswith(SIGNED):
        return None
    after, _, rest = text[len(SIGNED) :].partition(":")
    id, colon, encrypted = rest.partition(":")
    if not colon or not encrypted or not after.isascii() or not after.isdecimal() or len(after) > 6:
        return None
    return Signature(int(after), id, encrypted)
