"""Converse answer → chat completion, and AWS's errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from adapters.anthropic.response import finish_of, input_text
from adapters.anthropic.wire import JSON_TOOL
from adapters.bedrock.citations import annotations_of
from adapters.bedrock.citations import told as told_source
from adapters.bedrock.models import family
from adapters.bedrock.wire import ERRORS, Answer, Block, Told, counted, opened
from adapters.chat.response import completion, message_of, wants_schema, wish_of
from adapters.chat.wire import NULL, Annotation, CalledFunction, Choice, OutMessage, OutToolCall, Wish, told
from adapters.errors import NO_WORD, TRAITS, BadAnswer, Kind, UpstreamError, kind_of
from adapters.types import Call, Reply, Usage
from adapters.values import UNREADABLE

_decode_answer = msgspec.json.Decoder(Answer).decode
_decode_told = msgspec.json.Decoder(Told).decode

_TYPE_HEADER = "x-amzn-errortype"


def answers_by_tool(call: Call, wish: Wish) -> bool:
    """Whether the request was sent with the tool whose input is the answer; `request` decides by the same."""
    wanted = wish.response_format
    return wanted is not None and wants_schema(wanted) and family(call.model).schema == "tool"


def translate(call: Call, body: bytes) -> Reply:
    """The chat completion for a Converse answer. Raises BadAnswer when the body is not one."""
    try:
        if not body.isascii():
            # Tool inputs are passed on undecoded; broken bytes must not hide in them.
            body.decode()
        answer = _decode_answer(body)
    except UNREADABLE as error:
        raise BadAnswer("The answer is not one of Bedrock's Converse API.") from error
    if not (answer.output.message.content or answer.stop_reason):
        raise BadAnswer(NO_WORD)
    wish = wish_of(call)
    message, finish = _message(answer, answers_by_tool(call, wish), wish.functions != NULL, call.strict)
    if call.shows_blocks:
        message.content_blocks = [block for block in map(shown, answer.output.message.content) if block]
    usage = Usage() if answer.usage is None else counted(answer.usage, answer.service_tier)
    choices = (Choice(0, message, None, finish),)
    made = completion(call, "bedrock", choices, told(usage, call.shows_blocks), None, None, usage.tier)
    return Reply(made, usage if answer.usage is not None else None)


def _message(answer: Answer, by_tool: bool, legacy: bool, strict: bool) -> tuple[OutMessage, str]:
    texts: list[str] = []
    calls: list[OutToolCall] = []
    annotations: list[Annotation] = []
    answered = False
    said = 0
    for block in answer.output.message.content:
        tool = block.tool_use
        if tool is None:
            if not answered:
                found = text_of(block)
                texts += found
                end = said + sum(map(len, found))
                if block.citations_content is not None:
                    annotations += annotations_of(block.citations_content.citations or (), said, end)
                said = end
        elif by_tool and tool.name == JSON_TOOL:
            texts, answered, annotations = [input_text(tool.input)], True, []
        else:
            calls.append(OutToolCall(tool.tool_use_id, "function", CalledFunction(tool.name, input_text(tool.input))))
    finish = finish_of(answer.stop_reason, strict, answered=answered and not calls, legacy=legacy and bool(calls))
    return message_of(texts, calls, legacy, annotations), finish


def text_of(block: Block) -> list[str]:
    """The text of a block, cited text included."""
    if block.text is not None:
        return [block.text]
    return [] if block.citations_content is None else block.citations_content.texts()


def shown(block: Block) -> dict[str, Any] | None:
    """The entry of `content_blocks` for a block; None for those that are elsewhere in the answer."""
    if block.reasoning_content is not None:
        reasoning = block.reasoning_content
        if reasoning.redacted_content is not None:
            return {"type": "redacted_thinking", "data": opened(reasoning.redacted_content)}
        text = reasoning.reasoning_text
        if text is None:
            return None
        made: dict[str, Any] = {"type": "thinking", "thinking": text.text}
        return made if text.signature is None else {**made, "signature": text.signature}
    if block.image is not None:
        url = f"data:image/{block.image.format};base64,{block.image.source.bytes}"
        return {"type": "image_url", "image_url": {"url": url}}
    texts = text_of(block)
    if not texts:
        return None
    made = {"type": "text", "text": "".join(texts)}
    sources = [] if block.citations_content is None else list(map(told_source, block.citations_content.citations or ()))
    return {**made, "citations": sources} if sources else made


def error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """Reads an error answer. Takes any body and never raises; the provider's status is kept."""
    kind_of_error = headers.get(_TYPE_HEADER, "").partition(":")[0] or None
    message = _told(body) or f"The provider answered with status {status} and no message."
    known = ERRORS.get(kind_of_error or "")
    return UpstreamError(kind_of(status) if known is None else known[0], status, message, kind_of_error)


def event_error(name: bytes, payload: bytes) -> UpstreamError:
    """The error that an exception within a stream tells; its status is the one its type has elsewhere."""
    named = name.decode("utf-8", "replace")
    kind_of_error = named[:1].upper() + named[1:]
    kind, status = ERRORS.get(kind_of_error) or (Kind.BAD_UPSTREAM, TRAITS[Kind.BAD_UPSTREAM].status)
    message = _told(payload) or "The provider reported an error within the stream and no message."
    return UpstreamError(kind, status, message, kind_of_error)


def _told(body: bytes) -> str | None:
    try:
        said = _decode_told(body)
    except UNREADABLE:
        return None
    return said.message or said.Message
