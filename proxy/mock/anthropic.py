"""Anthropic's Messages, token counting and legacy text completions, with Anthropic's errors and header fields."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from proxy.mock.answer import (
    Answer,
    Family,
    Incoming,
    Pairs,
    Refusal,
    Stream,
    Whole,
    attachments_of,
    bearer,
    encode,
    optional_int,
    strings,
    text_of,
)
from proxy.mock.text import Ask, Said, Stop, Tool, pieces, say, words

MODELS = (
    *("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-sonnet-4-5"),
    *("claude-2.1", "claude-instant-1.2"),
)
ERROR_EVENT = (
    b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},'
    b'"request_id":"req_mock"}\n\n'
)
_TEXT_ERROR_EVENT = b'event: error\r\ndata: {"error":{"type":"overloaded_error","message":"Overloaded"}}\r\n\r\n'
_PING = b'event: ping\ndata: {"type": "ping"}\n\n'
_TEXT_MODELS = re.compile(r"claude-(2|instant|v1|1)")
_HUMAN, _ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
_STOP: dict[Stop, str] = {
    "end": "end_turn",
    "sequence": "stop_sequence",
    "length": "max_tokens",
    "tool": "tool_use",
}
_ATTACHMENTS = {"image": "image", "document": "document"}
_MIN_BUDGET = 1024
_FOREIGN = (
    *("n", "seed", "stop", "logprobs", "top_logprobs", "logit_bias", "frequency_penalty", "presence_penalty"),
    *("max_completion_tokens", "response_format", "parallel_tool_calls", "stream_options", "reasoning_effort"),
)
"""Fields of OpenAI's that Anthropic refuses by name; a translation that lets one through must not pass unseen."""
_ERROR_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_REFUSALS = {
    401: Refusal(401, "invalid x-api-key"),
    429: Refusal(429, "This request would exceed your organization's rate limit."),
    500: Refusal(500, "Internal server error"),
    529: Refusal(529, "Overloaded"),
}


def render(refusal: Refusal, digest: str) -> bytes:
    """The error body: `{"type": "error", "error": {type, message}, "request_id"}`."""
    default = "api_error" if refusal.status >= 500 else "invalid_request_error"
    type_ = refusal.type or _ERROR_TYPES.get(refusal.status, default)
    error: dict[str, Any] = {"type": type_, "message": refusal.message}
    if refusal.code is not None:
        error["details"] = {"error_code": refusal.code}
    return encode({"type": "error", "error": error, "request_id": f"req_{digest[:24]}"})


def refusal(status: int) -> Refusal:
    """What Anthropic says with `status`."""
    return _REFUSALS.get(status) or Refusal(status, f"The mock was asked for status {status}.")


def authenticate(headers: Mapping[str, str]) -> None:
    """Wants `anthropic-version` and a key, in `x-api-key` or, as newer clients send it, as a bearer token; one that
    begins with `invalid` is refused. Raises Refusal."""
    key = headers.get("x-api-key", "").strip() or bearer(headers)
    if not key:
        raise Refusal(401, "x-api-key header is required")
    if key.startswith("invalid"):
        raise _REFUSALS[401]
    if not headers.get("anthropic-version"):
        raise Refusal(400, "anthropic-version: header is required")


def headers(digest: str) -> Pairs:
    """The fields Anthropic sends with every answer."""
    return (
        ("anthropic-organization-id", "00000000-0000-4000-8000-000000000000"),
        ("anthropic-ratelimit-requests-limit", "4000"),
        ("anthropic-ratelimit-requests-remaining", "3999"),
        ("anthropic-ratelimit-requests-reset", "2024-01-01T00:00:00Z"),
        ("anthropic-ratelimit-tokens-limit", "400000"),
        ("anthropic-ratelimit-tokens-remaining", "399000"),
        ("anthropic-ratelimit-tokens-reset", "2024-01-01T00:00:00Z"),
        ("request-id", f"req_{digest[:24]}"),
    )


FAMILY = Family(render=render, headers=headers, authenticate=authenticate, refusal=refusal)


