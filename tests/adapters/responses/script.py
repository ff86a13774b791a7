"""A response of every kind of item, whole and as the events of a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

CHANCES = [{"token": "It", "bytes": [73, 116], "logprob": -0.1, "top_logprobs": []}]
CITED = {"type": "url_citation", "url": "https://a.cz", "title": "A", "start_index": 0, "end_index": 2}
USAGE = {
    "input_tokens": 40,
    "input_tokens_details": {"cached_tokens": 16},
    "output_tokens": 12,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 52,
}


def reasoning(*parts: str, id: str = "rs_1", sealed: str | None = "gAAA") -> dict[str, Any]:
    summary = [{"type": "summary_text", "text": part} for part in parts]
    return {"id": id, "type": "reasoning", "summary": summary, "encrypted_content": sealed}


def message(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    said = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant"}
    return {**said, "content": list(parts), **more}


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": said, "annotations": [], "logprobs": [], **more}


def function(name: str, arguments: str, id: str) -> dict[str, Any]:
    return {"id": f"fc_{id}", "type": "function_call", "call_id": id, "name": name, "arguments": arguments}


SEARCH = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "?"}}
CUSTOM = {"id": "ctc_1", "type": "custom_tool_call", "call_id": "c", "name": "sql", "input": "SELECT 1"}
ITEMS = [
    reasoning("Hm 🐎.", "So."),
    SEARCH,
    message(
        text("It ", logprobs=CHANCES, annotations=[CITED]), text("rains.", annotations=[CITED]), phase="commentary"
    ),
    function("weather", '{"city":"Žďár"}', "a"),
    reasoning(id="rs_2", sealed="gBBB"),
    function("now", "", "b"),
    CUSTOM,
]


def response(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": "gpt-5-pro-2025-10-06",
        "output": list(items),
        "service_tier": "default",
        "usage": USAGE,
        **more,
    }


def event(name: str, **fields: Any) -> bytes:
    data = json.dumps({"type": name, **fields}, ensure_ascii=False)
    return f"event: {name}\ndata: {data}\n\n".encode()


def _cut(words: str) -> list[str]:
    return [half for half in (words[: len(words) // 2], words[len(words) // 2 :]) if half]


def _parts(index: int, item: dict[str, Any]) -> Iterator[bytes]:
    for number, part in enumerate(item.get("summary", ())):
        place = {"output_index": index, "summary_index": number}
        yield event("response.reasoning_summary_part.added", **place, part={"type": "summary_text", "text": ""})
        for half in _cut(part["text"]):
            yield event("response.reasoning_summary_text.delta", **place, delta=half, obfuscation="xx")
        yield event("response.reasoning_summary_text.done", **place, text=part["text"])
    for number, part in enumerate(item.get("content", ())):
        place = {"output_index": index, "content_index": number}
        if part["type"] == "refusal":
            for half in _cut(part["refusal"]):
                yield event("response.refusal.delta", **place, delta=half)
            continue
        yield event("response.content_part.added", **place, part=text(""))
        for at, half in enumerate(_cut(part["text"])):
            chances = part["logprobs"] if at == 0 else []
            yield event("response.output_text.delta", **place, delta=half, logprobs=chances)
        for annotation in part["annotations"]:
            yield event("response.output_text.annotation.added", **place, annotation=annotation)
        yield event("response.output_text.done", **place, text=part["text"])


def events(answer: dict[str, Any], end: str = "response.completed") -> list[bytes]:
    """The events that tell this response."""
    opened = {**answer, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    told = [event("response.created", response=opened), event("response.in_progress", response=opened)]
    for index, item in enumerate(answer["output"]):
        empty = {**item, "summary": [], "content": []}
        place = {"output_index": index}
        if item["type"] == "function_call":
            told.append(event("response.output_item.added", **place, item={**item, "arguments": ""}))
            for half in _cut(item["arguments"]):
                told.append(event("response.function_call_arguments.delta", **place, delta=half))
            told.append(event("response.function_call_arguments.done", **place, arguments=item["arguments"]))
        elif item["type"] == "custom_tool_call":
            told.append(event("response.output_item.added", **place, item={**item, "input": ""}))
            for half in _cut(item["input"]):
                told.append(event("response.custom_tool_call_input.delta", **place, delta=half))
            told.append(event("response.custom_tool_call_input.done", **place, input=item["input"]))
        else:
            told.append(event("response.output_item.added", **place, item=empty))
            told += _parts(index, item)
        told.append(event("response.output_item.done", **place, item=item))
    told.append(event(end, response=answer))
    return told
