"""OpenAI's chat and text completions, whole and streamed, with OpenAI's errors and header fields."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from adapters.provider import matches
from adapters.providers import RESPONSES_ONLY
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
from proxy.mock.text import CREATED, Ask, Said, Stop, Tool, pieces, say, words

ERROR_EVENT = (
    b'data: {"error":{"message":"The server had an error while processing your request.",'
    b'"type":"server_error","param":null,"code":null}}\n\n'
)
_DONE = b"data: [DONE]\n\n"
_FINGERPRINT = "fp_mock"
_MAX_CHOICES = 128
_REASONING_TOKENS = 16
_FINISH: dict[Stop, str] = {"end": "stop", "sequence": "stop", "length": "length", "tool": "tool_calls"}
_ATTACHMENTS = {"image_url": "image", "file": "document", "input_audio": "audio"}
_CHAT_ONLY = re.compile(r"(gpt-[4-9]|chatgpt-|o\d|gpt-3\.5-turbo(?!-instruct))")
_TEXT_ONLY = re.compile(r"(gpt-3\.5-turbo-instruct|davinci-|babbage-|text-davinci)")
_REFUSALS = {
    401: Refusal(401, "Incorrect API key provided.", code="invalid_api_key"),
    404: Refusal(404, "The model does not exist or you do not have access to it.", code="model_not_found"),
    429: Refusal(429, "Rate limit reached for requests.", type="requests", code="rate_limit_exceeded"),
    500: Refusal(500, "The server had an error while processing your request."),
    503: Refusal(503, "The engine is currently overloaded, please try again later."),
}


def render(refusal: Refusal, _digest: str) -> bytes:
    """The error body: `{"error": {message, type, param, code}}`."""
    type_ = refusal.type or ("server_error" if refusal.status >= 500 else "invalid_request_error")
    error = {"message": refusal.message, "type": type_, "param": refusal.param, "code": refusal.code}
    return encode({"error": error})


def refusal(status: int) -> Refusal:
    """What OpenAI says with `status`."""
    return _REFUSALS.get(status) or Refusal(status, f"The mock was asked for status {status}.")


def authenticate(headers: Mapping[str, str]) -> None:
    """Wants a bearer token; one that begins with `invalid` is refused. Raises Refusal (401)."""
    token = bearer(headers)
    if not token:
        raise Refusal(401, "You didn't provide an API key in an Authorization header using Bearer auth.")
    if token.startswith("invalid"):
        raise _REFUSALS[401]


def headers(digest: str) -> Pairs:
    """The fields OpenAI sends with every answer."""
    return (
        ("openai-organization", "org-mock"),
        ("openai-processing-ms", "1"),
        ("openai-version", "2020-10-01"),
        ("x-ratelimit-limit-requests", "10000"),
        ("x-ratelimit-limit-tokens", "2000000"),
        ("x-ratelimit-remaining-requests", "9999"),
        ("x-ratelimit-remaining-tokens", "1999978"),
        ("x-ratelimit-reset-requests", "6ms"),
        ("x-ratelimit-reset-tokens", "0s"),
        ("x-request-id", f"req_{digest[:32]}"),
    )


FAMILY = Family(render=render, headers=headers, authenticate=authenticate, refusal=refusal)


def known_model(body: Mapping[str, Any]) -> str:
    """The model of a request. Raises Refusal: 400 without one, 404 for `nonexistent-…`."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise Refusal(400, "you must provide a model parameter")
    if model.startswith("nonexistent-"):
        message = f"The model `{model}` does not exist or you do not have access to it."
        raise Refusal(404, message, code="model_not_found")
    return model