def messages(incoming: Incoming) -> Answer:
    """POST /v1/messages. Raises Refusal."""
    body = incoming.json
    model = _known_model(body)
    _check(body)
    ask = _ask(model, body, incoming.echo)
    said = say(ask, incoming.mode)
    thinking = _thinking(body, ask)
    usage = _input_usage(body)
    usage["output_tokens"] = said.tokens + words(thinking or "")
    usage["output_tokens_details"] = {"thinking_tokens": words(thinking or "")}
    usage["service_tier"] = "standard"
    blocks = _blocks(said, thinking, incoming.sha256)
    message = {
        "id": f"msg_{incoming.sha256[:24]}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": blocks,
        "stop_reason": _STOP[said.stop],
        "stop_sequence": said.sequence,
        "usage": usage,
    }
    if body.get("stream"):
        return Stream(_events(message, blocks, incoming.mode.chunks), ERROR_EVENT)
    return Whole(encode(message))


def count_tokens(incoming: Incoming) -> Answer:
    """POST /v1/messages/count_tokens. Raises Refusal."""
    _known_model(incoming.json)
    _check_messages(incoming.json)
    usage = _input_usage(incoming.json)
    return Whole(encode({"input_tokens": usage["input_tokens"] + usage["cache_creation_input_tokens"]}))


def complete(incoming: Incoming) -> Answer:
    """POST /v1/complete, the legacy text API. Raises Refusal."""
    body = incoming.json
    model = _known_model(body)
    if model.startswith("claude-") and not _TEXT_MODELS.match(model):
        raise Refusal(400, f'"{model}" is not supported on this API. Please use the Messages API instead.')
    for name in ("prompt", "max_tokens_to_sample"):
        if name not in body:
            raise _required(name)
    _refuse_foreign(body)
    ask = Ask(
        model=model,
        text=_last_turn(body["prompt"]),
        max_tokens=optional_int(body, "max_tokens_to_sample"),
        stop=strings(body.get("stop_sequences")),
        echo=incoming.echo,
    )
    said = say(ask, incoming.mode)
    identity = f"compl_{incoming.sha256[:24]}"
    base = {"type": "completion", "id": identity, "model": model, "log_id": identity}
    reason = "max_tokens" if said.stop == "length" else "stop_sequence"
    # A text that ends by itself ends, to this API, before the human's next turn.
    stop = None if said.stop == "length" else said.sequence or _HUMAN
    end = {"stop_reason": reason, "stop": stop}
    if body.get("stream"):
        return Stream(_completion_events(base, end, pieces(said.text, incoming.mode.chunks)), _TEXT_ERROR_EVENT)
    return Whole(encode({**base, "completion": said.text, **end}))


def models(_incoming: Incoming) -> Answer:
    """GET /v1/models."""
    data = [_model(name) for name in MODELS]
    return Whole(encode({"data": data, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}))


def model(incoming: Incoming) -> Answer:
    """GET /v1/models/{id}: any name is a model but `nonexistent-…`. Raises Refusal."""
    return Whole(encode(_model(_known_model({"model": incoming.path.removeprefix("/v1/models/")}))))


def _model(name: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "2024-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
    }


def _required(path: str) -> Refusal:
    return Refusal(400, f"{path}: Field required")


def _known_model(body: Mapping[str, Any]) -> str:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise _required("model")
    if model.startswith("nonexistent-"):
        raise Refusal(404, f"model: {model}")
    return model


