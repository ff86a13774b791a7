"""Cohere's v2 API: chat with tools, whole and streamed, embeddings, rerank; and rerank as Jina and Voyage have it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from proxy.mock import openai
from proxy.mock.answer import (
    Answer,
    Family,
    Incoming,
    Pairs,
    Refusal,
    Stream,
    Whole,
    encode,
    optional_int,
    strings,
    text_of,
)
from proxy.mock.openai import known_model
from proxy.mock.text import Ask, Said, Stop, Tool, pieces, say, words

ERROR_EVENT = b'event: message-end\ndata: {"type":"message-end","delta":{"finish_reason":"ERROR","error":"internal server error"}}\n\n'  # fmt: skip # noqa: E501
_FINISH: dict[Stop, str] = {"end": "COMPLETE", "sequence": "STOP_SEQUENCE", "length": "MAX_TOKENS", "tool": "TOOL_CALL"}
_DIMENSIONS = 8


def render(refusal: Refusal, digest: str) -> bytes:
    """The error body: `{"id", "message"}`."""
    return encode({"id": digest[:32], "message": refusal.message})


def headers(digest: str) -> Pairs:
    """The fields of every answer."""
    return (("x-debug-trace-id", digest[:32]),)


FAMILY = Family(render=render, headers=headers, authenticate=openai.authenticate, refusal=openai.refusal)


def _missing(name: str) -> Refusal:
    return Refusal(400, f"invalid request: {name} is required")


def chat(incoming: Incoming) -> Answer:
    """POST /v2/chat. Raises Refusal."""
    body = incoming.json
    model = known_model(body)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _missing("messages")
    said = say(_ask(model, body, messages, incoming.echo), incoming.mode)
    prompt = max(1, sum(words(text_of(message.get("content"))) for message in messages))
    usage = {
        "billed_units": {"input_tokens": prompt, "output_tokens": said.tokens},
        "tokens": {"input_tokens": prompt, "output_tokens": said.tokens},
        "cached_tokens": 0,
    }
    if body.get("stream"):
        return Stream(_events(incoming, said, usage), ERROR_EVENT)
    message: dict[str, Any] = {"role": "assistant"}
    if said.calls:
        message["tool_plan"] = said.text or "I will use the tools."
        message["tool_calls"] = [
            _call(incoming.sha256, at, call.name, call.arguments) for at, call in enumerate(said.calls)
        ]
    else:
        message["content"] = [{"type": "text", "text": said.text}]
    return Whole(
        encode({"id": incoming.sha256[:32], "message": message, "finish_reason": _FINISH[said.stop], "usage": usage})
    )


def _ask(model: str, body: Mapping[str, Any], messages: list[dict[str, Any]], echo: str | None) -> Ask:
    user = next((m.get("content") for m in reversed(messages) if m["role"] == "user"), "")
    last = messages[-1]
    functions = [tool["function"] for tool in body.get("tools") or ()]
    wanted = body.get("response_format") or {}
    return Ask(
        model=model,
        text=text_of(user),
        tool_result=text_of(last.get("content")) if last["role"] == "tool" else None,
        tools=tuple(Tool(each["name"], each.get("parameters") or {}) for each in functions),
        choice={"REQUIRED": "any", "NONE": "none"}.get(body.get("tool_choice") or "", "auto"),
        schema=wanted.get("json_schema"),
        max_tokens=optional_int(body, "max_tokens"),
        stop=strings(body.get("stop_sequences")),
        echo=echo,
    )


def _call(digest: str, at: int, name: str, arguments: str) -> dict[str, Any]:
    return {"id": f"{name}_{at}{digest[:12]}", "type": "function", "function": {"name": name, "arguments": arguments}}


def _event(type: str, message: dict[str, Any] | None = None, **more: Any) -> bytes:
    body: dict[str, Any] = {"type": type, **more}
    if message is not None:
        body["delta"] = {"message": message}
    return b"event: " + type.encode() + b"\ndata: " + encode(body) + b"\n\n"


def _events(incoming: Incoming, said: Said, usage: dict[str, Any]) -> Iterator[bytes]:
    opened = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    yield _event("message-start", opened, id=incoming.sha256[:32])
    if said.calls:
        for text in pieces(said.text or "I will use the tools.", incoming.mode.chunks):
            yield _event("tool-plan-delta", {"tool_plan": text})
        for at, call in enumerate(said.calls):
            yield _event("tool-call-start", {"tool_calls": _call(incoming.sha256, at, call.name, "")}, index=at)
            for text in pieces(call.arguments, incoming.mode.chunks or 4):
                yield _event("tool-call-delta", {"tool_calls": {"function": {"arguments": text}}}, index=at)
            yield _event("tool-call-end", index=at)
    else:
        yield _event("content-start", {"content": {"type": "text", "text": ""}}, index=0)
        for text in pieces(said.text, incoming.mode.chunks):
            yield _event("content-delta", {"content": {"text": text}}, index=0)
        yield _event("content-end", index=0)
    yield _event("message-end", delta={"finish_reason": _FINISH[said.stop], "usage": usage})
    yield b"data: [DONE]\n\n"


def embed(incoming: Incoming) -> Answer:
    """POST /v2/embed. Raises Refusal."""
    body = incoming.json
    known_model(body)
    texts = body.get("texts")
    if texts is None:
        texts = [encode(each).decode() for each in body.get("inputs") or ()]
    if not texts:
        raise _missing("texts")
    if "input_type" not in body:
        raise _missing("input_type")
    vectors = [_vector(text, body.get("output_dimension") or _DIMENSIONS) for text in texts]
    meta = {"billed_units": {"input_tokens": sum(map(words, texts))}}
    return Whole(encode({"id": incoming.sha256[:32], "embeddings": {"float": vectors}, "texts": texts, "meta": meta}))


def _vector(text: str, size: int) -> list[float]:
    digest = hashlib.sha256(text.encode()).digest()
    return [digest[at % len(digest)] / 256 for at in range(size)]


def rerank(incoming: Incoming) -> Answer:
    """POST /v2/rerank. Raises Refusal."""
    results = _ranked(incoming.json, "top_n")
    meta = {"billed_units": {"search_units": 1}}
    return Whole(encode({"id": incoming.sha256[:32], "results": results, "meta": meta}))


def ranked(incoming: Incoming) -> Answer:
    """POST /v1/rerank, as Jina has it, or with `top_k` as Voyage has. Raises Refusal."""
    body = incoming.json
    voyage = "top_k" in body or str(body.get("model")).startswith("rerank-")
    results = _ranked(body, "top_k" if voyage else "top_n")
    usage = {"total_tokens": sum(words(text_of(each)) for each in body["documents"])}
    if voyage:
        return Whole(encode({"object": "list", "data": results, "model": body["model"], "usage": usage}))
    if body.get("return_documents"):
        for each in results:
            each["document"] = {"text": body["documents"][each["index"]]}
    return Whole(encode({"model": body["model"], "results": results, "usage": usage}))


def _ranked(body: Mapping[str, Any], limit: str) -> list[dict[str, Any]]:
    """The documents by how many words of the query they hold."""
    known_model(body)
    documents, query = body.get("documents"), body.get("query")
    if not documents or not isinstance(query, str):
        raise _missing("documents" if isinstance(query, str) else "query")
    asked = set(query.lower().split())
    scores = [len(asked & set(str(each).lower().split())) / max(1, len(asked)) for each in documents]
    order = sorted(range(len(documents)), key=lambda at: -scores[at])
    return [{"index": at, "relevance_score": scores[at]} for at in order[: optional_int(body, limit)]]
