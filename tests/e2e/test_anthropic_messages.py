"""Anthropic's SDK on Messages: what it reads is the same whichever provider answers."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx
import pytest

from tests.e2e.conftest import Make
from tests.e2e.samples import ANTHROPIC_TOOLS, CITY, CLAUDE, GEMINI, GPT, HELLO, PDF, PIXEL, SAID, USE_BOTH
from tests.fakes.gateway import ANTHROPIC_SECRET, ANTHROPIC_SLUG, Gateway, Upstream

both = pytest.mark.parametrize("model", [CLAUDE, GPT], ids=["anthropic", "openai"])


@both
def test_a_message_is_answered(model: str, anthropic_client: Make) -> None:
    answer = anthropic_client().messages.create(model=model, messages=HELLO, max_tokens=100)
    assert answer.type == "message"
    assert answer.role == "assistant"
    assert answer.id
    assert [(block.type, block.text) for block in answer.content] == [("text", SAID)]
    assert answer.stop_reason == "end_turn"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (5, 4)


@both
def test_a_message_is_streamed_in_whole_blocks(model: str, anthropic_client: Make) -> None:
    events = list(anthropic_client().messages.create(model=model, messages=HELLO, max_tokens=100, stream=True))
    kinds = [event.type for event in events if event.type not in ("ping", "content_block_delta")]
    assert kinds == ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"]
    assert "".join(event.delta.text for event in events if event.type == "content_block_delta") == SAID
    assert events[-2].delta.stop_reason == "end_turn"
    assert events[-2].usage.output_tokens == 4


@both
def test_the_sdks_own_accumulator_understands_the_stream(model: str, anthropic_client: Make) -> None:
    with anthropic_client().messages.stream(model=model, messages=HELLO, max_tokens=100) as stream:
        assert "".join(stream.text_stream) == SAID
        final = stream.get_final_message()
    assert final.content[0].text == SAID
    assert final.usage.output_tokens == 4


def test_messages_for_anthropic_use_the_stored_credential(anthropic_client: Make, upstream: Upstream) -> None:
    anthropic_client().messages.create(model=CLAUDE, messages=HELLO, max_tokens=100)
    assert upstream.last.path == "/v1/messages"
    assert upstream.last.header("x-api-key") == ANTHROPIC_SECRET
    assert upstream.last.header("authorization") is None


def test_messages_for_openai_become_a_chat(anthropic_client: Make, upstream: Upstream) -> None:
    anthropic_client().messages.create(
        model=GPT,
        system=[{"type": "text", "text": "Be brief."}],
        messages=HELLO,
        max_tokens=100,
        stop_sequences=["END"],
        metadata={"user_id": "u-1"},
    )
    assert upstream.last.path == "/v1/chat/completions"
    assert upstream.last.credential == "sk-openai"
    assert upstream.last.header("x-api-key") is None
    sent = upstream.last.json()
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert sent["max_completion_tokens"] == 100
    assert sent["stop"] == ["END"]
    assert sent["user"] == "u-1"


@both
def test_parallel_tools_are_called_and_their_results_taken(model: str, anthropic_client: Make) -> None:
    client = anthropic_client()
    messages: list[Any] = [{"role": "user", "content": USE_BOTH}]
    first = client.messages.create(model=model, messages=messages, tools=ANTHROPIC_TOOLS, max_tokens=500)
    assert first.stop_reason == "tool_use"
    calls = [block for block in first.content if block.type == "tool_use"]
    assert [call.name for call in calls] == ["weather", "time"]
    assert all(set(call.input) == {"city"} for call in calls)

    results: list[Any] = [{"type": "tool_result", "tool_use_id": c.id, "content": f"{c.name} ok"} for c in calls]
    messages += [
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]},
        {"role": "user", "content": results},
    ]
    second = client.messages.create(model=model, messages=messages, tools=ANTHROPIC_TOOLS, max_tokens=500)
    assert second.content[0].text.endswith("time ok")


@both
def test_parallel_tools_are_streamed_as_blocks_of_their_own(model: str, anthropic_client: Make) -> None:
    with anthropic_client().messages.stream(
        model=model, messages=[{"role": "user", "content": USE_BOTH}], tools=ANTHROPIC_TOOLS, max_tokens=500
    ) as stream:
        final = stream.get_final_message()
    assert [(block.type, block.name) for block in final.content] == [("tool_use", "weather"), ("tool_use", "time")]
    assert all(set(block.input) == {"city"} for block in final.content)
    assert final.stop_reason == "tool_use"


@both
def test_one_tool_can_be_forced(model: str, anthropic_client: Make) -> None:
    answer = anthropic_client().messages.create(
        model=model,
        messages=HELLO,
        tools=ANTHROPIC_TOOLS,
        tool_choice={"type": "tool", "name": "time", "disable_parallel_tool_use": True},
        max_tokens=500,
    )
    assert [block.name for block in answer.content] == ["time"]


@pytest.mark.parametrize("model", [GPT, GEMINI], ids=["openai", "gemini"])
def test_a_tools_name_may_be_longer_than_its_provider_takes(
    model: str, anthropic_client: Make, upstream: Upstream
) -> None:
    name = f"mcp__{'a_server_' * 10}read"
    tool: Any = {**ANTHROPIC_TOOLS[0], "name": name}
    asked: Any = {"tools": [tool], "tool_choice": {"type": "tool", "name": name}, "max_tokens": 500, "model": model}
    answer = anthropic_client().messages.create(messages=HELLO, **asked)
    with anthropic_client().messages.stream(messages=HELLO, **asked) as stream:
        final = stream.get_final_message()
    for each in (answer, final):
        assert [block.name for block in each.content if block.type == "tool_use"] == [name]
    assert name not in json.dumps(upstream.last.json())


@both
def test_images_and_documents_arrive(model: str, anthropic_client: Make) -> None:
    content: list[Any] = [
        {"type": "text", "text": "What is this?"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
    ]
    answer = anthropic_client().messages.create(
        model=model, messages=[{"role": "user", "content": content}], max_tokens=100
    )
    assert answer.content[0].text.endswith("You said: What is this? [2 image] [1 document]")


@both
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_answer_that_is_too_long_says_so(model: str, stream: bool, anthropic_client: Make) -> None:
    answer = anthropic_client().messages.create(model=model, messages=HELLO, max_tokens=2, stream=stream)
    found = next(event for event in answer if event.type == "message_delta").delta if stream else answer
    assert found.stop_reason == "max_tokens"


@both
def test_an_answer_can_be_bound_to_a_json_schema(model: str, anthropic_client: Make, upstream: Upstream) -> None:
    answer = anthropic_client().messages.create(
        model=model,
        messages=HELLO,
        max_tokens=100,
        extra_body={"output_config": {"format": {"type": "json_schema", "schema": CITY}}},
    )
    assert answer.content[0].text.startswith('{"city"')


def test_thinking_passes_through_to_anthropic_and_back(anthropic_client: Make) -> None:
    with anthropic_client().messages.stream(
        model=CLAUDE, messages=HELLO, max_tokens=2048, thinking={"type": "enabled", "budget_tokens": 1024}
    ) as stream:
        final = stream.get_final_message()
    assert [block.type for block in final.content] == ["thinking", "text"]
    assert final.content[0].signature


def test_thinking_asks_openai_for_reasoning(anthropic_client: Make, upstream: Upstream) -> None:
    anthropic_client().messages.create(
        model="@open-ai-key-6317bc/gpt-5-mini",
        messages=HELLO,
        max_tokens=4096,
        thinking={"type": "enabled", "budget_tokens": 1024},
    )
    assert upstream.last.json()["reasoning_effort"]


@pytest.mark.parametrize("stream", [b"false", b"true"], ids=["whole", "streamed"])
def test_the_same_dialect_passes_byte_for_byte_both_ways(stream: bytes, gateway: Gateway, upstream: Upstream) -> None:
    body = (
        b'{ "model":"claude-sonnet-4-5", "max_tokens":64 ,"messages":[{"role":"user","content":[{"type":"text",'
        b'"text":"h\\u00e9","cache_control":{"type":"ephemeral","ttl":"1h"}}]}],"container":null,"stream":'
        + stream
        + b"}"
    )
    answer = gateway.post("/v1/messages", body, headers={"x-portkey-virtual-key": ANTHROPIC_SLUG})
    assert upstream.last.body == body
    direct = httpx.post(
        f"{upstream.url}/v1/messages",
        content=body,
        headers={"x-api-key": "k", "anthropic-version": "2023-06-01", "content-type": "application/json"},
        trust_env=False,
    )
    assert answer.content == direct.content
    assert answer.headers["content-type"] == direct.headers["content-type"]


def test_the_clients_version_and_betas_reach_anthropic(anthropic_client: Make, upstream: Upstream) -> None:
    client = anthropic_client()
    client.beta.messages.create(model=CLAUDE, messages=HELLO, max_tokens=100, betas=["files-api-2025-04-14"])
    assert upstream.last.header("anthropic-beta") == "files-api-2025-04-14"
    client.messages.create(
        model=CLAUDE, messages=HELLO, max_tokens=100, extra_headers={"anthropic-version": "2024-10-22"}
    )
    assert upstream.last.header("anthropic-version") == "2024-10-22"


def test_tokens_are_counted_by_anthropic(anthropic_client: Make, upstream: Upstream) -> None:
    counted = anthropic_client().messages.count_tokens(model=CLAUDE, messages=HELLO)
    assert counted.input_tokens == 5
    assert upstream.last.path == "/v1/messages/count_tokens"


def test_tokens_are_estimated_where_the_provider_counts_none(anthropic_client: Make, upstream: Upstream) -> None:
    raw = anthropic_client().messages.with_raw_response.count_tokens(model=GPT, messages=HELLO)
    assert 1 <= raw.parse().input_tokens <= 50
    assert raw.headers["x-loopway-estimated"] == "true"
    assert upstream.requests() == []


@both
@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, anthropic.BadRequestError, "invalid_request_error"),
        (401, anthropic.AuthenticationError, "authentication_error"),
        (403, anthropic.PermissionDeniedError, "permission_error"),
        (404, anthropic.NotFoundError, "not_found_error"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
    ],
)
def test_a_providers_error_is_raised_as_the_sdks_own(
    model: str, status: int, error: type[anthropic.APIStatusError], kind: str, anthropic_client: Make
) -> None:
    with pytest.raises(error) as raised:
        anthropic_client().messages.create(model=f"{model}::status={status}", messages=HELLO, max_tokens=100)
    assert raised.value.status_code == status
    body: Any = raised.value.body
    assert body["type"] == "error"
    assert body["error"]["type"] == kind
    assert body["error"]["message"]
    assert raised.value.response.headers["x-portkey-trace-id"]


@both
def test_a_stream_that_the_provider_cuts_ends_in_an_error(model: str, anthropic_client: Make) -> None:
    stream = anthropic_client().messages.create(
        model=f"{model}::chunks=20,fin_after=1500", messages=HELLO, max_tokens=100, stream=True
    )
    seen: list[str] = []
    with pytest.raises(anthropic.APIStatusError) as raised:
        seen.extend(event.type for event in stream)
    assert "content_block_delta" in seen
    assert "message_stop" not in seen
    assert raised.value.body["error"]["message"]


@both
def test_an_error_event_of_the_provider_is_raised(model: str, anthropic_client: Make) -> None:
    stream = anthropic_client().messages.create(
        model=f"{model}::chunks=20,error_after=5", messages=HELLO, max_tokens=100, stream=True
    )
    with pytest.raises(anthropic.APIStatusError):
        list(stream)


async def test_the_asynchronous_client_streams_too(gateway: Gateway, upstream: Upstream) -> None:
    async with (
        anthropic.AsyncAnthropic(base_url=gateway.url, api_key=gateway.api_key, max_retries=0) as client,
        client.messages.stream(model=GPT, messages=HELLO, max_tokens=100) as stream,
    ):
        assert "".join([text async for text in stream.text_stream]) == SAID


def test_a_bearer_token_serves_as_well(gateway: Gateway, upstream: Upstream) -> None:
    with anthropic.Anthropic(base_url=gateway.url, auth_token=gateway.api_key, max_retries=0) as client:
        answer = client.messages.create(model=CLAUDE, messages=HELLO, max_tokens=100)
    assert answer.content[0].text == SAID
    assert upstream.last.header("authorization") is None


def test_the_gateways_own_errors_have_anthropics_shape(anthropic_client: Make, upstream: Upstream) -> None:
    with pytest.raises(anthropic.AuthenticationError) as raised:
        anthropic_client(api_key="lw-wrong").messages.create(model=CLAUDE, messages=HELLO, max_tokens=100)
    body: Any = raised.value.body
    assert body["type"] == "error"
    assert body["error"]["type"] == "authentication_error"
    assert upstream.requests() == []
