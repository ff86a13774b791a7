"""OpenAI's Responses API as far as text and functions go, whole and streamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proxy.mock.answer import Answer, Incoming, Stream, Whole, encode, optional_int, text_of
from proxy.mock.openai import known_model, missing
from proxy.mock.text import CREATED, Ask, Said, Tool, pieces, say, words

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
    said = say(_ask(model, body, text, incoming.echo), incoming.mode)
    prompt = words(text) + words(text_of(body.get("instructions")))
    if body.get("stream"):
        return Stream(_events(incoming, model, said, prompt), _ERROR_EVENT)
    return Whole(encode(_response(incoming, model, said, prompt)))


def _input_text(value: Any) -> str:
    if isinstance(value, list):
        items = [item for item in value if isinstance(item, dict) and item.get("role", "user") == "user"]
        value = items[-1].get("content") if items else ""
    return text_of(value)


def _ask(model: str, body: dict[str, Any], text: str, echo: str | None) -> Ask:
    items = body["input"]
    last = items[-1] if isinstance(items, list) and items else {}
    choice = body.get("tool_choice") or "auto"
    wanted = (body.get("text") or {}).get("format") or {}
    return Ask(
        model=model,
        text=text,
        tool_result=text_of(last.get("output")) if last.get("type") == "function_call_output" else None,
        tools=tuple(
            Tool(tool["name"], tool.get("parameters") or {})
            for tool in body.get("tools") or ()
            if tool.get("type") == "function"
        ),
        choice=f"={choice.get('name')}" if isinstance(choice, dict) else {"required": "any"}.get(choice, choice),
        parallel=body.get("parallel_tool_calls") is not False,
        schema=wanted.get("schema"),
        max_tokens=optional_int(body, "max_output_tokens"),
        echo=echo,
    )


def _calls(digest: str, said: Said | None) -> list[dict[str, Any]]:
    return [
        {
            "id": f"fc_{at}{digest[:22]}",
            "type": "function_call",
            "status": "completed",
            "call_id": f"call_{at}{digest[:23]}",
            "name": call.name,
            "arguments": call.arguments,
        }
        for at, call in enumerate(said.calls if said else ())
    ]


def _output(digest: str, said: Said | None) -> list[dict[str, Any]]:
    if said is None:
        return []
    calls = _calls(digest, said)
    return [_message(digest, said), *calls] if said.text or not calls else calls


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
        "output": _output(incoming.sha256, said),
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
    ending = "incomplete" if said.stop == "length" else "completed"
    steps: list[tuple[str, dict[str, Any]]] = [("created", {"response": opened}), ("in_progress", {"response": opened})]
    for at, made in enumerate(_output(incoming.sha256, said)):
        tell = _say if made["type"] == "message" else _call
        steps += tell(made, {"output_index": at}, incoming.mode.chunks)
    steps.append((ending, {"response": _response(incoming, model, said, prompt)}))
    for number, (name, fields) in enumerate(steps):
        data = encode({"type": f"response.{name}", **fields, "sequence_number": number})
        yield b"event: response." + name.encode() + b"\ndata: " + data + b"\n\n"


def _say(made: dict[str, Any], item: dict[str, Any], count: int) -> list[tuple[str, dict[str, Any]]]:
    text = made["content"][0]["text"]
    part = {**item, "item_id": made["id"], "content_index": 0}
    return [
        ("output_item.added", {**item, "item": {**made, "status": "in_progress", "content": []}}),
        ("content_part.added", {**part, "part": _part("")}),
        *(("output_text.delta", {**part, "delta": piece, "logprobs": []}) for piece in pieces(text, count)),
        ("output_text.done", {**part, "text": text, "logprobs": []}),
        ("content_part.done", {**part, "part": _part(text)}),
        ("output_item.done", {**item, "item": made}),
    ]


def _call(made: dict[str, Any], item: dict[str, Any], count: int) -> list[tuple[str, dict[str, Any]]]:
    place = {**item, "item_id": made["id"]}
    arguments = made["arguments"]
    return [
        ("output_item.added", {**item, "item": {**made, "status": "in_progress", "arguments": ""}}),
        *(("function_call_arguments.delta", {**place, "delta": piece}) for piece in pieces(arguments, count or 4)),
        ("function_call_arguments.done", {**place, "name": made["name"], "arguments": arguments}),
        ("output_item.done", {**item, "item": made}),
    ]
