"""Response → chat completion, and the errors that responses and their streams tell of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from adapters import counting, openai_errors
from adapters.chat.response import completion, message_of, wish_of
from adapters.chat.wire import (
    NULL,
    Annotation,
    CalledFunction,
    Choice,
    OutMessage,
    OutToolCall,
    UrlCitation,
    told,
)
from adapters.errors import NO_WORD, TRAITS, BadAnswer, Kind, UpstreamError
from adapters.packing import OPENAI_ITEM
from adapters.responses.wire import (
    FAILED,
    FINISH,
    Cited,
    Failure,
    Incomplete,
    Item,
    OutPart,
    Response,
    Signature,
    item_of,
)
from adapters.types import Call, Reply, Usage
from adapters.values import BRACKET, PARAGRAPH, UNREADABLE, first

_encode = msgspec.json.Encoder().encode
_decode_response = msgspec.json.Decoder(Response).decode
_decode_chances = msgspec.json.Decoder(list[Raw]).decode


def translate(call: Call, body: bytes) -> Reply:
    """The chat completion for a response. Raises BadAnswer when the body is not one, or tells of a failure."""
    try:
        if not body.isascii():
            # Foreign items are passed on undecoded; broken bytes must not hide in them.
            body.decode()
        answer = _decode_response(body)
        if answer.error is not None or answer.status in FAILED:
            raise BadAnswer(f"The provider did not answer: {_failure(answer)}")
        if not (answer.output or answer.status):
            raise BadAnswer(NO_WORD)
        said = _Said()
        for raw in answer.output:
            said.add(item_of(raw), raw)
        logprobs = said.logprobs()
    except UNREADABLE as error:
        raise BadAnswer(f"The provider's answer is not a response: {error}.") from error
    legacy = wish_of(call).functions != NULL
    message = said.message(legacy)
    if call.shows_blocks:
        message.content_blocks = said.blocks
    usage = counting.usage_of(body)
    finish = finish_of(answer.status, answer.incomplete_details, bool(said.calls), legacy)
    choices = (Choice(0, message, logprobs, finish),)
    counted = told(usage or Usage(), call.shows_blocks)
    tier = None if usage is None else usage.tier
    return Reply(completion(call, "openai", choices, counted, answer.id, answer.model, tier), usage)


def _failure(answer: Response) -> str:
    error = answer.error
    if error is not None and (error.message or error.code):
        return f"{error.message or error.code}"
    return f"the response is {answer.status or 'without a status'}."


class _Said:
    """What the items of an answer come to."""

    __slots__ = ("_annotations", "_chances", "_length", "_refusals", "_texts", "blocks", "calls")

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.blocks: list[Any] = []
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._annotations: list[Annotation] = []
        self._chances: list[Raw] = []
        self._length = 0

    def add(self, item: Item | None, raw: Raw) -> None:
        """Takes the next item; `raw` is the same as it came."""
        if item is None:
            self.blocks.append({"type": OPENAI_ITEM, "after": len(self.calls), "item": raw})
        elif item.type == "message":
            for part in item.content or ():
                self._say(part, item.phase)
        elif item.type == "function_call":
            called = CalledFunction(item.name, item.arguments or "{}")
            self.calls.append(OutToolCall(call_id(item), "function", called))
        elif item.type == "custom_tool_call":
            custom = {"name": item.name, "input": item.input or ""}
            self.calls.append({"id": call_id(item), "type": "custom", "custom": custom})
        else:
            block = thought(item, len(self.calls))
            if block:
                self.blocks.append(block)

    def _say(self, part: OutPart, phase: str | None) -> None:
        if part.type == "refusal":
            self._refusals.append(part.refusal or "")
        if part.type != "output_text":
            return
        text = part.text or ""
        self._texts.append(text)
        self.blocks.append({"type": "text", "text": text, **({"phase": phase} if phase else {})})
        self._annotations += cited(part.annotations or (), self._length)
        self._length += len(text)
        if first(part.logprobs) == BRACKET:
            self._chances += _decode_chances(part.logprobs)

    def logprobs(self) -> dict[str, Any] | None:
        """The chances of the answer's words, in a chat's form; None where nobody asked."""
        return {"content": self._chances, "refusal": None} if self._chances else None

    def message(self, legacy: bool) -> OutMessage:
        """The chat message."""
        made = message_of(self._texts, [call for call in self.calls if type(call) is OutToolCall], legacy, None)
        if not legacy and self.calls:
            made.tool_calls = self.calls
            made.content = "".join(self._texts) if self._texts else None
        made.annotations = list(self._annotations) or None
        if self._refusals:
            made.refusal = "".join(self._refusals)
            made.content = made.content or None
        return made


def call_id(item: Item) -> str:
    """The id of a call; compatible servers may give none but the item's own."""
    return item.call_id or item.id or ""


def thought(item: Item, after: int) -> dict[str, Any] | None:
    """The block of a reasoning item that stands after so many calls; None where it neither shows nor holds anything."""
    parts = (*(item.summary or ()), *(item.content or ()))
    text = PARAGRAPH.join(part.text or "" for part in parts)
    block: dict[str, Any] = {"type": "thinking", "thinking": text}
    if item.encrypted_content:
        block["signature"] = Signature(after, item.id or "", item.encrypted_content).text()
    return block if text or item.encrypted_content else None


def cited(annotations: Sequence[Cited], start: int) -> list[Annotation]:
    """The sources with an address of a text that begins at this character of the answer."""
    return [
        Annotation(
            UrlCitation(each.url, each.title or "", start + (each.start_index or 0), start + (each.end_index or 0))
        )
        for each in annotations
        if each.type == "url_citation" and each.url
    ]


def finish_of(status: str | None, incomplete: Incomplete | None, calls: bool, legacy: bool) -> str:
    """Why an answer ended, in the words of a chat."""
    reason = None if incomplete is None else incomplete.reason
    if reason or status == "incomplete":
        return FINISH.get(reason, "length")
    if calls:
        return "function_call" if legacy else "tool_calls"
    return "stop"


def event_error(failure: Failure | None) -> UpstreamError:
    """The error that an event within a stream tells; its status is the one that its code has elsewhere."""
    found = failure or Failure()
    message = found.message or "The provider reported an error within the stream and no message."
    told_error = {"message": message, "type": found.type or found.code, "code": found.code, "param": found.param}
    read = openai_errors.read_event(_encode({"error": told_error}))
    return read or UpstreamError(Kind.BAD_UPSTREAM, TRAITS[Kind.BAD_UPSTREAM].status, message)
