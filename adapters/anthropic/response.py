"""Messages answer → chat completion, and Anthropic's error bodies."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Raw

from adapters.anthropic.models import traits
from adapters.anthropic.wire import (
    BRACE,
    ERRORS,
    FINISH,
    JSON_TOOL,
    NULL,
    Annotation,
    Answer,
    Block,
    CalledFunction,
    Choice,
    Citation,
    Completion,
    ErrorBody,
    NamedCompletion,
    OutMessage,
    OutToolCall,
    RawContent,
    UrlCitation,
    Wish,
    counted,
    first,
    told,
)
from adapters.errors import TRAITS, BadAnswer, Kind, UpstreamError, kind_of
from adapters.types import Call, Reply

_encode = msgspec.json.Encoder().encode
_decode_answer = msgspec.json.Decoder(Answer).decode
_decode_raws = msgspec.json.Decoder(RawContent).decode
_decode_error = msgspec.json.Decoder(ErrorBody).decode
_decode_wish = msgspec.json.Decoder(Wish).decode

_NO_WISH = Wish()
_PREFIX = 120
"""Characters of an unreadable error body that are shown."""


def wish_of(call: Call) -> Wish:
    """What the request says about the form of its answer."""
    try:
        return _decode_wish(call.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _NO_WISH


def answers_by_tool(call: Call, wish: Wish) -> bool:
    """Whether the request was sent with the tool whose input is the answer; `request` decides by the same."""
    wanted = wish.response_format
    if wanted is None or wanted.type != "json_schema" or wanted.json_schema is None:
        return False
    return first(wanted.json_schema.schema) == BRACE and not traits(call.model).structured


def translate(call: Call, body: bytes) -> Reply:
    """The chat completion for a Messages answer. Raises BadAnswer when the body is not one."""
    try:
        if not body.isascii():
            # Tool inputs and foreign blocks are passed on undecoded; broken bytes must not hide in them.
            body.decode()
        answer = _decode_answer(body)
        blocks = None if not call.shows_blocks else _decode_raws(body).content
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(f"The answer is not an Anthropic message: {_reason(error)}.") from error
    wish = wish_of(call)
    message, finish = _message(answer, answers_by_tool(call, wish), wish.functions != NULL, call.strict)
    if blocks is not None:
        message.content_blocks = [
            raw for raw, block in zip(blocks, answer.content, strict=True) if block.type != "tool_use"
        ]
    usage = counted(answer.usage)
    make = Completion if call.strict else NamedCompletion
    completion = make(
        answer.id or f"chatcmpl-{call.id}",
        "chat.completion",
        call.created,
        answer.model or call.model,
        [Choice(0, message, None, finish)],
        told(usage, not call.shows_blocks),
    )
    return Reply(_encode(completion), usage if answer.usage is not None else None)


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
                annotations += cited(block.citations or (), said, said + len(block.text))
                said += len(block.text)
        elif block.type == "tool_use":
            if by_tool and block.name == JSON_TOOL:
                texts = [_text(block.input)]
                answered = True
            else:
                calls.append(_call(block))
    reason = answer.stop_reason
    if answered and not calls and reason == "tool_use":
        # The client never asked for a tool: to it this is an answer that came to its end.
        reason = "end_turn"
    finish = FINISH.get(reason, "stop") if strict or not reason else reason
    content = "".join(texts) if texts or not calls else None
    sources = annotations or None
    if not calls:
        return OutMessage("assistant", content, None, annotations=sources), finish
    if legacy:
        finish = "function_call" if finish == "tool_calls" else finish
        return OutMessage("assistant", content, None, function_call=calls[0].function), finish
    return OutMessage("assistant", content, None, calls, annotations=sources), finish


def cited(citations: Iterable[Citation], start: int, end: int) -> list[Annotation]:
    """The sources of a stretch of text that have an address."""
    return [
        Annotation(UrlCitation(each.url, each.title or "", start, end)) for each in citations if each.url is not None
    ]


def _call(block: Block) -> OutToolCall:
    return OutToolCall(block.id, "function", CalledFunction(block.name, _text(block.input)))


def _text(input: Raw) -> str:
    return str(input, "utf-8") if input else "{}"


def _reason(error: Exception) -> str:
    if isinstance(error, msgspec.ValidationError):
        return str(error).replace("`", "'")
    return "it is not JSON"


def error(status: int, body: bytes) -> UpstreamError:
    """Reads an error answer. Takes any body and never raises; the provider's status is kept."""
    try:
        detail = _decode_error(body).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
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
