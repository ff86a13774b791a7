"""OpenAI's SDK on chat completions: what it reads is the same whichever provider answers."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.conftest import Make
from tests.e2e.samples import CITY, CLAUDE, GPT, HELLO, OPENAI_TOOLS, PDF, PIXEL, SAID, USE_BOTH, text_of
from tests.fakes.gateway import ANTHROPIC_SECRET, OPENAI_SLUG, Gateway, Upstream

both = pytest.mark.parametrize("model", [GPT, CLAUDE], ids=["openai", "anthropic"])


@both
def test_a_chat_is_answered(model: str, openai_client: Make, upstream: Upstream) -> None:
    answer = openai_client().chat.completions.create(model=model, messages=HELLO, max_tokens=100)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content == SAID
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens == 5
    assert answer.usage.completion_tokens == 4
    assert answer.usage.total_tokens == 9
    assert upstream.last.json()["model"] == model.partition("/")[2]


@both
def test_a_chat_is_streamed(model: str, openai_client: Make) -> None:
    stream = openai_client().chat.completions.create(
        model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert text_of(chunks) == SAID
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    usage = [chunk.usage for chunk in chunks if chunk.usage]
    assert [(u.prompt_tokens, u.completion_tokens, u.total_tokens) for u in usage] == [(5, 4, 9)]
    assert chunks[-1].choices == []


@both
def test_without_include_usage_every_chunk_has_a_choice(model: str, openai_client: Make) -> None:
    chunks = list(openai_client().chat.completions.create(model=model, messages=HELLO, stream=True))
    assert all(chunk.choices for chunk in chunks)
    assert text_of(chunks) == SAID


@both
def test_the_sdks_own_accumulator_understands_the_stream(model: str, openai_client: Make) -> None:
    with openai_client().chat.completions.stream(model=model, messages=HELLO) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.content == SAID


def test_a_chat_with_anthropic_uses_the_stored_credential(openai_client: Make, upstream: Upstream) -> None:
    openai_client().chat.completions.create(model=CLAUDE, messages=HELLO)
    sent = upstream.last
    assert sent.path == "/v1/messages"
    assert sent.header("x-api-key") == ANTHROPIC_SECRET
    assert sent.header("anthropic-version") == "2023-06-01"
    assert sent.header("authorization") is None
    assert sent.json()["max_tokens"] > 0


def test_system_and_developer_messages_become_the_system_prompt(openai_client: Make, upstream: Upstream) -> None:
    messages: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": "Be kind."},
        *HELLO,
    ]
    openai_client().chat.completions.create(model=CLAUDE, messages=messages)
    sent = upstream.last.json()
    assert [block["text"] for block in sent["system"]] == ["Be brief.", "Be kind."]
    assert [message["role"] for message in sent["messages"]] == ["user"]


@both
def test_parallel_tools_are_called_and_their_results_taken(model: str, openai_client: Make) -> None:
    client = openai_client()
    messages: list[Any] = [{"role": "user", "content": USE_BOTH}]
    first = client.chat.completions.create(model=model, messages=messages, tools=OPENAI_TOOLS)
    assert first.choices[0].finish_reason == "tool_calls"
    calls = first.choices[0].message.tool_calls
    assert [call.function.name for call in calls] == ["weather", "time"]
    assert all(set(json.loads(call.function.arguments)) == {"city"} for call in calls)
    assert len({call.id for call in calls}) == 2

    messages.append(first.choices[0].message.model_dump(exclude_none=True))
    messages += [{"role": "tool", "tool_call_id": call.id, "content": f"{call.function.name} ok"} for call in calls]
    second = client.chat.completions.create(model=model, messages=messages, tools=OPENAI_TOOLS)
    assert second.choices[0].message.content.endswith("time ok")


@both
def test_parallel_tools_are_streamed_by_index(model: str, openai_client: Make) -> None:
    stream = openai_client().chat.completions.create(
        model=model, messages=[{"role": "user", "content": USE_BOTH}], tools=OPENAI_TOOLS, stream=True
    )
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    finish = []
    for chunk in stream:
        for call in chunk.choices[0].delta.tool_calls or ():
            if call.function.name:
                names[call.index] = call.function.name
            arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
        if chunk.choices[0].finish_reason:
            finish.append(chunk.choices[0].finish_reason)
    assert names == {0: "weather", 1: "time"}
    assert all(set(json.loads(text)) == {"city"} for text in arguments.values())
    assert finish == ["tool_calls"]


@both
def test_one_tool_can_be_forced_and_parallel_calls_forbidden(model: str, openai_client: Make) -> None:
    client = openai_client()
    forced = client.chat.completions.create(
        model=model, messages=HELLO, tools=OPENAI_TOOLS, tool_choice={"type": "function", "function": {"name": "time"}}
    )
    assert [call.function.name for call in forced.choices[0].message.tool_calls] == ["time"]
    single = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": USE_BOTH}], tools=OPENAI_TOOLS, parallel_tool_calls=False
    )
    assert len(single.choices[0].message.tool_calls) == 1


@both
def test_a_tools_name_may_have_a_dot(model: str, openai_client: Make, upstream: Upstream) -> None:
    tool: Any = {**OPENAI_TOOLS[0], "function": {**OPENAI_TOOLS[0]["function"], "name": "fs.read"}}
    choice: Any = {"type": "function", "function": {"name": "fs.read"}}
    answer = openai_client().chat.completions.create(model=model, messages=HELLO, tools=[tool], tool_choice=choice)
    assert [call.function.name for call in answer.choices[0].message.tool_calls] == ["fs.read"]
    # What speaks the client's dialect gets its bytes, and says itself what it refuses.
    assert ("fs.read" in json.dumps(upstream.last.json())) is (model == GPT)


@both
def test_images_and_pdfs_arrive(model: str, openai_client: Make) -> None:
    content: list[Any] = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
    ]
    answer = openai_client().chat.completions.create(model=model, messages=[{"role": "user", "content": content}])
    assert answer.choices[0].message.content.endswith("You said: What is this? [1 image] [1 document]")


def test_images_and_pdfs_reach_anthropic_as_its_own_blocks(openai_client: Make, upstream: Upstream) -> None:
    content: list[Any] = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
    ]
    openai_client().chat.completions.create(model=CLAUDE, messages=[{"role": "user", "content": content}])
    image, linked, document = upstream.last.json()["messages"][0]["content"]
    assert image["source"] == {"type": "base64", "media_type": "image/png", "data": PIXEL}
    assert linked["source"] == {"type": "url", "url": "https://example.com/cat.png"}
    assert document["type"] == "document"
    assert document["source"] == {"type": "base64", "media_type": "application/pdf", "data": PDF}


@both
def test_an_answer_can_be_bound_to_a_json_schema(model: str, openai_client: Make) -> None:
    answer = openai_client().chat.completions.create(
        model=model,
        messages=HELLO,
        response_format={"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": CITY}},
    )
    assert set(json.loads(answer.choices[0].message.content)) == {"city"}
    assert answer.choices[0].finish_reason == "stop"


@both
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_answer_that_is_too_long_says_so(model: str, stream: bool, openai_client: Make) -> None:
    answer = openai_client().chat.completions.create(model=model, messages=HELLO, max_tokens=2, stream=stream)
    found = [chunk.choices[0].finish_reason for chunk in answer][-1] if stream else answer.choices[0].finish_reason
    assert found == "length"


@both
def test_a_stop_sequence_ends_the_answer(model: str, openai_client: Make) -> None:
    answer = openai_client().chat.completions.create(model=model, messages=HELLO, stop=" a ")
    assert answer.choices[0].message.content.strip() == "This is"
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("strict", ["true", "false"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_thinking_is_shown_where_strict_compliance_is_off(strict: str, stream: bool, openai_client: Make) -> None:
    client = openai_client({"x-portkey-strict-open-ai-compliance": strict})
    answer = client.chat.completions.create(
        model=CLAUDE,
        messages=HELLO,
        max_tokens=2048,
        stream=stream,
        extra_body={"thinking": {"type": "enabled", "budget_tokens": 1024}},
    )
    if stream:
        chunks = list(answer)
        assert text_of(chunks) == SAID
        blocks = [getattr(chunk.choices[0].delta, "content_blocks", None) for chunk in chunks if chunk.choices]
        deltas = [block["delta"] for found in blocks for block in found or () if "delta" in block]
        thought = "".join(delta.get("thinking", "") for delta in deltas)
        signed = [delta for delta in deltas if "signature" in delta]
        assert bool(thought) == bool(signed) == (strict == "false")
    else:
        message = answer.choices[0].message
        assert message.content == SAID
        kinds = [block["type"] for block in getattr(message, "content_blocks", None) or ()]
        assert kinds == (["thinking", "text"] if strict == "false" else [])


def test_reasoning_effort_asks_anthropic_to_think(openai_client: Make, upstream: Upstream) -> None:
    openai_client().chat.completions.create(model=CLAUDE, messages=HELLO, reasoning_effort="low")
    sent = upstream.last.json()
    assert sent.get("thinking") or sent.get("output_config", {}).get("effort") == "low"


@pytest.mark.parametrize(("strict", "reason"), [("true", "stop"), ("false", "end_turn")], ids=["strict", "not strict"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_only_without_strict_compliance_the_finish_reason_is_the_providers_word(
    strict: str, reason: str, stream: bool, openai_client: Make
) -> None:
    client = openai_client({"x-portkey-strict-open-ai-compliance": strict})
    answer = client.chat.completions.create(model=CLAUDE, messages=HELLO, stream=stream)
    found = (
        [chunk.choices[0].finish_reason for chunk in answer if chunk.choices][-1]
        if stream
        else answer.choices[0].finish_reason
    )
    assert found == reason


@pytest.mark.parametrize("stream", [b"false", b"true"], ids=["whole", "streamed"])
def test_the_same_dialect_passes_byte_for_byte_both_ways(stream: bytes, gateway: Gateway, upstream: Upstream) -> None:
    body = (
        b'{ "model":"gpt-4o", "messages":[{"role":"user","content":"h\\u00e9"}],"seed":12345678901234567890,'
        b'"temperature":1.10 ,"unknown":{"b":1,"a":[1e5]},"stream":' + stream + b"}\n"
    )
    answer = gateway.post("/v1/chat/completions", body, headers={"x-portkey-virtual-key": OPENAI_SLUG})
    assert upstream.last.body == body
    direct = httpx.post(
        f"{upstream.url}/v1/chat/completions",
        content=body,
        headers={"authorization": "Bearer sk-test", "content-type": "application/json"},
        trust_env=False,
    )
    assert answer.content == direct.content
    assert answer.headers["content-type"] == direct.headers["content-type"]


@both
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
def test_a_providers_error_is_raised_as_the_sdks_own(
    model: str, status: int, error: type[openai.APIStatusError], openai_client: Make
) -> None:
    with pytest.raises(error) as raised:
        openai_client().chat.completions.create(model=f"{model}::status={status}", messages=HELLO)
    assert raised.value.status_code == status
    assert raised.value.body["message"]
    assert raised.value.response.headers["x-portkey-trace-id"]
    assert raised.value.response.headers["x-portkey-provider"] in ("openai", "anthropic")


@both
def test_a_stream_that_the_provider_cuts_ends_in_an_error(model: str, openai_client: Make) -> None:
    stream = openai_client().chat.completions.create(
        model=f"{model}::chunks=20,fin_after=1500", messages=HELLO, stream=True
    )
    seen: list[Any] = []
    with pytest.raises(openai.APIError) as raised:
        seen.extend(stream)
    assert seen
    assert raised.value.body["message"]


@both
def test_an_error_event_of_the_provider_is_raised(model: str, openai_client: Make) -> None:
    stream = openai_client().chat.completions.create(
        model=f"{model}::chunks=20,error_after=5", messages=HELLO, stream=True
    )
    with pytest.raises(openai.APIError):
        text_of(stream)


async def test_the_asynchronous_client_streams_too(gateway: Gateway, upstream: Upstream) -> None:
    async with openai.AsyncOpenAI(base_url=gateway.v1, api_key=gateway.api_key, max_retries=0) as client:
        stream = await client.chat.completions.create(model=CLAUDE, messages=HELLO, stream=True)
        found = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
    assert "".join(found) == SAID


def test_a_prompt_of_a_megabyte_passes(openai_client: Make, upstream: Upstream) -> None:
    text = "word " * 200_000
    openai_client().chat.completions.create(model=GPT, messages=[{"role": "user", "content": text}])
    assert upstream.last.size > 1_000_000
