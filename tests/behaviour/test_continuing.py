"""Going on with a stream that broke off, by real sockets: whoever goes on, however it is asked to, and wherever the
first stream was cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from tests.behaviour.client import errors_in, events, terminators_in
from tests.behaviour.rig import CHAT, MESSAGES, Rig, virtual_key
from tests.behaviour.test_resilience import (
    BLOCK,
    DONE,
    END,
    HELLO,
    PING,
    ROLE,
    START,
    STOP,
    STREAMED,
    TEXT,
    Players,
    delta,
)  # fmt: skip
from tests.behaviour.test_strategies import ERROR, A, fallback
from tests.fakes.upstream import SSE_HEAD, Asked, End, Script, Scripted, chunk, ok, stream


def continued(*slugs: str) -> str:
    strategy = {"mode": "fallback", "continue_stream": True}
    return json.dumps({"strategy": strategy, "targets": [{"virtual_key": slug} for slug in slugs]})


def spoken(body: bytes) -> str:
    """The text of a stream in either dialect."""
    found = [event.data for event in events(body) if isinstance(event.data, dict)]
    parts = [value["choices"][0]["delta"].get("content") or "" for value in found if "choices" in value]
    parts += [value["delta"].get("text", "") for value in found if value.get("type") == "content_block_delta"]
    return "".join(parts)


REST = stream(START, PING, BLOCK, HELLO, END)


class Continuing:
    """`openai` breaks off after "hi"; `anthropic` says "hello", `anthropic-b` breaks off after it."""

    async def __aenter__(self) -> Continuing:
        cut: Script = [SSE_HEAD, chunk(ROLE), chunk(TEXT), End.RST]
        self.players = Players(
            openai=[cut], anthropic=[REST], anthropic_b=[[SSE_HEAD, chunk(START + BLOCK + HELLO), End.RST]]
        )
        self.players.left["sk-anthropic-c"] = [[ok(ERROR, 400)]]
        self.upstream = Scripted(play=self.players)
        await self.upstream.__aenter__()
        slugs = ("openai", "anthropic", "anthropic-b", "anthropic-c")
        self.rig = Rig(virtual_keys=tuple(virtual_key(slug, self.upstream.url) for slug in slugs))
        await self.rig.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self.rig.__aexit__(None, None, None)
        await self.upstream.__aexit__(None, None, None)


async def test_a_stream_that_breaks_off_is_continued_by_the_next_target_and_says_so() -> None:
    async with Continuing() as scene:
        answer = await scene.rig.post("/v1/chat/completions", STREAMED, config=continued("openai", "anthropic"))
        assert (answer.status, answer.whole) == (200, True)
        assert spoken(answer.body) == "hihello"
        assert b": loopway-continued config.targets[1]\n\n" in answer.body
        found = events(answer.body)
        assert (len(errors_in(found)), len(terminators_in(found))) == (0, 1)
        assert answer.body.count(b'"role"') == 1
        assert scene.players.bodies[1]["messages"][-1] == {"role": "assistant", "content": "hi"}
        await scene.rig.until(lambda: scene.rig.quiet)


async def test_messages_are_continued_within_their_block() -> None:
    async with Continuing() as scene:
        config = continued("anthropic-b", "anthropic")
        answer = await scene.rig.post("/v1/messages", {**MESSAGES, "stream": True}, config=config)
        assert spoken(answer.body) == "hellohello"
        kinds = [event.name for event in events(answer.body) if event.name]
        assert kinds == [
            "message_start", "content_block_start", "content_block_delta", "ping", "content_block_delta",
            "content_block_stop", "message_delta", "message_stop",
        ]  # fmt: skip


@pytest.mark.parametrize("slugs", [("openai", "openai"), ("openai", "anthropic-c")])
async def test_where_nobody_can_go_on_it_ends_with_the_error_event(slugs: tuple[str, ...]) -> None:
    async with Continuing() as scene:
        answer = await scene.rig.post("/v1/chat/completions", STREAMED, config=continued(*slugs))
        found = events(answer.body)
        assert answer.body.startswith(ROLE + TEXT)
        assert (len(errors_in(found)), len(terminators_in(found))) == (1, 0)
        await scene.rig.until(lambda: scene.rig.quiet)


async def test_what_breaks_off_twice_is_continued_twice() -> None:
    async with Continuing() as scene:
        config = continued("openai", "anthropic-b", "anthropic")
        answer = await scene.rig.post("/v1/chat/completions", STREAMED, config=config)
        assert spoken(answer.body) == "hihellohello"
        assert scene.players.bodies[2]["messages"][-1] == {"role": "assistant", "content": "hihello"}


async def test_without_the_word_in_the_config_a_stream_is_never_continued() -> None:
    async with Continuing() as scene:
        config = json.dumps(fallback(A, {"virtual_key": "anthropic"}))
        answer = await scene.rig.post("/v1/chat/completions", STREAMED, config=config)
        assert len(errors_in(events(answer.body))) == 1
        assert scene.players.asked == ["openai"]


TOKENS = ["The ", "quick", " brown  ", "fox", "\n\n", "ran", " away", " \n", "."]
SENTENCE = "".join(TOKENS)


def block_delta(text: str) -> bytes:
    """An event of Anthropic's."""
    data = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return f"event: content_block_delta\ndata: {json.dumps(data)}\n\n".encode()