def missing(name: str) -> Refusal:
    """The refusal of a request without the field `name`."""
    return Refusal(400, f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")


def event(value: Any) -> bytes:
    """`value` as one server-sent event."""
    return b"data: " + encode(value) + b"\n\n"


_RESPONSES_ONLY = "This model is only supported in v1/responses and not in v1/chat/completions."


def chat(incoming: Incoming) -> Answer:
    """POST /v1/chat/completions. Raises Refusal."""
    body = incoming.json
    model = known_model(body)
    if _TEXT_ONLY.match(model):
        message = "This is not a chat model and thus not supported in the v1/chat/completions endpoint."
        raise Refusal(404, f"{message} Did you mean to use v1/completions?", param="model")
    if matches(model, RESPONSES_ONLY):
        raise Refusal(404, _RESPONSES_ONLY, param="model")
    _check_messages(body)
    ask = _ask(model, body, incoming.echo)
    said = [say(ask, incoming.mode, i) for i in range(_choice_count(body))]
    usage = _usage(_prompt_tokens(body["messages"]), said, reasoning=_reasons(body))
    base = {
        "id": f"chatcmpl-{incoming.sha256[:29]}",
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }
    if body.get("stream"):
        base["object"] = "chat.completion.chunk"
        deltas = (
            (i, *step) for i, one in enumerate(said) for step in _deltas(one, incoming.sha256, incoming.mode.chunks)
        )
        choices = (
            {"index": i, "delta": delta, "logprobs": None, "finish_reason": finish} for i, delta, finish in deltas
        )
        return Stream(_chunks(base, choices, usage if _wants_usage(body) else None), ERROR_EVENT)
    return Whole(
        encode({**base, "choices": [_choice(i, one, incoming.sha256) for i, one in enumerate(said)], "usage": usage})
    )


def completions(incoming: Incoming) -> Answer:
    """POST /v1/completions. Raises Refusal."""
    body = incoming.json
    model = known_model(body)
    if _CHAT_ONLY.match(model):
        message = "This is a chat model and not supported in the v1/completions endpoint."
        raise Refusal(404, f"{message} Did you mean to use v1/chat/completions?", param="model")
    if "prompt" not in body:
        raise missing("prompt")
    prompts = _prompts(body["prompt"])
    stop, limit = strings(body.get("stop")), optional_int(body, "max_tokens")
    said: list[Said] = []
    for prompt in prompts:
        ask = Ask(model=model, text=prompt, stop=stop, max_tokens=limit, echo=incoming.echo)
        said += [say(ask, incoming.mode, i) for i in range(_choice_count(body))]
    usage = _usage(sum(map(words, prompts)), said)
    base = {
        "id": f"cmpl-{incoming.sha256[:29]}",
        "object": "text_completion",
        "created": CREATED,
        "model": model,
        "system_fingerprint": _FINGERPRINT,
    }
    if body.get("stream"):
        choices = (
            {"text": text, "index": i, "logprobs": None, "finish_reason": finish}
            for i, one in enumerate(said)
            for text, finish in [*((t, None) for t in pieces(one.text, incoming.mode.chunks)), ("", _FINISH[one.stop])]
        )
        return Stream(_chunks(base, choices, usage if _wants_usage(body) else None), ERROR_EVENT)
    per_prompt = len(said) // len(prompts)
    texts = [prompts[i // per_prompt] + one.text if body.get("echo") else one.text for i, one in enumerate(said)]
    answers = [
        {"text": text, "index": i, "logprobs": None, "finish_reason": _FINISH[one.stop]}
        for i, (text, one) in enumerate(zip(texts, said, strict=True))
    ]
    return Whole(encode({**base, "choices": answers, "usage": usage}))


def _check_messages(body: Mapping[str, Any]) -> None:
    messages = body.get("messages")
    if messages is None:
        raise missing("messages")
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise Refusal(400, "Invalid type for 'messages': expected an array of objects.", param="messages")
    if not messages:
        raise Refusal(400, "Invalid 'messages': empty array.", param="messages", code="empty_array")
    open_calls: set[Any] = set()
    for i, message in enumerate(messages):
        if "role" not in message:
            raise missing(f"messages[{i}].role")
        if message["role"] == "assistant":
            open_calls = {call.get("id") for call in message.get("tool_calls") or ()}
        elif message["role"] == "tool" and message.get("tool_call_id") not in open_calls:
            text = "messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
            raise Refusal(400, f"Invalid parameter: {text}", param=f"messages.[{i}].role")


def _ask(model: str, body: Mapping[str, Any], echo: str | None) -> Ask:
    messages = body["messages"]
    last = messages[-1]
    user = next((m.get("content") for m in reversed(messages) if m["role"] == "user"), "")
    functions = [t["function"] for t in body.get("tools") or () if isinstance(t.get("function"), dict)]
    return Ask(
        model=model,
        text=text_of(user),
        tool_result=text_of(last.get("content")) if last["role"] == "tool" else None,
        attachments=attachments_of(user, _ATTACHMENTS),
        tools=tuple(Tool(f["name"], f.get("parameters") or {}) for f in functions),
        choice=_tool_choice(body.get("tool_choice")),
        parallel=body.get("parallel_tool_calls") is not False,
        schema=_schema(body.get("response_format")),
        max_tokens=optional_int(body, "max_completion_tokens", "max_tokens"),
        stop=strings(body.get("stop")),
        echo=echo,
    )


def _tool_choice(choice: Any) -> str:
    if isinstance(choice, dict):
        return f"={(choice.get('function') or {}).get('name')}"
    return {"required": "any", "none": "none"}.get(choice or "", "auto")


def _schema(response_format: Any) -> dict[str, Any] | None:
    if not isinstance(response_format, dict):
        return None
    if response_format.get("type") == "json_object":
        return {"properties": {"answer": {"type": "string"}}}
    schema = (response_format.get("json_schema") or {}).get("schema")
    return schema if isinstance(schema, dict) else None


def _choice_count(body: Mapping[str, Any]) -> int:
    count = optional_int(body, "n") or 1
    if not 1 <= count <= _MAX_CHOICES:
        raise Refusal(400, f"Invalid 'n': expected 1 to {_MAX_CHOICES}, got {count}.", param="n")
    return count


def _prompts(prompt: Any) -> list[str]:
    """The prompts of a request: one string, several, or token lists (told by their numbers)."""
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        return [p if isinstance(p, str) else " ".join(map(str, p)) for p in prompt]
    return [prompt if isinstance(prompt, str) else " ".join(map(str, prompt or ()))]


def _prompt_tokens(messages: list[dict[str, Any]]) -> int:
    return max(1, sum(words(text_of(message.get("content"))) for message in messages))


def _reasons(body: Mapping[str, Any]) -> bool:
    return body.get("reasoning_effort") not in (None, "none", "minimal")


def _wants_usage(body: Mapping[str, Any]) -> bool:
    return bool((body.get("stream_options") or {}).get("include_usage"))


def _usage(prompt: int, said: list[Said], *, reasoning: bool = False) -> dict[str, Any]:
    thought = _REASONING_TOKENS * reasoning
    completion = sum(one.tokens for one in said) + thought
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": thought,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _call_id(digest: str, index: int) -> str:
    return f"call_{index}{digest[:23]}"


def _choice(index: int, said: Said, digest: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": None, "annotations": []}
    if said.calls:
        message["content"] = said.text or None
        message["tool_calls"] = [
            {
                "id": _call_id(digest, i),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for i, call in enumerate(said.calls)
        ]
    return {"index": index, "message": message, "logprobs": None, "finish_reason": _FINISH[said.stop]}


def _deltas(said: Said, digest: str, count: int) -> Iterator[tuple[dict[str, Any], str | None]]:
    opening = None if said.calls and not said.text else ""
    yield {"role": "assistant", "content": opening, "refusal": None}, None
    for text in pieces(said.text, count):
        yield {"content": text}, None
    for i, call in enumerate(said.calls):
        function = {"name": call.name, "arguments": ""}
        yield {"tool_calls": [{"index": i, "id": _call_id(digest, i), "type": "function", "function": function}]}, None
        for text in pieces(call.arguments, count or 4):
            yield {"tool_calls": [{"index": i, "function": {"arguments": text}}]}, None
    yield {}, _FINISH[said.stop]


def _chunks(base: dict[str, Any], choices: Iterator[dict[str, Any]], usage: dict[str, Any] | None) -> Iterator[bytes]:
    # With include_usage every chunk has the field, null but in the last, which has no choice.
    extra = {} if usage is None else {"usage": None}
    for choice in choices:
        yield event({**base, "choices": [choice], **extra})
    if usage is not None:
        yield event({**base, "choices": [], "usage": usage})
    yield _DONE
