"""Answers in each upstream dialect, whole and as the pieces of a stream: written from the providers' documentation and
recordings, and not with the gateway's codecs."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tests.matrix.cases import Answer

_FINISH = {"stop": "stop", "length": "length", "tool_calls": "tool_calls"}
_ANTHROPIC = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_GEMINI = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}
_COHERE = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL"}


class Dialect(NamedTuple):
    """How one upstream dialect is spoken. `whole` and `stream` render an answer, `error` a refusal."""

    content_type: str
    whole: Callable[[Answer], Any]
    stream: Callable[[Answer], Iterator[bytes]]
    error: Callable[[int, str], Any]


def signature_of(thinking: str) -> str:
    """What a provider signs these thoughts with, which nobody may change."""
    return base64.b64encode(b"signed: " + thinking.encode()).decode()


def _halves(text: str) -> list[str]:
    middle = len(text) // 2
    return [half for half in (text[:middle], text[middle:]) if half]


def _sse(data: Any, event: str | None = None) -> bytes:
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


# OpenAI chat, with the reasoning field that its compatible hosts share


def _openai_usage(answer: Answer) -> dict[str, Any]:
    return {
        "prompt_tokens": answer.input,
        "completion_tokens": answer.output,
        "total_tokens": answer.input + answer.output,
        "prompt_tokens_details": {"cached_tokens": answer.cached},
    }


def _openai_calls(answer: Answer) -> list[dict[str, Any]]:
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.arguments)}}
        for call in answer.calls
    ]


def _openai_whole(answer: Answer) -> Any:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None}
    if answer.thinking:
        message["reasoning_content"] = answer.thinking
    if answer.calls:
        message["tool_calls"] = _openai_calls(answer)
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": _FINISH[answer.stop], "logprobs": None}],
        "usage": _openai_usage(answer),
    }


def _openai_stream(answer: Answer) -> Iterator[bytes]:
    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "m"}
        return _sse({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more})

    yield chunk({"role": "assistant", "content": ""})
    for half in _halves(answer.thinking):
        yield chunk({"reasoning_content": half})
    for half in _halves(answer.text):
        yield chunk({"content": half})
    for index, call in enumerate(_openai_calls(answer)):
        function = call["function"]
        yield chunk({"tool_calls": [{**call, "index": index, "function": {**function, "arguments": ""}}]})
        for half in _halves(function["arguments"]):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": half}}]})
    yield chunk({}, _FINISH[answer.stop])
    yield _sse(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1700000000,
            "model": "m",
            "choices": [],
            "usage": _openai_usage(answer),
        }
    )
    yield b"data: [DONE]\n\n"


def _openai_error(status: int, message: str) -> Any:
    return {"error": {"message": message, "type": "rate_limit_exceeded", "param": None, "code": "rate_limit"}}


# Anthropic Messages


def _anthropic_usage(answer: Answer) -> dict[str, Any]:
    return {
        "input_tokens": answer.input - answer.cached,
        "output_tokens": answer.output,
        "cache_read_input_tokens": answer.cached,
        "cache_creation_input_tokens": 0,
    }


def _anthropic_blocks(answer: Answer) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if answer.thinking:
        blocks.append({"type": "thinking", "thinking": answer.thinking, "signature": signature_of(answer.thinking)})
    if answer.text:
        blocks.append({"type": "text", "text": answer.text})
    blocks += [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments} for call in answer.calls]
    return blocks


def _anthropic_message(answer: Answer) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": _anthropic_blocks(answer),
        "stop_reason": _ANTHROPIC[answer.stop],
        "stop_sequence": None,
        "usage": _anthropic_usage(answer),
    }


def _anthropic_stream(answer: Answer) -> Iterator[bytes]:
    def event(kind: str, **fields: Any) -> bytes:
        return _sse({"type": kind, **fields}, kind)

    start = {**_anthropic_message(answer), "content": [], "stop_reason": None}
    start["usage"] = {**start["usage"], "output_tokens": 1}
    yield event("message_start", message=start)
    yield event("ping")
    for index, block in enumerate(_anthropic_blocks(answer)):
        deltas: list[dict[str, Any]]
        if block["type"] == "thinking":
            empty: dict[str, Any] = {"type": "thinking", "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": half} for half in _halves(block["thinking"])]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        elif block["type"] == "text":
            empty = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": half} for half in _halves(block["text"])]
        else:
            empty = {**block, "input": {}}
            text = json.dumps(block["input"])
            deltas = [{"type": "input_json_delta", "partial_json": half} for half in ("", *_halves(text))]
        yield event("content_block_start", index=index, content_block=empty)
        for delta in deltas:
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    delta = {"stop_reason": _ANTHROPIC[answer.stop], "stop_sequence": None}
    yield event("message_delta", delta=delta, usage={"output_tokens": answer.output})
    yield event("message_stop")


def _anthropic_error(status: int, message: str) -> Any:
    return {"type": "error", "error": {"type": "rate_limit_error", "message": message}, "request_id": "req_1"}


# Gemini


def _gemini_parts(answer: Answer) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if answer.thinking:
        parts.append({"text": answer.thinking, "thought": True})
    said: list[dict[str, Any]] = [{"text": answer.text}] if answer.text else []
    said += [{"functionCall": {"name": call.name, "args": call.arguments}} for call in answer.calls]
    if answer.thinking and said:
        said[0]["thoughtSignature"] = signature_of(answer.thinking)
    parts += said
    return parts


def _gemini_usage(answer: Answer) -> dict[str, Any]:
    usage = {
        "promptTokenCount": answer.input,
        "candidatesTokenCount": answer.output,
        "totalTokenCount": answer.input + answer.output,
    }
    return {**usage, "cachedContentTokenCount": answer.cached} if answer.cached else usage


def _gemini_whole(answer: Answer) -> Any:
    candidate = {"content": {"role": "model", "parts": _gemini_parts(answer)}, "finishReason": _GEMINI[answer.stop]}
    return {"candidates": [{**candidate, "index": 0}], "usageMetadata": _gemini_usage(answer), "modelVersion": "m"}


def _gemini_stream(answer: Answer) -> Iterator[bytes]:
    for part in _gemini_parts(answer):
        halves = [{**part, "text": half} for half in _halves(part["text"])] if "text" in part else [part]
        for half in halves:
            yield _sse(
                {
                    "candidates": [{"content": {"role": "model", "parts": [half]}, "index": 0}],
                    "usageMetadata": {"promptTokenCount": answer.input, "totalTokenCount": answer.input},
                    "modelVersion": "m",
                }
            )
    last = {"content": {"role": "model", "parts": [{"text": ""}]}, "finishReason": _GEMINI[answer.stop], "index": 0}
    yield _sse({"candidates": [last], "usageMetadata": _gemini_usage(answer), "modelVersion": "m"})


def _gemini_error(status: int, message: str) -> Any:
    return {"error": {"code": status, "message": message, "status": "RESOURCE_EXHAUSTED"}}


# Bedrock Converse


def _bedrock_blocks(answer: Answer) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if answer.thinking:
        text = {"text": answer.thinking, "signature": signature_of(answer.thinking)}
        blocks.append({"reasoningContent": {"reasoningText": text}})
    if answer.text:
        blocks.append({"text": answer.text})
    blocks += [{"toolUse": {"toolUseId": call.id, "name": call.name, "input": call.arguments}} for call in answer.calls]
    return blocks


def _bedrock_usage(answer: Answer) -> dict[str, Any]:
    return {
        "inputTokens": answer.input - answer.cached,
        "outputTokens": answer.output,
        "totalTokens": answer.input + answer.output,
        "cacheReadInputTokens": answer.cached,
        "cacheWriteInputTokens": 0,
    }


def _bedrock_whole(answer: Answer) -> Any:
    return {
        "output": {"message": {"role": "assistant", "content": _bedrock_blocks(answer)}},
        "stopReason": _ANTHROPIC[answer.stop],
        "usage": _bedrock_usage(answer),
        "metrics": {"latencyMs": 9},
    }


def frame(event: str, payload: Any) -> bytes:
    """One message of an AWS event stream."""
    headers = b""
    for name, value in ((":event-type", event), (":content-type", "application/json"), (":message-type", "event")):
        headers += struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", 7, len(value)) + value.encode()
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return message + struct.pack(">I", zlib.crc32(message))


def _bedrock_stream(answer: Answer) -> Iterator[bytes]:
    yield frame("messageStart", {"role": "assistant"})
    for index, block in enumerate(_bedrock_blocks(answer)):
        deltas: list[dict[str, Any]]
        if "reasoningContent" in block:
            text = block["reasoningContent"]["reasoningText"]
            deltas = [{"reasoningContent": {"text": half}} for half in _halves(text["text"])]
            deltas.append({"reasoningContent": {"signature": text["signature"]}})
        elif "text" in block:
            deltas = [{"text": half} for half in _halves(block["text"])]
        else:
            use = block["toolUse"]
            start = {"toolUse": {"toolUseId": use["toolUseId"], "name": use["name"]}}
            yield frame("contentBlockStart", {"contentBlockIndex": index, "start": start})
            deltas = [{"toolUse": {"input": half}} for half in _halves(json.dumps(use["input"]))]
        for delta in deltas:
            yield frame("contentBlockDelta", {"contentBlockIndex": index, "delta": delta})
        yield frame("contentBlockStop", {"contentBlockIndex": index})
    yield frame("messageStop", {"stopReason": _ANTHROPIC[answer.stop]})
    yield frame("metadata", {"usage": _bedrock_usage(answer), "metrics": {"latencyMs": 9}})


def _invoked_stream(answer: Answer) -> Iterator[bytes]:
    for event in _anthropic_stream(answer):
        data = event.partition(b"data: ")[2].strip()
        yield frame("chunk", {"bytes": base64.b64encode(data).decode()})


def _bedrock_error(status: int, message: str) -> Any:
    return {"message": message}


# Cohere


def _cohere_message(answer: Answer) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if answer.thinking:
        content.append({"type": "thinking", "thinking": answer.thinking})
    if answer.text:
        content.append({"type": "text", "text": answer.text})
    message: dict[str, Any] = {"role": "assistant"}
    if content:
        message["content"] = content
    if answer.calls:
        message["tool_calls"] = _openai_calls(answer)
    return message


def _cohere_usage(answer: Answer) -> dict[str, Any]:
    tokens = {"input_tokens": answer.input, "output_tokens": answer.output}
    return {"billed_units": tokens, "tokens": tokens, "cached_tokens": answer.cached}


def _cohere_whole(answer: Answer) -> Any:
    return {
        "id": "co-1",
        "message": _cohere_message(answer),
        "finish_reason": _COHERE[answer.stop],
        "usage": _cohere_usage(answer),
    }


def _cohere_stream(answer: Answer) -> Iterator[bytes]:
    def event(kind: str, **fields: Any) -> bytes:
        return _sse({"type": kind, **fields}, kind)

    message: dict[str, Any] = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    yield event("message-start", id="co-1", delta={"message": message})
    for index, part in enumerate(_cohere_message(answer).get("content", ())):
        kind = part["type"]
        yield event("content-start", index=index, delta={"message": {"content": {"type": kind, kind: ""}}})
        for half in _halves(part[kind]):
            yield event("content-delta", index=index, delta={"message": {"content": {kind: half}}})
        yield event("content-end", index=index)
    for index, call in enumerate(_openai_calls(answer)):
        function = {**call["function"], "arguments": ""}
        delta: dict[str, Any] = {"message": {"tool_calls": {**call, "function": function}}}
        yield event("tool-call-start", index=index, delta=delta)
        for half in _halves(call["function"]["arguments"]):
            delta = {"message": {"tool_calls": {"function": {"arguments": half}}}}
            yield event("tool-call-delta", index=index, delta=delta)
        yield event("tool-call-end", index=index)
    end = {"finish_reason": _COHERE[answer.stop], "usage": _cohere_usage(answer)}
    yield event("message-end", id="co-1", delta=end)


def _cohere_error(status: int, message: str) -> Any:
    return {"id": "co-1", "message": message}


# OpenAI Responses


def _responses_items(answer: Answer) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if answer.thinking:
        summary = [{"type": "summary_text", "text": answer.thinking}]
        sealed = signature_of(answer.thinking)
        items.append({"id": "rs_1", "type": "reasoning", "summary": summary, "encrypted_content": sealed})
    if answer.text:
        part = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
        items.append({"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [part]})
    for call in answer.calls:
        named = {"call_id": call.id, "name": call.name, "arguments": json.dumps(call.arguments)}
        items.append({"id": f"fc_{call.id}", "type": "function_call", "status": "completed", **named})
    return items


def _responses_whole(answer: Answer) -> Any:
    cut = answer.stop == "length"
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1700000000,
        "status": "incomplete" if cut else "completed",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": None,
        "metadata": {},
        "model": "m",
        "output": _responses_items(answer),
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": {
            "input_tokens": answer.input,
            "input_tokens_details": {"cached_tokens": answer.cached},
            "output_tokens": answer.output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": answer.input + answer.output,
        },
    }


def _responses_told(index: int, item: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events of one item."""
    place: dict[str, Any] = {"item_id": item["id"], "output_index": index}
    empty = {**item, "status": "in_progress"}
    if item["type"] == "function_call":
        yield "output_item.added", {"output_index": index, "item": {**empty, "arguments": ""}}
        for half in _halves(item["arguments"]):
            yield "function_call_arguments.delta", {**place, "delta": half}
        yield "function_call_arguments.done", {**place, "arguments": item["arguments"]}
    else:
        thinks = item["type"] == "reasoning"
        field, around, name, part = (
            ("summary", "reasoning_summary_part", "reasoning_summary_text", "summary_index")
            if thinks
            else ("content", "content_part", "output_text", "content_index")
        )
        yield "output_item.added", {"output_index": index, "item": {**empty, field: []}}
        [told] = item[field]
        place[part] = 0
        yield f"{around}.added", {**place, "part": {**told, "text": ""}}
        for half in _halves(told["text"]):
            yield f"{name}.delta", {**place, "delta": half, **({} if thinks else {"logprobs": []})}
        yield f"{name}.done", {**place, "text": told["text"]}
        yield f"{around}.done", {**place, "part": told}
    yield "output_item.done", {"output_index": index, "item": item}