def _check(body: Mapping[str, Any]) -> None:
    if "max_tokens" not in body:
        raise _required("max_tokens")
    limit = optional_int(body, "max_tokens")
    if limit is None or limit < 0:
        raise Refusal(400, "max_tokens: Input should be greater than or equal to 0")
    _refuse_foreign(body)
    if body.get("thread") is not None:
        # Anthropic's own refusal of requests that its threads do not take; this one remembers nothing.
        raise Refusal(400, "thread: this request cannot be threaded", code="thread_unsupported_request")
    temperature = body.get("temperature")
    if isinstance(temperature, int | float) and not 0 <= temperature <= 1:
        raise Refusal(400, "temperature: range: 0..1")
    thinking = body.get("thinking") or {}
    if thinking.get("type") == "enabled":
        budget = optional_int(thinking, "budget_tokens")
        if budget is None:
            raise _required("thinking.enabled.budget_tokens")
        if budget < _MIN_BUDGET:
            message = f"Input should be greater than or equal to {_MIN_BUDGET}"
            raise Refusal(400, f"thinking.enabled.budget_tokens: {message}")
        if budget >= limit:
            raise Refusal(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")
    _check_messages(body)


def _refuse_foreign(body: Mapping[str, Any]) -> None:
    for name in _FOREIGN:
        if name in body:
            raise Refusal(400, f"{name}: Extra inputs are not permitted")


def _check_messages(body: Mapping[str, Any]) -> None:
    turns = body.get("messages")
    if turns is None:
        raise _required("messages")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise Refusal(400, "messages: Input should be a valid list")
    if not turns:
        raise Refusal(400, "messages: at least one message is required")
    for i, turn in enumerate(turns):
        # A system message may stand in the conversation, but not open it: `system` is for that.
        if turn.get("role") not in ("user", "assistant", "system") or (turn["role"] == "system" and i == 0):
            message = f'Unexpected role "{turn.get("role")}". Allowed roles are "user" or "assistant".'
            raise Refusal(400, f"messages.{i}: {message}")
        if not turn.get("content") and i < len(turns) - 1:
            raise Refusal(400, f"messages.{i}: all messages must have non-empty content")
    _check_tool_results(turns)


def _check_tool_results(turns: list[dict[str, Any]]) -> None:
    """Every result answers a call of the assistant's turn before it, and every call is answered in the next turn."""
    calls: set[Any] = set()
    answered: set[Any] = set()
    speaker = None
    for i, turn in enumerate(turns):
        if turn["role"] == "assistant":
            if speaker != "assistant":
                _refuse_unanswered(calls - answered, i)
                calls, answered = set(), set()
            calls |= {block.get("id") for block in _blocks_of(turn, "tool_use")}
        results = {block.get("tool_use_id") for block in _blocks_of(turn, "tool_result")}
        if stray := results - calls:
            message = f"unexpected `tool_use_id` found in `tool_result` blocks: {stray.pop()}"
            raise Refusal(400, f"messages.{i}: {message}")
        answered |= results
        speaker = turn["role"]
    if speaker != "assistant":
        _refuse_unanswered(calls - answered, len(turns))


def _refuse_unanswered(unanswered: set[Any], before: int) -> None:
    if unanswered:
        message = f"`tool_use` ids were found without `tool_result` blocks immediately after: {unanswered.pop()}"
        raise Refusal(400, f"messages.{before - 1}: {message}")


def _blocks_of(turn: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    content = turn.get("content")
    if not isinstance(content, list):
        return []
    return [block for block in content if isinstance(block, dict) and block.get("type") == kind]


def _ask(model: str, body: Mapping[str, Any], echo: str | None) -> Ask:
    last = next(turn for turn in reversed(body["messages"]) if turn["role"] != "system")
    results = _blocks_of(last, "tool_result")
    user = next((turn["content"] for turn in reversed(body["messages"]) if turn["role"] == "user"), "")
    choice = body.get("tool_choice") or {}
    named = f"={choice.get('name')}"
    output = body.get("output_config") or {}
    schema = (output.get("format") or body.get("output_format") or {}).get("schema")
    callable_tools = [tool for tool in body.get("tools") or () if "input_schema" in tool]
    return Ask(
        model=model,
        text=text_of(user),
        tool_result=" ".join(text_of(block.get("content")) for block in results) if results else None,
        attachments=attachments_of(user, _ATTACHMENTS),
        tools=tuple(Tool(tool["name"], tool["input_schema"]) for tool in callable_tools),
        choice=named if choice.get("type") == "tool" else choice.get("type") or "auto",
        parallel=not choice.get("disable_parallel_tool_use"),
        schema=schema if isinstance(schema, dict) else None,
        max_tokens=optional_int(body, "max_tokens"),
        stop=strings(body.get("stop_sequences")),
        echo=echo,
    )


def _thinking(body: Mapping[str, Any], ask: Ask) -> str | None:
    if (body.get("thinking") or {}).get("type") not in ("enabled", "adaptive"):
        return None
    return f"The user wants: {ask.text.strip()[:80]}"


def _input_usage(body: Mapping[str, Any]) -> dict[str, Any]:
    """Words of system and messages; those in blocks with `cache_control` count as written to the cache."""
    plain = cached = 0
    contents = [body.get("system"), *(turn.get("content") for turn in body["messages"])]
    for content in contents:
        for block in content if isinstance(content, list) else [{"text": content}]:
            text = block.get("text") or text_of(block.get("content"))
            count = words(text) if isinstance(text, str) else 0
            if block.get("cache_control"):
                cached += count
            else:
                plain += count
    return {
        "input_tokens": plain,
        "cache_creation_input_tokens": cached,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": cached, "ephemeral_1h_input_tokens": 0},
    }


def _blocks(said: Said, thinking: str | None, digest: str) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if thinking is not None:
        signature = b64encode(hashlib.sha256(thinking.encode()).digest()).decode()
        blocks.append({"type": "thinking", "thinking": thinking, "signature": signature})
    if said.text or not said.calls:
        blocks.append({"type": "text", "text": said.text})
    for i, call in enumerate(said.calls):
        arguments = msgspec.Raw(call.arguments.encode())
        blocks.append({"type": "tool_use", "id": f"toolu_{i}{digest[:23]}", "name": call.name, "input": arguments})
    return blocks


def _events(message: dict[str, Any], blocks: list[dict[str, Any]], count: int) -> Iterator[bytes]:
    usage = message["usage"]
    opening: dict[str, Any] = {
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 1},
    }
    yield _event("message_start", {"message": {**message, **opening}})
    for i, block in enumerate(blocks):
        start, deltas = _unfolded(block, count)
        yield _event("content_block_start", {"index": i, "content_block": start})
        if i == 0:
            yield _PING
        for delta in deltas:
            yield _event("content_block_delta", {"index": i, "delta": delta})
        yield _event("content_block_stop", {"index": i})
    ending = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    final = {name: usage[name] for name in usage if name.endswith("_tokens")}
    yield _event("message_delta", {"delta": ending, "usage": final})
    yield _event("message_stop", {})


def _unfolded(block: dict[str, Any], count: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A block as (what its start event shows, its deltas)."""
    kind = block["type"]
    if kind == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": text} for text in pieces(block["thinking"], count)]
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
        return {"type": "thinking", "thinking": "", "signature": ""}, deltas
    if kind == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": t} for t in pieces(block["text"], count)]
    fragments = ["", *pieces(bytes(block["input"]).decode(), count or 4)]
    return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": text} for text in fragments]


def _event(name: str, fields: dict[str, Any]) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + encode({"type": name, **fields}) + b"\n\n"


def _last_turn(prompt: Any) -> str:
    if not isinstance(prompt, str) or not prompt.startswith(_HUMAN):
        raise Refusal(400, f'prompt: prompt must start with "{_HUMAN}" turn'.replace("\n", "\\n"))
    if _ASSISTANT not in prompt:
        raise Refusal(400, f'prompt: prompt must end with "{_ASSISTANT}" turn'.replace("\n", "\\n"))
    return prompt.rpartition(_HUMAN)[2].partition(_ASSISTANT)[0]


def _completion_events(base: dict[str, Any], end: dict[str, Any], texts: list[str]) -> Iterator[bytes]:
    """The events of this older API, whose lines end in CR LF."""
    steps = [(text, {"stop_reason": None, "stop": None}) for text in texts] + [("", end)]
    for i, (text, ending) in enumerate(steps):
        yield b"event: completion\r\ndata: " + encode({**base, "completion": text, **ending}) + b"\r\n\r\n"
        if i == 0:
            yield _PING.replace(b"\n", b"\r\n")
