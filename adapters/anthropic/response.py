"""Messages answer → chat completion, and Anthropic's error bodies."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Raw

from adapters.anthropic.models import traits
from adapters.anthropic.wire import ERRORS, FINISH, JSON_TOOL, Answer, Citation, ErrorBody, RawContent
from adapters.chat.response import completion, message_of, wants_schema, wish_of
from adapters.chat.wire import (
    NULL,
    Annotation,
    CalledFunction,
    Choice,
    OutMessage,
    OutToolCall,
    UrlCitation,
    Wish,
    told,
)
from adapters.claude_usage import counted
from adapters.errors import NO_WORD, TRAITS, BadAnswer, Kind, UpstreamError, kind_of
from adapters.types import Call, Reply, Usage
from adapters.values import UNREADABLE

_decode_answer = msgspec.json.Decoder(Answer).decode
_decode_raws = msgspec.json.Decoder(RawContent).decode
_decode_error = msgspec.json.Decoder(ErrorBody).decode

_NOTHING = Usage()
_PREFIX = 120
"""Characters of an unreadable error body that are shown."""


def answers_by_tool(call: Call, wish: Wish) -> bool:
    """Whether the request was sent with the tool whose input is the answer; `request` decides by the same."""
    wanted = wish.response_format
    return wanted is not None and wants_schema(wanted) and not traits(call.model).structured


def translate(call: Call, body: bytes) -> Reply:
    """The chat completion for a Messages answer. Raises BadAnswer when the body is not one."""
    try:
        if not body.isascii():
            # Tool inputs and foreign blocks are passed on undecoded; broken bytes must not hide in them.
            body.decode()
        answer = _decode_answer(body)
        strict = call.strict
        shows = call.blocks or not strict
        blocks = _decode_raws(body).content if shows else None
    except UNREADABLE as error:
        raise BadAnswer(f"The answer is not an Anthropic message: {_reason(error)}.") from error
    said = answer.content
    if not (said or answer.stop_reason):
        raise BadAnswer(NO_WORD)
    if len(said) == 1 and said[0].type == "text" and not said[0].citations:
        # One text: what the request wished of tools and schemas does not matter.
        message, finish = OutMessage("assistant", said[0].text, None), _word(answer.stop_reason, strict)
    else:
        wish = wish_of(call)
        message, finish = _message(answer, answers_by_tool(call, wish), wish.functions != NULL, strict)
    if answer.stop_details is not None and answer.stop_details.explanation:
        message.refusal, message.content = answer.stop_details.explanation, message.content or None
    if blocks is not None:
        message.content_blocks = [raw for raw, block in zip(blocks, said, strict=True) if block.type != "tool_use"]
    usage = None if answer.usage is None else counted(answer.usage)
    choices = (Choice(0, message, None, finish),)
    tier = None if usage is None else usage.tier
    made = completion(call, "anthropic", choices, told(usage or _NOTHING, shows), answer.id, answer.model, tier)
    return Reply(made, usage)


def _message(answer: Answer, by_tool: bool, legacy: bool, strict: bool) -> tuple[OutMessage, str]:
    texts: list[str] = []
    calls: list[OutToolCall] = []
    annotations: list[Annotation] = []
    answered = False
    said = 0
    for block in answer.content:
        if block.type == "text":
            if not answered:
                texts.append(block.text)
                if block.citations:
                    annotations += cited(block.citations, said, said + len(block.text))
                said += len(block.text)
        elif block.type == "tool_use":
            if by_tool and block.name == JSON_TOOL:
                texts = [input_text(block.input)]
                answered = True
            else:
                calls.append(OutToolCall(block.id, "function", CalledFunction(block.name, input_text(block.input))))
    finish = finish_of(answer.stop_reason, strict, answered=answered and not calls, legacy=legacy and bool(calls))
    return message_of(texts, calls, legacy, annotations), finish


def finish_of(reason: str | None, strict: bool, *, answered: bool, legacy: bool) -> str:
    """OpenAI's word for a stop reason, or the provider's own where the client takes those. `answered`: the only tool
    called was the one whose input is the answer; `legacy`: the client takes calls in their first form."""
    if answered and reason == "tool_use":
        # The client never asked for a tool: to it this is an answer that came to its end.
        reason = "end_turn"
    finish = _word(reason, strict)
    return "function_call" if legacy and finish == "tool_calls" else finish


def _word(reason: str | None, strict: bool) -> str:
    return FINISH.get(reason, "stop") if strict or not reason else reason


def cited(citations: Iterable[Citation], start: int, end: int) -> list[Annotation]:
    """The sources of a stretch of text that have an address."""
    return [
        Annotation(UrlCitation(address, each.title or "", start, end))
        for each in citations
        if (address := each.address) is not None
    ]


def input_text(input: Raw) -> str:
    """The input of a tool call as the text that OpenAI's clients parse."""
    return str(input, "utf-8") if input else "{}"


def _reason(error: Exception) -> str:
    if isinstance(error, msgspec.ValidationError):
        return str(error).replace("`", "'")
    return "it is not JSON"


def error(status: int, body: bytes) -> UpstreamError:
    """Reads an error answer. Takes any body and never raises; the provider's status is kept."""
    try:
        detail = _decode_error(body).error
    except UNREADABLE:
        return UpstreamError(kind_of(status), status, f"The provider answered with status {status}{_shown(body)}")
    kind, _ = ERRORS.get(detail.type) or (kind_of(status), status)
    message = detail.message or f"The provider answered with status {status} and no message."
    return UpstreamError(kind, status, message, detail.type)


def event_error(body: ErrorBody) -> UpstreamError:
    """The error that an `error` event within a stream tells; its status is the one its type has elsewhere."""
    detail = body.error
    kind, status = ERRORS.get(detail.type) or (Kind.BAD_UPSTREAM, TRAITS[Kind.BAD_UPSTREAM].status)
    message = detail.message or "The provider reported an error within the stream and no message."
    return UpstreamError(kind, status, message, detail.type)


def _shown(body: bytes) -> str:
    """The start of a body that is plain text; nothing of a page or of broken JSON."""
    text = " ".join(body[: 4 * _PREFIX].decode("utf-8", "replace").split())
    if not text or text[0] in "<{[" or not text.isprintable():
        return "."
    return f": {text[:_PREFIX]}" + ("…" if len(text) > _PREFIX else "")
