"""OpenAI Responses: events ⇄ response.

The last event of a stream holds the whole response, so putting one together is finding it. Responses that belong to a
conversation or run in the background are never kept: asking for them changes something.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from adapters.replay.form import Assembled, Form, Json, cut, encode, read
from adapters.types import Usage
from adapters.values import UNREADABLE

_KEPT_ITEMS = frozenset(("message", "reasoning"))


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    response: msgspec.Raw = msgspec.Raw()


_decode_event = msgspec.json.Decoder(_Event).decode


class ResponseForm:
    """See `adapters.replay.form.Form`."""

    def whole(self, stream: bytes, request: bytes, usage: Usage | None) -> Assembled | None:
        """The response that the stream's end tells."""
        try:
            for _, data in reversed(cut(stream)):
                event = _decode_event(data)
                if event.type == "response.completed":
                    body = bytes(event.response)
                    return Assembled(body) if self.keeps(body) else None
        except UNREADABLE:
            return None
        return None

    def keeps(self, body: bytes) -> bool:
        """Whether it is complete, says words only, and leaves nothing behind."""
        answer = read(body)
        if answer is None or answer.get("error") is not None or answer.get("status") != "completed":
            return False
        if answer.get("background") or answer.get("conversation") is not None:
            return False
        items = answer.get("output")
        return isinstance(items, list) and all(
            isinstance(item, dict) and item.get("type") in _KEPT_ITEMS for item in items
        )

    def events(self, body: bytes, request: bytes) -> bytes:
        """The events of a response, the words of each part in one delta."""
        answer = read(body) or {}
        items = answer.get("output") or []
        begun = {**answer, "status": "in_progress", "output": [], "usage": None}
        told: list[tuple[str, Json]] = [("created", {"response": begun}), ("in_progress", {"response": begun})]
        for index, item in enumerate(items):
            told += _item(index, item)
        told.append(("completed", {"response": answer}))
        return b"".join([_event(name, number, fields) for number, (name, fields) in enumerate(told)])


def _item(index: int, item: Json) -> Iterator[tuple[str, Json]]:
    at: Json = {"output_index": index}
    below = {"item_id": item.get("id"), **at}
    empty = {**item, "status": "in_progress"} if "status" in item else dict(item)
    for name in ("content", "summary"):
        if isinstance(item.get(name), list):
            empty[name] = []
    yield "output_item.added", {**at, "item": empty}
    for number, part in enumerate(item.get("summary") or []):
        yield from _part("reasoning_summary", "text", {**below, "summary_index": number}, part)
    for number, part in enumerate(item.get("content") or []):
        kind = part.get("type")
        place = {**below, "content_index": number}
        if kind in ("output_text", "refusal"):
            yield from _part(kind, "text" if kind == "output_text" else "refusal", place, part)
        else:
            yield "content_part.added", {**place, "part": part}
            yield "content_part.done", {**place, "part": part}
    yield "output_item.done", {**at, "item": item}


def _part(kind: str, field: str, place: Json, part: Json) -> Iterator[tuple[str, Json]]:
    """One part of words: opened empty, told in one delta, closed whole."""
    words: Any = part.get(field, "")
    around, name = ("content_part", kind) if kind != "reasoning_summary" else ("reasoning_summary_part", f"{kind}_text")
    chances = {"logprobs": part.get("logprobs") or []} if kind == "output_text" else {}
    empty = {**part, field: ""}
    if "annotations" in part:
        empty["annotations"] = []
    yield f"{around}.added", {**place, "part": empty}
    if words:
        yield f"{name}.delta", {**place, "delta": words, **chances}
    for number, annotation in enumerate(part.get("annotations") or []):
        yield f"{name}.annotation.added", {**place, "annotation_index": number, "annotation": annotation}
    yield f"{name}.done", {**place, field: words, **chances}
    yield f"{around}.done", {**place, "part": part}


def _event(name: str, number: int, fields: Json) -> bytes:
    kind = f"response.{name}"
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode({"type": kind, **fields, "sequence_number": number}))


FORM: Form = ResponseForm()
