"""Cohere's answer → chat completion."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw

from adapters.chat.response import completion
from adapters.chat.wire import Choice, told
from adapters.cohere.wire import BROKEN, FINISH, Answer, Chance, Citation, Content, Counted, Message
from adapters.errors import NO_WORD, BadAnswer
from adapters.types import Call, Reply, Usage
from adapters.values import ABSENT, BRACKET, QUOTE, UNREADABLE, first

FAILED = "The provider failed while it answered."

encode = msgspec.json.Encoder().encode

_answer = msgspec.json.Decoder(Answer).decode
_citations = msgspec.json.Decoder(list[Citation]).decode
_text = msgspec.json.Decoder(str).decode


def translate(call: Call, body: bytes) -> Reply:
    """The chat completion for Cohere's answer. Raises BadAnswer when the body is none."""
    try:
        answer = _answer(body)
        message = _message(answer.message, call.shows_blocks)
    except UNREADABLE as error:
        raise BadAnswer(f"The answer is not one of Cohere's: {str(error).replace('`', chr(39))}.") from error
    if answer.finish_reason == BROKEN:
        raise BadAnswer(FAILED)
    if not (answer.finish_reason or message["content"] or message.get("tool_calls")):
        raise BadAnswer(NO_WORD)
    usage = usage_of(answer.usage)
    choices = (Choice(0, message, chances_of(answer.logprobs or ()), finish_of(answer.finish_reason, call.strict)),)
    made = completion(call, "cohere", choices, None if usage is None else told(usage), answer.id, None)
    return Reply(made, usage)


def finish_of(reason: str | None, strict: bool) -> str:
    """The finish reason a client gets."""
    return FINISH.get(reason or "", "stop") if strict or not reason else reason


def chances_of(pieces: Iterable[Chance]) -> dict[str, Any] | None:
    """The `logprobs` of a choice; None where nobody asked. A piece of several tokens is as likely as all of them."""
    found = [
        {
            "token": each.text,
            "logprob": sum(each.logprobs),
            "bytes": list(each.text.encode("utf-8", "replace")),
            "top_logprobs": [],
        }
        for each in pieces
        if each.text and each.logprobs
    ]
    return {"content": found, "refusal": None} if found else None


def usage_of(counted: Counted | None) -> Usage | None:
    """Cohere's counts; the tokens that were read, or else those that are billed."""
    units = None if counted is None else counted.tokens or counted.billed_units
    if counted is None or units is None:
        return None
    return Usage(int(units.input_tokens or 0), int(units.output_tokens or 0), int(counted.cached_tokens or 0))


def annotations_of(citations: Raw) -> list[dict[str, Any]]:
    """The sources that have an address, as OpenAI cites them. Raises one of `UNREADABLE`."""
    found = []
    for citation in _citations(citations):
        for source in citation.sources or ():
            document = source.document or {}
            url, title = (document.get(name, ABSENT) for name in ("url", "title"))
            if first(url) == QUOTE:
                cited: dict[str, Any] = {"url": _text(url), "title": _text(title) if first(title) == QUOTE else ""}
                cited |= {"start_index": citation.start, "end_index": citation.end}
                found.append({"type": "url_citation", "url_citation": cited})
    return found


def arguments_of(arguments: str | None) -> str:
    """A call's arguments; Cohere says `null` for a tool without any."""
    return arguments if arguments and arguments != "null" else "{}"


def _message(message: Message, blocks: bool) -> dict[str, Any]:
    content = message.content
    parts = [Content("text", content)] if isinstance(content, str) else content or []
    text = (message.tool_plan or "") + "".join(part.text for part in parts)
    made: dict[str, Any] = {"role": "assistant", "content": text or None, "refusal": None}
    if not message.tool_calls:
        made["content"] = text
    else:
        made["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function.name, "arguments": arguments_of(call.function.arguments)},
            }
            for call in message.tool_calls
            if call.function is not None
        ]
    if first(message.citations) == BRACKET:
        annotations = annotations_of(message.citations)
        if annotations:
            made["annotations"] = annotations
        if blocks:
            made["citations"] = message.citations
    if blocks:
        made["content_blocks"] = _blocks(parts, message.tool_plan)
    return made


def _blocks(parts: list[Content], plan: str | None) -> list[dict[str, str]]:
    found = [
        {"type": "thinking", "thinking": part.thinking} if part.thinking else {"type": "text", "text": part.text}
        for part in parts
        if part.thinking or part.text
    ]
    return [{"type": "text", "text": plan}, *found] if plan else found