def _responses_stream(answer: Answer) -> Iterator[bytes]:
    whole = _responses_whole(answer)
    opened = {**whole, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    told: list[tuple[str, dict[str, Any]]] = [("created", {"response": opened}), ("in_progress", {"response": opened})]
    for index, item in enumerate(whole["output"]):
        told += _responses_told(index, item)
    told.append(("incomplete" if answer.stop == "length" else "completed", {"response": whole}))
    for number, (name, fields) in enumerate(told):
        kind = f"response.{name}"
        yield _sse({"type": kind, **fields, "sequence_number": number}, kind)


# Mistral: chat, but for thinking, which is a part of the content


def _mistral_parts(thinking: str) -> list[dict[str, Any]]:
    return [{"type": "thinking", "thinking": [{"type": "text", "text": thinking}]}]


def _mistral_whole(answer: Answer) -> Any:
    whole = _openai_whole(answer._replace(thinking=""))
    if answer.thinking:
        parts = _mistral_parts(answer.thinking)
        said = [{"type": "text", "text": answer.text}] if answer.text else []
        whole["choices"][0]["message"]["content"] = [*parts, *said]
    return whole


def _mistral_stream(answer: Answer) -> Iterator[bytes]:
    first, *rest = _openai_stream(answer._replace(thinking=""))
    yield first
    for half in _halves(answer.thinking):
        delta = {"content": _mistral_parts(half)}
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "m"}
        yield _sse({**head, "choices": [choice]})
    yield from rest


_SSE = "text/event-stream"

DIALECTS: dict[str, Dialect] = {
    "openai": Dialect(_SSE, _openai_whole, _openai_stream, _openai_error),
    "anthropic": Dialect(_SSE, _anthropic_message, _anthropic_stream, _anthropic_error),
    "gemini": Dialect(_SSE, _gemini_whole, _gemini_stream, _gemini_error),
    "bedrock": Dialect("application/vnd.amazon.eventstream", _bedrock_whole, _bedrock_stream, _bedrock_error),
    "anthropic on bedrock": Dialect(
        "application/vnd.amazon.eventstream", _anthropic_message, _invoked_stream, _bedrock_error
    ),
    "responses": Dialect(_SSE, _responses_whole, _responses_stream, _openai_error),
    "mistral": Dialect(_SSE, _mistral_whole, _mistral_stream, _openai_error),
    "cohere": Dialect(_SSE, _cohere_whole, _cohere_stream, _cohere_error),
}
