"""generateContent answer → chat completion."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from adapters import counting, pieces
from adapters.chat.response import completion, wish_of
from adapters.chat.wire import EMPTY_STRING, NULL, AudioOut, CalledFunction, OutMessage, OutToolCall, searched, told
from adapters.errors import NO_WORD, BadAnswer
from adapters.gemini.blocks import Blocks, folded
from adapters.gemini.grounding import citations, logprobs
from adapters.gemini.wire import FILTERED, FINISH, Answer, AnswerPart, Called, Candidate, Feedback, OutChoice, RawAnswer
from adapters.google_usage import Tokens, counted
from adapters.types import Call, Reply
from adapters.values import BRACE, QUOTE, UNREADABLE, first, joined

_answer = msgspec.json.Decoder(Answer).decode
_raws = msgspec.json.Decoder(RawAnswer).decode
_str = msgspec.json.Decoder(str).decode

_NO_TOKENS = Tokens()


def translate(call: Call, body: bytes) -> Reply:
    """The chat completion for an answer. Raises BadAnswer when the body is not one."""
    try:
        if not body.isascii():
            # Text is passed on undecoded; broken bytes must not hide in it.
            body.decode()
        answer = _answer(body)
        refused = answer.refused
        if not (answer.candidates or refused):
            raise BadAnswer("The provider's answer has no candidates.")
        if answer.candidates and not any(each.content or each.finish_reason for each in answer.candidates):
            raise BadAnswer(NO_WORD)
        raws = _raws(body).parts() if call.shows_blocks else None
        choices = [
            _choice(call, each, None if raws is None else raws[at]) for at, each in enumerate(answer.candidates or ())
        ]
    except UNREADABLE as error:
        raise BadAnswer(f"The answer is not one of Gemini's: {error}.") from error
    if refused is not None:
        choices = [_refusal(refused, call.strict)]
    tokens = answer.usage_metadata
    usage = counted(tokens or _NO_TOKENS)
    if any(each.grounding_metadata for each in answer.candidates or ()):
        usage = counting.with_rare(usage, pieces.of_grounding(body))
    counts = searched(told(usage), usage) if call.shows_blocks else told(usage)
    made = completion(call, "google", choices, counts, answer.response_id, answer.model_version, usage.tier)
    return Reply(made, None if tokens is None else usage)


def finish_of_refusal(refused: Feedback, strict: bool) -> str:
    """The finish reason where the prompt was refused."""
    return FILTERED if strict or not refused.block_reason else refused.block_reason


def explained(candidate: Candidate) -> str:
    """What Gemini says of why a filter ended a candidate; empty where none did."""
    return candidate.finish_message or "" if FINISH.get(candidate.finish_reason or "") == FILTERED else ""


def finish(reason: str | None, calls: int, strict: bool, legacy: bool) -> str:
    """Gemini's finish reason in OpenAI's words. Gemini says STOP where it calls tools; a client waits for the word."""
    if not strict and reason is not None and not (calls and reason == "STOP"):
        return reason
    word = FINISH.get(reason or "", "stop")
    if calls and word == "stop":
        return "function_call" if legacy else "tool_calls"
    return word


def call_id(call: Call, called: Called, number: int) -> str:
    """The provider's own id of a tool call, else one of ours; `number` counts the calls of the answer."""
    return called.id or f"call_{call.id[-24:]}_{number}"


def arguments(called: Called) -> str:
    """The arguments of a call as the text that OpenAI's clients parse."""
    return str(called.args, "utf-8") if first(called.args) == BRACE else "{}"


def text_of(part: AnswerPart) -> Raw:
    """The text of a part, a JSON string. Raises ValidationError where it is anything else."""
    if first(part.text) != QUOTE:
        raise msgspec.ValidationError("a part's text is not a string")
    return part.text


def _refusal(refused: Feedback, strict: bool) -> OutChoice:
    """The choice of an answer whose prompt was refused."""
    why = refused.block_reason_message or None
    message = OutMessage("assistant", None if why else EMPTY_STRING, why)
    return OutChoice(0, message, None, finish_of_refusal(refused, strict))


def _choice(call: Call, candidate: Candidate, raws: list[Raw] | None) -> OutChoice:
    parts = candidate.content.parts if candidate.content is not None else []
    texts = [text_of(part) for part in parts if part.text and not part.thought]
    calls = [
        _call(call, part, part.function_call, number, candidate.index)
        for number, part in enumerate(part for part in parts if part.function_call is not None)
        if part.function_call is not None
    ]
    refusal = explained(candidate) or None
    content = joined(texts) if texts else (None if calls or refusal else EMPTY_STRING)
    message = OutMessage("assistant", content, refusal)
    legacy = bool(calls) and wish_of(call).functions != NULL
    if legacy:
        message.function_call = calls[0].function
    elif calls:
        message.tool_calls = calls
    for part in parts:
        if part.inline_data is not None and part.inline_data.mime_type.startswith("audio/"):
            message.audio = AudioOut(f"audio_{call.id[-24:]}", part.inline_data.data, call.created + 3600, "")
    if candidate.grounding_metadata or candidate.citation_metadata:
        text = _str(content) if content is not None and texts else ""
        message.annotations = citations(candidate.grounding_metadata, candidate.citation_metadata, text) or None
    if raws is not None:
        blocks = Blocks()
        deltas = [blocks.deltas(part, raw) for part, raw in zip(parts, raws, strict=True)]
        message.content_blocks = folded([delta for each in deltas for delta in each])
    reason = finish(candidate.finish_reason, len(calls), call.strict, legacy)
    choice = OutChoice(candidate.index, message, logprobs(candidate.logprobs_result), reason)
    if not call.strict:
        choice.grounding_metadata = candidate.grounding_metadata
    return choice


def _call(call: Call, part: AnswerPart, called: Called, number: int, choice: int) -> OutToolCall:
    if not called.name:
        raise BadAnswer("The provider's answer has a function call without a name.")
    function = CalledFunction(called.name, arguments(called))
    if call.shows_blocks:
        function.thought_signature = part.thought_signature
    return OutToolCall(call_id(call, called, choice * 100 + number), "function", function)
