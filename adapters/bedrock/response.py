"""Converse answer → chat completion, and AWS's errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from adapters.anthropic.response import wish_of
from adapters.anthropic.wire import (
    BRACE,
    FINISH,
    JSON_TOOL,
    NULL,
    CalledFunction,
    Choice,
    NamedCompletion,
    OutMessage,
    OutToolCall,
    Wish,
    first,
    told,
)
from adapters.anthropic.wire import Completion as StrictCompletion
from adapters.bedrock.models import family
from adapters.bedrock.wire import ERRORS, Answer, Block, Told, counted, opened
from adapters.errors import TRAITS, BadAnswer, Kind, UpstreamError, kind_of
from adapters.types import Call, Reply, Usage

_encode = msgspec.json.Encoder().encode
_decode_answer = msgspec.json.Decoder(Answer).decode
_decode_told = msgspec.json.Decoder(Told).decode

_TYPE_HEADER = "x-amzn-errortype"
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def answers_by_tool(call: Call, wish: Wish) -> bool:
    """Whether the request was sent with the tool whose input is the answer; `request` decides by the same."""
    wanted = wish.response_format
    if wanted is None or wanted.type != "json_schema" or wanted.json_schema is None:
        return False
    return first(wanted.json_schema.schema) == BRACE and family(call.model).schema == "tool"


def finish_of(reason: str | None, strict: bool) -> str:
    """OpenAI's word for a stop reason, or the service's own where the client takes those."""
    return FINISH.get(reason, "stop") if strict or not reason else reason


def translate(call: Call, body: bytes) -> Reply:
    """The chat completion for a Converse answer. Raises BadAnswer when the body is not one."""
    try:
        if not body.isascii():
            # Tool inputs are passed on undecoded; broken bytes must not hide in them.
            body.decode()
        answer = _decode_answer(body)
    except UNREADABLE as error:
        raise BadAnswer("The answer is not one of Bedrock's Converse API.") from error
    wish = wish_of(call)
    message, finish = _message(answer, answers_by_tool(call, wish), wish.functions != NULL, call.strict)
    if call.shows_blocks:
        message.content_blocks = [Raw(_encode(block)) for block in map(shown, answer.output.message.content) if block]
    usage = Usage() if answer.usage is None else counted(answer.usage, answer.service_tier)
    made: StrictCompletion = StrictCompletion(
        f"chatcmpl-{call.id}",
        "chat.completion",
        call.created,
        call.model,
        [Choice(0, message, None, finish)],
        told(usage, call.strict),
    )
    if not call.strict:
        made = NamedCompletion(**msgspec.structs.asdict(made), provider="bedrock")
    return Reply(_encode(made), usage if answer.usage is not None else None)


def _message(answer: Answer, by_tool: bool, legacy: bool, strict: bool) -> tuple[OutMessage, str]:
    texts: list[str] = []
    calls: list[OutToolCall] = []
    answered = False
    for block in answer.output.message.content:
        tool = block.tool_use
        if tool is None:
            if not answered:
                texts += text_of(block)
        elif by_tool and tool.name == JSON_TOOL:
            texts, answered = [_text(tool.input)], True
        else:
            calls.append(OutToolCall(tool.tool_use_id, "function", CalledFunction(tool.name, _text(tool.input))))
    reason = answer.stop_reason
    if answered and not calls and reason == "tool_use":
        # The client never asked for a tool: to it this is an answer that came to its end.
        reason = "end_turn"
    finish = finish_of(reason, strict)
    content = "".join(texts) if texts or not calls else None
    if not calls:
        return OutMessage("assistant", content, None), finish
    if legacy:
        finish = "function_call" if finish == "tool_calls" else finish
        return OutMessage("assistant", content, None, function_call=calls[0].function), finish
    return OutMessage("assistant", content, None, calls), finish


def text_of(block: Block) -> list[str]:
    """The text of a block, cited text included."""
    if block.text is not None:
        return [block.text]
    return [] if block.citations_content is None else [each.text for each in block.citations_content.content]


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
    return {"type": "text", "text": "".join(texts)} if texts else None


def _text(input: Raw) -> str:
    return str(input, "utf-8") if input else "{}"


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