def told_by(text: str) -> list[Any]:
    """Anthropic's stream of a text, two characters an event."""
    return stream(START, BLOCK, *(block_delta(text[at : at + 2]) for at in range(0, len(text), 2)), END)


@pytest.mark.parametrize("cut", range(1, len(TOKENS) + 1))
@pytest.mark.parametrize("end", [End.RST, End.FIN])
@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/messages"])
async def test_wherever_a_stream_breaks_off_no_text_is_lost_and_none_said_twice(route: str, end: End, cut: int) -> None:
    def play(asked: Asked) -> Script:
        last = asked.json()["messages"][-1]
        if asked.header("authorization"):
            return [SSE_HEAD, chunk(ROLE), *(chunk(delta(content=token)) for token in TOKENS[:cut]), end]
        content = last["content"] if isinstance(last["content"], str) else last["content"][-1]["text"]
        assert last["role"] == "assistant"
        assert SENTENCE.startswith(content)
        return told_by(SENTENCE[len(content) :])

    async with Scripted(play=play) as upstream:
        slugs = ("openai", "anthropic")
        async with Rig(virtual_keys=tuple(virtual_key(slug, upstream.url) for slug in slugs)) as rig:
            body = {**(CHAT if route != "/v1/messages" else MESSAGES), "stream": True}
            answer = await rig.post(route, body, config=continued(*slugs))
            assert spoken(answer.body) == SENTENCE
            found = events(answer.body)
            assert (len(errors_in(found)), len(terminators_in(found))) == (0, 1)


# -- other ways to be asked

ROUTES = {"/v1/chat/completions": STREAMED, "/v1/messages": {**MESSAGES, "stream": True}}


def first_stream(route: str) -> bytes:
    """What the first target says of the sentence, before it is cut: all but its end."""
    if route == "/v1/messages":
        return START + BLOCK + b"".join(block_delta(token) for token in TOKENS)
    return ROLE + b"".join(delta(content=token) for token in TOKENS)


def in_pieces(data: bytes, size: int) -> list[bytes]:
    return [chunk(data[at : at + size]) for at in range(0, len(data), size)]


def mistral_says(text: str, size: int) -> bytes:
    """Mistral's stream of a text, so many characters an event."""
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    *most, last = pieces or [""]
    return b"".join((ROLE, *(delta(content=piece) for piece in most), delta(content=last, finish="stop"), DONE))


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("echo", [True, False], ids=["echo", "no echo"])
@pytest.mark.parametrize("route", ROUTES)
async def test_mistral_goes_on_wherever_a_stream_was_cut_and_nothing_is_lost_or_said_twice(
    route: str, echo: bool, size: int
) -> None:
    whole = first_stream(route)
    first = "anthropic" if route == "/v1/messages" else "openai"
    cut = 0
    delivered: list[str] = []

    def play(asked: Asked) -> Script:
        messages = asked.json()["messages"]
        if asked.json()["model"] == "first":
            return [SSE_HEAD, chunk(whole[:cut]), End.RST]
        last = messages[-1]
        said = ""
        if last["role"] == "assistant":
            assert last["prefix"] is True
            said = last["content"]
            assert SENTENCE.startswith(said)
        delivered.append(said)
        text = SENTENCE if echo else SENTENCE[len(said) :]
        return [SSE_HEAD, *in_pieces(mistral_says(text, size), 100), b"0\r\n\r\n"]

    async with Scripted(play=play) as upstream:
        rows = (
            virtual_key(first, upstream.url, aliases={"m": "first"}),
            virtual_key("mistral", upstream.url, provider="mistral-ai"),
        )
        async with Rig(virtual_keys=rows) as rig:
            config = continued(first, "mistral")
            for cut in range(1, len(whole), 11):
                answer = await rig.post(route, {**ROUTES[route], "model": "m"}, config=config)
                assert spoken(answer.body) == SENTENCE, cut
                found = events(answer.body)
                assert (len(errors_in(found)), len(terminators_in(found))) == (0, 1)
                if route == "/v1/messages":
                    kinds = [event.name for event in found if event.name and event.name != "content_block_delta"]
                    assert kinds == [
                        "message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop",
                    ]  # fmt: skip
            assert len(set(delivered)) > 5


