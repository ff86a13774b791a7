"""Three turns of tools behind OpenRouter, by the official SDKs: `reasoning_details` come back to it as they were."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.adapters.test_reasoning_details import DETAILS, streamed, whole
from tests.fakes.gateway import SEED_KEY, Gateway
from tests.fakes.upstream import SSE, Asked, Script, Scripted, ok
from tests.matrix.test_thinking_loops import LOOPS, OSLO, PARIS

DONE = "Mild in Paris, cold in Oslo."
CITIES = (PARIS.arguments["city"], OSLO.arguments["city"])


def answer(details: list[dict[str, Any]], body: dict[str, Any]) -> bytes:
    turn = sum(message["role"] == "assistant" for message in body["messages"])
    if turn < len(CITIES):
        made = (streamed if body.get("stream") else whole)(details, CITIES[turn])
        return made.replace(b'"weather"', json.dumps(body["tools"][0]["function"]["name"]).encode())
    said: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    if not body.get("stream"):
        return json.dumps({"id": "1", "model": "m", "choices": [{**said, "message": {"content": DONE}}]}).encode()
    chunk = json.dumps({"id": "1", "model": "m", "choices": [{**said, "delta": {"content": DONE}}]}).encode()
    return b"data: %b\n\ndata: [DONE]\n\n" % chunk


NAMES = ("Claude", "OpenAI")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def router() -> AsyncIterator[Scripted]:
    """OpenRouter, which answers with the details that its address names."""

    def play(asked: Asked) -> Script:
        body = json.loads(asked.body)
        made = answer(DETAILS[asked.line.split("/")[1]], body)
        return [ok(made, content_type=SSE) if body.get("stream") else ok(made)]

    async with Scripted(play=play) as cloud:
        yield cloud


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(router: Scripted, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """One for all loops, with a virtual key for either kind of details."""
    rows = [
        {"slug": name.lower(), "provider": "openrouter", "key": "k", "custom_host": f"{router.url}/{name}/api/v1"}
        for name in NAMES
    ]
    keys = [{"name": "seed", "key": SEED_KEY, "scopes": ["inference"]}]
    async with Gateway(tmp_path_factory.mktemp("router"), {"virtual_keys": rows, "api_keys": keys}) as running:
        yield running


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("client", [name for name in LOOPS if "Responses" not in name])  # those it has itself
@pytest.mark.parametrize("name", NAMES)
async def test_details_come_back_through_the_official_sdks(
    gateway: Gateway, router: Scripted, name: str, client: str, stream: bool
) -> None:
    text = await asyncio.to_thread(LOOPS[client], gateway, name.lower(), "anthropic/claude-sonnet-4.5", stream)
    last = json.loads(router.requests[-1].body)
    assert text == DONE
    said = [message for message in last["messages"] if message["role"] == "assistant"]
    assert [message["reasoning_details"] for message in said] == [DETAILS[name]] * 2
    assert [json.loads(each["tool_calls"][0]["function"]["arguments"])["city"] for each in said] == list(CITIES)
