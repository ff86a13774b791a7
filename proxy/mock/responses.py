"""OpenAI's Responses API as far as text goes, whole and streamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proxy.mock.answer import Answer, Incoming, Stream, Whole, encode, optional_int, text_of
from proxy.mock.openai import known_model, missing
from proxy.mock.text import CREATED, Ask, Said, pieces, say, words

_ERROR_EVENT = (
    b'event: error\ndata: {"type":"error","code":"server_error",'
    b'"message":"The server had an error while processing your request.","param":null,"sequence_number":0}\n\n'
)


def responses(incoming: Incoming) -> Answer:
    """POST /v1/responses. Raises Refusal."""
    body = incoming.json
    model = known_model(body)
    if "input" not in body:
        raise missing("input")
    text = _input_text(body["input"])
    limit = optional_int(body, "max_output_tokens")
    said = say(Ask(model=model, text=text, max_tokens=limit, echo=incoming.echo), incoming.mode)
    prompt = words(text) + words(text_of(body.get("instructions")))
    if body.get("stream"):
        return Stream(_events(incoming, model, said, prompt), _ERROR_EVENT)
    return Whole(encode(_response(incoming, model, said, prompt)))


def _input_text(value: Any) -> str:
    if isinstance(value, list):
        items = [item for item in value if isinstance(item, dict) and item.get("role", "user") == "user"]
        value = items[-1].get("content") if items else ""
    return text_of(value)


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _message(digest: str, said: Said | None) -> dict[str, Any]:
    status = "completed" if said else "in_progress"
    content = [_part(said.text)] if said else []
    return {"id": f"msg_{digest[:24]}", "type": "message", "status": status, "role": "assistant", "content": content}


def _response(incoming: Incoming, model: str, said: Said | None, prompt: int) -> dict[str, Any]:
    """The response object; `said` None: as it stands before the first token."""
    cut = said is not None and said.stop == "length"
    response: dict[str, Any] = {
        "id": f"resp_{incoming.sha256[:24]}",
        "object": "response",
        "created_at": CREATED,
        "status": "incomplete" if cut else "completed" if said else "in_progress",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": incoming.json.get("instructions"),
        "metadata": incoming.json.get("metadata") or {},
        "model": model,
        "output": [_message(incoming.sha256, said)] if said else [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": None,
    }
    if said:
        response["usage"] = {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": said.tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + said.tokens,
        }
    return response


def _events(incoming: Incoming, model: str, said: Said, prompt: int) -> Iterator[bytes]:
    opened = _response(incoming, model, None, prompt)
    item = {"output_index": 0}
    part = {**item, "item_id": f"msg_{incoming.sha256[:24]}", "content_index": 0}
    ending = "incomplete" if said.stop == "length" else "completed"
    steps: list[tuple[str, dict[str, Any]]] = [
        ("created", {"response": opened}),
        ("in_progress", {"response": opened}),
        ("output_item.added", {**item, "item": _message(incoming.sha256, None)}),
        ("content_part.added", {**part, "part": _part("")}),
        *(
            ("output_text.delta", {**part, "delta": text, "logprobs": []})
            for text in pieces(said.text, incoming.mode.chunks)
        ),
        ("output_text.done", {**part, "text": said.text, "logprobs": []}),
        ("content_part.done", {**part, "part": _part(said.text)}),
        ("output_item.done", {**item, "item": _message(incoming.sha256, said)}),
        (ending, {"response": _response(incoming, model, said, prompt)}),
    ]
    for number, (name, fields) in enumerate(steps):
        data = encode({"type": f"response.{name}", **fields, "sequence_number": number})
        yield b"event: response." + name.encode() + b"\ndata: " + data + b"\n\n"