@pytest.mark.parametrize("route", ROUTES)
async def test_a_second_cut_may_come_anywhere_too_in_the_midst_of_a_repetition_among_others(route: str) -> None:
    first = "anthropic" if route == "/v1/messages" else "openai"
    begun = first_stream(route)
    begun = begun[: begun.index(b"fox")]
    again = mistral_says(SENTENCE, 3)
    cut = 0

    def play(asked: Asked) -> Script:
        model = asked.json()["model"]
        if model == "first":
            return [SSE_HEAD, chunk(begun), End.RST]
        if model == "second":
            return [SSE_HEAD, chunk(again[:cut]), End.RST]
        assert SENTENCE.startswith(asked.json()["messages"][-1]["content"])
        return [SSE_HEAD, chunk(again), b"0\r\n\r\n"]

    async with Scripted(play=play) as upstream:
        rows = (
            virtual_key(first, upstream.url, aliases={"m": "first"}),
            virtual_key("mistral-b", upstream.url, provider="mistral-ai", aliases={"m": "second"}),
            virtual_key("mistral-c", upstream.url, provider="mistral-ai"),
        )
        async with Rig(virtual_keys=rows) as rig:
            config = continued(first, "mistral-b", "mistral-c")
            for cut in range(1, again.index(b'"stop"'), 59):
                answer = await rig.post(route, {**ROUTES[route], "model": "m"}, config=config)
                assert spoken(answer.body) == SENTENCE, cut
                found = events(answer.body)
                assert (len(errors_in(found)), len(terminators_in(found))) == (0, 1)


@pytest.mark.parametrize("route", ROUTES)
async def test_what_only_begins_like_a_repetition_is_passed_on(route: str) -> None:
    first = "anthropic" if route == "/v1/messages" else "openai"
    said = first_stream(route)

    def play(asked: Asked) -> Script:
        if asked.json()["model"] == "first":
            return [SSE_HEAD, chunk(said), End.RST]
        return stream(ROLE, delta(content="The "), delta(content="qui"), delta(content="et end"), STOP, DONE)

    async with Scripted(play=play) as upstream:
        rows = (
            virtual_key(first, upstream.url, aliases={"m": "first"}),
            virtual_key("mistral", upstream.url, provider="mistral-ai"),
        )
        async with Rig(virtual_keys=rows) as rig:
            answer = await rig.post(route, {**ROUTES[route], "model": "m"}, config=continued(first, "mistral"))
            assert spoken(answer.body) == SENTENCE + "The quiet end"


@pytest.mark.parametrize(
    ("provider", "path", "model", "mark"),
    [
        ("mistral-ai", "/v1", "m", {"prefix": True}),
        ("moonshot", "/v1", "m", {"partial": True}),
        ("dashscope", "/v1", "m", {"partial": True}),
        ("deepseek", "/beta", "m", {"prefix": True}),
        ("groq", "/v1", "m", {}),
        ("openrouter", "/v1", "anthropic/claude-haiku-4.5", {}),
        ("deepseek", "/v1", "m", None),
        ("openrouter", "/v1", "openai/gpt-5", None),
        ("together-ai", "/v1", "m", None),
    ],
)
@pytest.mark.parametrize("route", ROUTES)
async def test_each_provider_is_asked_in_its_way_and_nobody_who_cannot(
    route: str, provider: str, path: str, model: str, mark: dict[str, Any] | None
) -> None:
    first = "anthropic" if route == "/v1/messages" else "openai"
    asked_second: list[Any] = []

    def play(asked: Asked) -> Script:
        if asked.json()["model"] == "first":
            return [SSE_HEAD, chunk(first_stream(route)), End.RST]
        asked_second.append((asked.line, asked.json()))
        return stream(ROLE, delta(content="more"), STOP, DONE)

    async with Scripted(play=play) as upstream:
        second = virtual_key("second", upstream.url, provider=provider, aliases={"m": model})
        rows = (
            virtual_key(first, upstream.url, aliases={"m": "first"}),
            replace(second, custom_host=upstream.url + path),
        )
        async with Rig(virtual_keys=rows) as rig:
            answer = await rig.post(route, {**ROUTES[route], "model": "m"}, config=continued(first, "second"))
    if mark is None:
        assert not asked_second
        assert len(errors_in(events(answer.body))) == 1
        return
    [(line, body)] = asked_second
    assert line.startswith(f"POST {path}/chat/completions ")
    last = body["messages"][-1]
    assert last == {"role": "assistant", "content": SENTENCE.rstrip(), **mark}
    assert spoken(answer.body) == SENTENCE + "more"
