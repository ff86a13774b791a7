"""A stream that its provider cuts short is never made to look complete, wherever the cut falls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import pytest

from tests.behaviour.client import Answer, errors_in, events, terminators_in
from tests.behaviour.rig import CHAT, MESSAGES, Rig
from tests.fakes.upstream import LAST_CHUNK, SSE, Asked, End, Script, Scripted, chunk, head


def chat_chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    value = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o", "choices": [choice]}
    return b"data: %b\n\n" % json.dumps(value).encode()


OPENAI = [
    chat_chunk({"role": "assistant", "content": ""}),
    chat_chunk({"content": "One, [DONE] and message_stop,"}),
    chat_chunk({"content": ' "Grüße"\n\n.'}),
    chat_chunk({}, "stop"),
    b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[],'
    b'"usage":{"prompt_tokens":9,"completion_tokens":7,"total_tokens":16}}\n\n',
    b"data: [DONE]\n\n",
]


def message_event(name: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), json.dumps({"type": name, **fields}).encode())


ANTHROPIC = [
    message_event(
        "message_start",
        message={
            "id": "m1",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5",
            "content": [],
            "stop_reason": None,
            "usage": {"input_tokens": 9, "output_tokens": 1},
        },
    ),
    message_event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    message_event("ping"),
    message_event("content_block_delta", index=0, delta={"type": "text_delta", "text": "[DONE] event: message_stop"}),
    message_event("content_block_delta", index=0, delta={"type": "text_delta", "text": ' "Grüße"\n\n.'}),
    message_event("content_block_stop", index=0),
    message_event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 7}),
    message_event("message_stop"),
]


class Cut(NamedTuple):
    """How an answer breaks off after so many bytes of its body."""

    framing: str
    end: End
    at: int

    @property
    def text(self) -> str:
        return f"{self.framing} {self.end.value} {self.at}"


WAYS = (
    ("chunked", End.FIN, 1),  # within a chunk, or between two: the last chunk never comes
    ("chunked", End.RST, 4),
    ("length", End.FIN, 3),  # shorter than declared
    ("length", End.RST, 5),
    ("close", End.FIN, 1),  # for HTTP a clean end: only the dialect's own end marker tells
    ("close", End.RST, 5),
    ("terminated", End.FIN, 3),  # the provider itself ends the body, too early
)
"""Framing, end, and at every how many bytes it is tried."""


def broken(stream: list[bytes], cut: Cut) -> Iterator[bytes | End]:
    """The steps of a provider whose answer breaks off."""
    whole = b"".join(stream)
    if cut.framing in ("length", "longer"):
        declared = len(whole) + (10 if cut.framing == "longer" else 0)
        yield head(content_type=SSE, content_length=str(declared)) + whole[: cut.at]
    elif cut.framing == "close":
        yield head(content_type=SSE) + whole[: cut.at]
    elif cut.framing == "terminated":
        body = chunk(whole[: cut.at]) if cut.at else b""
        yield head(content_type=SSE, transfer_encoding="chunked") + body + LAST_CHUNK
    else:
        yield head(content_type=SSE, transfer_encoding="chunked") + chunked(stream, cut.at)
    yield cut.end


def chunked(stream: list[bytes], at: int) -> bytes:
    """One chunk an event, broken off after `at` bytes of the body."""
    out = b""
    for event in stream:
        framed = chunk(event)
        if at < len(event):
            return out + framed[: framed.index(b"\r\n") + 2 + at]
        out, at = out + framed, at - len(event)
    return out


ROUTES = {
    "openai to openai": ("/v1/chat/completions", CHAT, "openai", OPENAI),
    "anthropic to anthropic": ("/v1/messages", MESSAGES, "anthropic", ANTHROPIC),
    "openai to anthropic": ("/v1/chat/completions", CHAT, "anthropic", ANTHROPIC),
    "anthropic to openai": ("/v1/messages", MESSAGES, "openai", OPENAI),
    "completions to openai chat": ("/v1/completions", {"model": "gpt-4o", "prompt": "Hi"}, "openai", OPENAI),
    "completions to anthropic": (
        "/v1/completions",
        {"model": "claude-sonnet-4-5", "prompt": "Hi", "max_tokens": 9},
        "anthropic",
        ANTHROPIC,
    ),
}
EXHAUSTIVE = ("openai to openai", "anthropic to anthropic", "openai to anthropic", "anthropic to openai")


def play(asked: Asked) -> Script:
    framing, end, at = (asked.header("openai-beta") or asked.header("anthropic-beta") or "").split()
    stream = ANTHROPIC if asked.line.startswith("POST /v1/messages") else OPENAI
    return broken(stream, Cut(framing, End(end), int(at)))


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with Scripted(play=play) as upstream, Rig(openai=upstream.url, anthropic=upstream.url) as running:
        yield running


@pytest.mark.parametrize("route", ROUTES)
async def test_a_stream_cut_anywhere_ends_in_one_error_event_and_nothing_that_looks_complete(
    rig: Rig, route: str
) -> None:
    path, body, provider, stream = ROUTES[route]
    data = {**body, "stream": True}
    stride = 1 if route in EXHAUSTIVE else 7
    cuts = [
        Cut(framing, end, at)
        for framing, end, step in WAYS
        for at in range(0, said_all(stream, framing), step * stride)
    ]
    waiting = iter(cuts)

    wrong: list[str] = []

    async def client() -> None:
        for cut in waiting:
            beta = {f"{provider}-beta": cut.text}
            line = await rig.open(path, data, vk=provider, **beta)
            answer = await line.answer()
            try:
                check(route, answer)
                if answer.status == 200:
                    await line.end()
            except AssertionError as error:
                wrong.append(f"{cut.text}: {error} in {answer.status} {answer.body!r}")
            line.leave()

    await asyncio.gather(*(client() for _ in range(32)))
    assert not wrong, f"{len(wrong)} of {len(cuts)}:\n" + "\n".join(wrong[:10])
    await rig.until(lambda: rig.quiet, 2)
    rows = await rig.usage()
    assert len(rows) == len(cuts)
    assert {row["outcome"] for row in rows} == {"bad_upstream"}


def said_all(stream: list[bytes], framing: str) -> int:
    """From how many bytes on an answer counts as complete."""
    whole = b"".join(stream)
    if framing == "terminated" and b"finish_reason" in whole:
        # A provider that ends the body itself, and in order, may leave out [DONE]: many do.
        return whole.index(b'"stop"}]}') + len(b'"stop"}]}')
    # The last two bytes are the empty line behind the end marker; without it the marker was still said.
    return len(whole) - 2


def check(route: str, answer: Answer) -> None:
    assert answer.whole, "its framing breaks off"
    if answer.status != 200:
        # It broke before there was anything to say.
        assert answer.status == 502
        assert answer.json()["error"]
        return
    found = events(answer.body)
    errors = errors_in(found)
    assert len(errors) == 1, f"{len(errors)} errors"
    assert found[-1] is errors[0], "the error is not the last event"
    assert terminators_in(found) == [], "it looks complete"
    if route.startswith("anthropic"):
        assert errors[0].name == errors[0].data["type"] == "error"
    else:
        assert errors[0].name == ""
        assert set(errors[0].data["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize("end", End)
@pytest.mark.parametrize("route", EXHAUSTIVE)
async def test_what_breaks_after_the_end_marker_breaks_nothing(rig: Rig, route: str, framing: str, end: End) -> None:
    path, body, provider, stream = ROUTES[route]
    framing = "longer" if framing == "length" else framing
    beta = {f"{provider}-beta": f"{framing} {end.value} {len(b''.join(stream))}"}
    answer = await rig.post(path, {**body, "stream": True}, vk=provider, **beta)
    found = events(answer.body)
    assert answer.whole
    assert errors_in(found) == []
    assert terminators_in(found) == found[-1:]


@pytest.mark.parametrize("route", ["openai to openai", "anthropic to openai", "completions to openai chat"])
async def test_a_body_ended_in_order_after_a_finish_reason_is_complete_without_done(rig: Rig, route: str) -> None:
    path, body, provider, stream = ROUTES[route]
    whole = b"".join(stream[:-1])
    answer = await rig.post(path, {**body, "stream": True}, vk=provider, openai_beta=f"terminated fin {len(whole)}")
    found = events(answer.body)
    assert answer.whole
    assert errors_in(found) == []
    if route == "openai to openai":
        assert answer.body == whole
    else:
        assert len(terminators_in(found)) == 1
