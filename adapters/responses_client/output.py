"""What an answer is made of on this side: the response object around it, its items, its usage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from adapters import peek
from adapters.chat.wire import TIERS
from adapters.errors import InvalidRequest
from adapters.packing import pack
from adapters.pivot import Annotation
from adapters.types import Call, Usage
from adapters.values import ABSENT, BRACKET, NULL, first

encode = msgspec.json.Encoder().encode
_annotations = msgspec.json.Decoder(list[Annotation]).decode

_ECHOED: Mapping[str, Raw] = {
    name: Raw(default)
    for name, default in (
        ("instructions", b"null"),
        ("max_output_tokens", b"null"),
        ("max_tool_calls", b"null"),
        ("parallel_tool_calls", b"true"),
        ("previous_response_id", b"null"),
        ("prompt_cache_key", b"null"),
        ("reasoning", b'{"effort":null,"summary":null}'),
        ("safety_identifier", b"null"),
        ("temperature", b"1.0"),
        ("text", b'{"format":{"type":"text"}}'),
        ("tool_choice", b'"auto"'),
        ("tools", b"[]"),
        ("top_logprobs", b"0"),
        ("top_p", b"1.0"),
        ("truncation", b'"disabled"'),
        ("user", b"null"),
        ("metadata", b"{}"),
    )
}
"""The request's fields that every response repeats, and their defaults. Nothing is stored, whatever was asked."""

_ANY_TIER = Raw(b'"auto"')

INCOMPLETE = {"length": "max_output_tokens", "model_length": "max_output_tokens", "content_filter": "content_filter"}


class Echo(NamedTuple):
    """The part of a response that repeats its request, as the inside of a JSON object, and the `tier` asked for."""

    fields: bytes
    tier: Raw


def echo(call: Call) -> Echo:
    """What a response repeats of its request."""
    try:
        fields = peek.fields(call.body)
    except InvalidRequest:
        # The request was translated from this body, so it is one.
        fields = {}
    shown: dict[str, Any] = {"background": False, "store": False}
    for name, default in _ECHOED.items():
        value = fields.get(name, default)
        shown[name] = default if first(value) == NULL else Raw(msgspec.json.format(bytes(value), indent=-1))
    tier = fields.get("service_tier", _ANY_TIER)
    return Echo(encode(shown)[1:-1], _ANY_TIER if first(tier) == NULL else tier)


def response(
    call: Call,
    echoed: Echo,
    model: str,
    output: list[bytes],
    usage: Usage | None,
    finish_reason: str | None,
    done: bool = True,
) -> bytes:
    """The response object. `output` are items as JSON; without `done`, as it stands before the answer."""
    reason = INCOMPLETE.get(finish_reason or "") if done else None
    status = b"in_progress" if not done else b"incomplete" if reason else b"completed"
    details = b"null" if reason is None else encode({"reason": reason})
    return (
        b'{"id":"resp_%b","object":"response","created_at":%d,"status":"%b","error":null,"incomplete_details":%b,'
        b'"model":%b,"output":[%b],%b,"service_tier":%b,"usage":%b}'
    ) % (
        call.id.encode(),
        call.created,
        status,
        details,
        encode(model),
        b",".join(output),
        echoed.fields,
        bytes(echoed.tier) if usage is None or usage.tier not in TIERS else encode(TIERS[usage.tier]),
        encode(told(usage) if done else None),
    )


def told(usage: Usage | None) -> dict[str, Any] | None:
    """The usage object, or None where nothing was counted."""
    if usage is None:
        return None
    taken = {"cached_tokens": usage.cached}
    if usage.cache_write:
        taken["cache_write_tokens"] = usage.cache_write
    return {
        "input_tokens": usage.input,
        "input_tokens_details": taken,
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }


def annotations_of(raw: Raw) -> list[dict[str, Any]]:
    """A chat answer's `annotations` as the flat ones of an output text. Raises one of `UNREADABLE`."""
    if first(raw) != BRACKET:
        return []
    cited = [each.url_citation for each in _annotations(raw)]
    return [
        {
            "type": "url_citation",
            "start_index": each.start_index,
            "end_index": each.end_index,
            "url": each.url,
            "title": each.title or "",
        }
        for each in cited
        if each is not None
    ]


def text_part(text: Raw, annotations: list[dict[str, Any]], logprobs: Raw = ABSENT) -> bytes:
    """An output_text part."""
    chances = bytes(logprobs) if first(logprobs) == BRACKET else b"[]"
    return b'{"type":"output_text","annotations":%b,"logprobs":%b,"text":%b}' % (encode(annotations), chances, text)


def refusal_part(text: Raw) -> bytes:
    """A refusal part."""
    return b'{"type":"refusal","refusal":%b}' % text


def message(id: str, parts: list[bytes], status: bytes = b"completed") -> bytes:
    """A message item."""
    return b'{"id":"%b","type":"message","status":"%b","role":"assistant","content":[%b]}' % (
        id.encode(),
        status,
        b",".join(parts),
    )


def reasoning(id: str, summary: Raw, packed: list[Raw | dict[str, Any]], status: bytes = b"completed") -> bytes:
    """A reasoning item. `packed` are the blocks that it stands for; without any it has no encrypted content."""
    shown = b"[%b]" % summary_part(summary) if len(summary) > len(b'""') else b"[]"
    opaque = encode(pack(packed)) if packed else b"null"
    return b'{"id":"%b","type":"reasoning","status":"%b","summary":%b,"encrypted_content":%b}' % (
        id.encode(),
        status,
        shown,
        opaque,
    )


def summary_part(text: Raw | bytes) -> bytes:
    """A part of a reasoning item's summary."""
    return b'{"type":"summary_text","text":%b}' % text


def function_call(id: str, call_id: str, name: str, arguments: Raw | bytes, status: bytes = b"completed") -> bytes:
    """A function call item; `arguments` is a JSON string."""
    return b'{"id":"%b","type":"function_call","status":"%b","call_id":%b,"name":%b,"arguments":%b}' % (
        id.encode(),
        status,
        encode(call_id),
        encode(name),
        arguments,
    )


def custom_call(id: str, call_id: str, name: str, text: Raw | bytes, status: bytes = b"completed") -> bytes:
    """The call of a custom tool; `text`, its input, is a JSON string."""
    return b'{"id":"%b","type":"custom_tool_call","status":"%b","call_id":%b,"name":%b,"input":%b}' % (
        id.encode(),
        status,
        encode(call_id),
        encode(name),
        text,
    )
