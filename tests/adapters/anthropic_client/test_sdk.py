"""Anthropic's own SDK reads what the codec writes, over a real socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from anthropic import AsyncAnthropic

from adapters import errors
from adapters.anthropic_client import MESSAGES_TO_CHAT
from adapters.types import Call, Dialect
from tests.adapters.anthropic_client.script import USAGE, chunk, sse, text, tool

WEATHER: Any = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}


@asynccontextmanager
async def client(upstream: Callable[[dict[str, Any]], bytes]) -> AsyncIterator[AsyncAnthropic]:
    """An SDK client of a server that translates; `upstream` answers chat requests with bytes."""

    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        call = Call(Dialect.ANTHROPIC_MESSAGES, "gpt-x", bool(json.loads(body).get("stream")), body, "abc", 1)
        answer = upstream(json.loads(MESSAGES_TO_CHAT.request(call).body))
        if not call.stream:
            return web.Response(body=MESSAGES_TO_CHAT.response(call, answer).body, content_type="application/json")
        machine = MESSAGES_TO_CHAT.stream(call)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for start in range(0, len(answer), 50):
            await response.write(machine.feed(answer[start : start + 50]))
        await response.write(machine.close())
        if machine.error is not None:
            await response.write(errors.event("anthropic", machine.error.kind, machine.error.message))
        return response

    app = web.Application()
    app.router.add_post("/v1/messages", handle)
    async with TestServer(app) as server:
        url = str(server.make_url("/"))
        async with AsyncAnthropic(base_url=url, api_key="x", max_retries=0) as sdk:
            yield sdk


async def test_a_streamed_conversation_with_tools() -> None:
    def upstream(request: dict[str, Any]) -> bytes:
        assert request["stream_options"] == {"include_usage": True}
        if request["messages"][-1]["role"] == "tool":
            assert request["messages"][-1] == {"role": "tool", "tool_call_id": "call_1", "content": "Sunny"}
            assert [call["id"] for call in request["messages"][1]["tool_calls"]] == ["call_1"]
            return sse(text("It is "), text("sunny 🌞."), chunk({}, "stop"), chunk(usage=USAGE))
        return sse(
            chunk({"role": "assistant", "content": "", "reasoning_content": "Where?"}),
            text("Let me see."),
            tool(0, id="call_1", name="weather"),
            tool(0, '{"city": "Pra'),
            tool(0, 'ha"}'),
            chunk({}, "tool_calls"),
            chunk(usage=USAGE),
        )

    async with client(upstream) as sdk:
        conversation: list[Any] = [{"role": "user", "content": "Weather in Praha?"}]
        async with sdk.messages.stream(
            model="claude", max_tokens=100, messages=conversation, tools=[WEATHER]
        ) as stream:
            message = await stream.get_final_message()
        assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
        call = message.content[2]
        assert call.type == "tool_use"
        assert (call.id, call.name, call.input) == ("call_1", "weather", {"city": "Praha"})
        assert message.stop_reason == "tool_use"
        assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (8, 4)
        assert message.usage.output_tokens == 7

        conversation += [
            {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in message.content]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "Sunny"}]},
        ]
        async with sdk.messages.stream(
            model="claude", max_tokens=100, messages=conversation, tools=[WEATHER]
        ) as stream:
            said = [piece async for piece in stream.text_stream]
        assert said == ["It is ", "sunny 🌞."]


async def test_interleaved_calls_reach_the_accumulator_whole() -> None:
    def upstream(request: dict[str, Any]) -> bytes:
        opening = [tool(index, id=f"call_{index}", name=f"f{index}") for index in range(3)]
        first, second = ([tool(index, part) for index in range(3)] for part in ('{"n":', "1}"))
        return sse(*opening, *first, *second, chunk({}, "tool_calls"))

    async with (
        client(upstream) as sdk,
        sdk.messages.stream(model="claude", max_tokens=100, messages=[{"role": "user", "content": "?"}]) as stream,
    ):
        message = await stream.get_final_message()
    calls = [(block.name, block.input) for block in message.content if block.type == "tool_use"]
    assert calls == [("f0", {"n": 1}), ("f1", {"n": 1}), ("f2", {"n": 1})]


async def test_a_whole_answer() -> None:
    body = {
        "id": "chatcmpl-1",
        "model": "gpt-x",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "length"}],
        "usage": USAGE,
    }
    async with client(lambda _: json.dumps(body).encode()) as sdk:
        message = await sdk.messages.create(
            model="claude", max_tokens=5, system="Brief.", messages=[{"role": "user", "content": "Hi"}]
        )
    assert message.content[0].type == "text"
    assert message.content[0].text == "Hello."
    assert (message.id, message.stop_reason, message.usage.input_tokens) == ("msg_1", "max_tokens", 8)


async def test_a_stream_cut_short_raises_in_the_sdk() -> None:
    async with client(lambda _: sse(text("par"), done=False)) as sdk:
        conversation: list[Any] = [{"role": "user", "content": "Hi"}]
        async with sdk.messages.stream(model="claude", max_tokens=5, messages=conversation) as stream:
            with pytest.raises(anthropic.APIStatusError, match="ended the stream early"):
                await stream.get_final_message()
