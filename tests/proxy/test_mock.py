"""The mock provider speaks its dialects as their official clients expect, and refuses as the providers do."""

from __future__ import annotations

import base64
import hashlib
import json
from array import array
from typing import Any

import aiohttp
import pytest

from proxy.mock import schema, text
from proxy.mock.multipart import Form
from tests.fakes.provider import ANTHROPIC, BEARER, CHAT, HELLO, Provider, provider

__all__ = ["provider"]

TEST = [{"role": "user", "content": "Say this is a test"}]
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}


def openai_tools(*names: str) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": name, "parameters": WEATHER}} for name in names]


def anthropic_tools(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "input_schema": WEATHER} for name in names]


async def streamed_text(provider: Provider, path: str, body: Any) -> str:
    """The text of a streamed answer."""
    async with (
        aiohttp.ClientSession(headers={**BEARER, **ANTHROPIC}) as session,
        session.post(provider.url + path, json=body) as answer,
    ):
        return await answer.text()


# --- OpenAI ---------------------------------------------------------------------------------------------------------


async def test_openai_chat_answers_the_same_whole_and_streamed(provider: Provider) -> None:
    async with provider.openai() as client:
        whole = await client.chat.completions.create(model="gpt-4o", messages=TEST)
        stream = await client.chat.completions.create(
            model="gpt-4o", messages=TEST, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert whole.choices[0].message.content == "This is a test."
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (5, 4)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "This is a test."
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage


async def test_the_same_request_gives_the_same_bytes(provider: Provider) -> None:
    first, second = [
        await provider.post("/v1/chat/completions", {"model": "m", "messages": HELLO}, **BEARER) for _ in "ab"
    ]
    assert first == second
    assert first[1]["choices"][0]["message"]["content"] == "Hello from m. You said: Hello there"


async def test_a_stream_without_include_usage_ends_in_done_and_names_no_usage(provider: Provider) -> None:
    streamed = await streamed_text(provider, "/v1/chat/completions", {**CHAT, "stream": True})
    assert streamed.endswith("data: [DONE]\n\n")
    assert '"usage"' not in streamed


async def test_openai_gives_n_choices_and_keeps_stop_and_length(provider: Provider) -> None:
    async with provider.openai() as client:
        several = await client.chat.completions.create(model="gpt-4o", messages=TEST, n=3)
        stopped = await client.chat.completions.create(model="gpt-4o", messages=HELLO, stop=["You said"])
        cut = await client.chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=2)
    assert [c.message.content for c in several.choices] == [
        "This is a test.",
        "This is a test. (2)",
        "This is a test. (3)",
    ]
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("Hello from gpt-4o. ", "stop")
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("Hello from", "length")


async def test_openai_tools_are_called_alone_and_in_parallel(provider: Provider) -> None:
    tools = openai_tools("get_weather", "get_time")
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Use tools get_weather and get_time for Paris"}]
    async with provider.openai() as client:
        forced = await client.chat.completions.create(
            model="gpt-4o",
            messages=HELLO,
            tools=tools,
            tool_choice={"type": "function", "function": {"name": "get_time"}},
        )
        both = await client.chat.completions.create(model="gpt-4o", messages=messages, tools=tools)
        stream = client.chat.completions.stream(model="gpt-4o", messages=messages, tools=tools)
        async with stream as events:
            streamed = await events.get_final_completion()
        message = both.choices[0].message
        assert message.tool_calls is not None
        results = [{"role": "tool", "tool_call_id": c.id, "content": "sunny"} for c in message.tool_calls]
        after = await client.chat.completions.create(
            model="gpt-4o", messages=[*messages, message.model_dump(exclude_none=True), *results], tools=tools
        )
    assert [c.function.name for c in forced.choices[0].message.tool_calls or ()] == ["get_time"]
    assert [c.function.name for c in message.tool_calls] == ["get_weather", "get_time"]
    assert json.loads(message.tool_calls[0].function.arguments) == {"city": messages[0]["content"]}
    assert both.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    streamed_calls = streamed.choices[0].message.tool_calls or []
    assert [(c.function.name, c.function.arguments) for c in streamed_calls] == [
        (c.function.name, c.function.arguments) for c in message.tool_calls
    ]
    assert after.choices[0].message.content == "The tool said: sunny"


async def test_json_schema_output_is_a_minimal_instance(provider: Provider) -> None:
    response_format = {"type": "json_schema", "json_schema": {"name": "w", "schema": WEATHER}}
    async with provider.openai() as client:
        answer = await client.chat.completions.create(model="gpt-4o", messages=HELLO, response_format=response_format)
    assert json.loads(answer.choices[0].message.content or "") == {"city": "example"}


async def test_text_completions_take_many_prompts_whole_and_streamed(provider: Provider) -> None:
    async with provider.openai() as client:
        two = await client.completions.create(model="gpt-3.5-turbo-instruct", prompt=["Say this is a test", "Hi"])
        echoed = await client.completions.create(model="davinci-002", prompt="Say this is a test", echo=True)
        stream = await client.completions.create(model="davinci-002", prompt="Say this is a test", stream=True)
        chunks = [chunk async for chunk in stream]
    assert [c.text for c in two.choices] == ["This is a test.", "Hello from gpt-3.5-turbo-instruct. You said: Hi"]
    assert echoed.choices[0].text == "Say this is a testThis is a test."
    assert "".join(c.choices[0].text for c in chunks) == "This is a test."
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_embeddings_are_unit_vectors_equal_in_both_encodings(provider: Provider) -> None:
    body = {"model": "text-embedding-3-small", "input": ["one", "two"], "dimensions": 8}
    _, floats = await provider.post("/v1/embeddings", body, **BEARER)
    _, packed = await provider.post("/v1/embeddings", {**body, "encoding_format": "base64"}, **BEARER)
    vectors = [item["embedding"] for item in floats["data"]]
    assert [array("f", base64.b64decode(item["embedding"])).tolist() for item in packed["data"]] == vectors
    assert vectors[0] != vectors[1]
    assert sum(x * x for x in vectors[0]) == pytest.approx(1)


async def test_the_other_openai_endpoints_answer_their_sdk(provider: Provider) -> None:
    sound = b"RIFF" + bytes(range(256)) * 1000
    async with provider.openai() as client:
        response = await client.responses.create(model="gpt-4o", input="Say this is a test")
        async with client.responses.stream(model="gpt-4o", input="Say this is a test") as stream:
            final = await stream.get_final_response()
        image = await client.images.generate(model="dall-e-3", prompt="a dot")
        speech = await client.audio.speech.create(model="tts-1", voice="alloy", input="hello")
        heard = await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", sound))
        stored = await client.files.create(file=("a.jsonl", b"{}\n"), purpose="batch")
        verdict = await client.moderations.create(input="no violence here")
        models = [model.id async for model in client.models.list()]
        one = await client.models.retrieve("gpt-4o")
    assert response.output_text == final.output_text == "This is a test."
    assert base64.b64decode((image.data or [])[0].b64_json or "").startswith(b"\x89PNG")
    assert len(speech.content) == 4096
    assert heard.text == f"a.wav: {len(sound)} bytes, sha256 {hashlib.sha256(sound).hexdigest()}"
    assert (stored.bytes, stored.filename, stored.purpose) == (3, "a.jsonl", "batch")
    assert verdict.results[0].flagged
    assert "gpt-4o" in models
    assert one.id == "gpt-4o"


async def test_any_other_path_under_v1_is_echoed_without_credentials(provider: Provider) -> None:
    status, echoed = await provider.post("/v1/batches/x?after=1", {"a": 1}, **BEARER)
    assert status == 200
    assert (echoed["method"], echoed["path"], echoed["query"]) == ("POST", "/v1/batches/x", "after=1")
    assert echoed["body_sha256"] == hashlib.sha256(b'{"a": 1}').hexdigest()
    assert "sk-test" not in json.dumps(echoed)


# --- Anthropic ------------------------------------------------------------------------------------------------------


async def test_anthropic_messages_answer_the_same_whole_and_streamed(provider: Provider) -> None:
    arguments: dict[str, Any] = {
        "model": "claude-sonnet-5-5",
        "max_tokens": 100,
        "messages": TEST,
        "system": "Be brief",
    }
    async with provider.anthropic() as client:
        whole = await client.messages.create(**arguments)
        async with client.messages.stream(**arguments) as stream:
            streamed = await stream.get_final_message()
        count = await client.messages.count_tokens(model="claude-sonnet-5-5", messages=TEST, system="Be brief")
        models = [model.id async for model in client.models.list()]
    assert [block.text for block in whole.content if block.type == "text"] == ["This is a test."]
    assert (whole.stop_reason, whole.usage.input_tokens, whole.usage.output_tokens) == ("end_turn", 7, 4)
    assert [block.text for block in streamed.content if block.type == "text"] == ["This is a test."]
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert count.input_tokens == 7
    assert "claude-sonnet-5-5" in models


async def test_anthropic_streams_send_the_events_in_their_order(provider: Provider) -> None:
    body = {"model": "claude-sonnet-5-5", "max_tokens": 9, "messages": TEST, "stream": True}
    lines = (await streamed_text(provider, "/v1/messages", body)).splitlines()
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert names == [
        *("message_start", "content_block_start", "ping"),
        *["content_block_delta"] * 4,
        *("content_block_stop", "message_delta", "message_stop"),
    ]


async def test_anthropic_thinks_and_calls_tools_whole_and_streamed(provider: Provider) -> None:
    arguments: dict[str, Any] = {
        "model": "claude-sonnet-5-5",
        "max_tokens": 2000,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "messages": [{"role": "user", "content": "use tools get_weather and get_time"}],
        "tools": anthropic_tools("get_weather", "get_time"),
    }
    async with provider.anthropic() as client:
        whole = await client.messages.create(**arguments)
        async with client.messages.stream(**arguments) as stream:
            streamed = await stream.get_final_message()
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}
            for block in whole.content
            if block.type == "tool_use"
        ]
        turns = [
            *arguments["messages"],
            {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in whole.content]},
            {"role": "user", "content": results},
        ]
        after = await client.messages.create(**{**arguments, "messages": turns, "thinking": {"type": "disabled"}})
        forced = await client.messages.create(
            model="claude-sonnet-5-5",
            max_tokens=10,
            messages=HELLO,
            tools=arguments["tools"],
            tool_choice={"type": "any", "disable_parallel_tool_use": True},
        )
    assert [block.type for block in whole.content] == ["thinking", "tool_use", "tool_use"]
    assert whole.stop_reason == "tool_use"
    shown = [block.model_dump(exclude={"id"}) for block in whole.content]
    assert [block.model_dump(exclude={"id"}) for block in streamed.content] == shown
    assert [block.text for block in after.content if block.type == "text"] == ["The tool said: sunny sunny"]
    assert [block.name for block in forced.content if block.type == "tool_use"] == ["get_weather"]


async def test_anthropic_stop_sequences_schema_output_and_cache_counts(provider: Provider) -> None:
    base = {"model": "claude-sonnet-5-5", "max_tokens": 50}
    cached = [{"type": "text", "text": "one two three", "cache_control": {"type": "ephemeral"}}]
    _, stopped = await provider.post(
        "/v1/messages", {**base, "messages": HELLO, "stop_sequences": ["You"], "system": cached}, **ANTHROPIC
    )
    output = {"format": {"type": "json_schema", "schema": WEATHER}}
    _, shaped = await provider.post("/v1/messages", {**base, "messages": HELLO, "output_config": output}, **ANTHROPIC)
    _, cut = await provider.post("/v1/messages", {**base, "messages": HELLO, "max_tokens": 1}, **ANTHROPIC)
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", "You")
    assert (stopped["usage"]["input_tokens"], stopped["usage"]["cache_creation_input_tokens"]) == (2, 3)
    assert json.loads(shaped["content"][0]["text"]) == {"city": "example"}
    assert (cut["stop_reason"], cut["content"][0]["text"]) == ("max_tokens", "Hello")


async def test_the_legacy_text_api_answers_whole_and_streamed(provider: Provider) -> None:
    body = {"model": "claude-2.1", "max_tokens_to_sample": 50, "prompt": "\n\nHuman: Say this is a test\n\nAssistant:"}
    _, whole = await provider.post("/v1/complete", body, **ANTHROPIC)
    streamed = await streamed_text(provider, "/v1/complete", {**body, "stream": True})
    events = [event for event in streamed.split("\r\n\r\n") if event]
    chunks = [json.loads(event.partition("data: ")[2]) for event in events if event.startswith("event: completion")]
    assert (whole["completion"], whole["stop_reason"], whole["stop"]) == (
        "This is a test.",
        "stop_sequence",
        "\n\nHuman:",
    )
    assert "".join(chunk["completion"] for chunk in chunks) == "This is a test."
    assert chunks[-1]["stop_reason"] == "stop_sequence"
    assert events[1].startswith("event: ping")


# --- Validation -----------------------------------------------------------------------------------------------------


MESSAGES = {"model": "claude-sonnet-5-5", "max_tokens": 5, "messages": HELLO}
LEGACY = {"model": "claude-2.1", "max_tokens_to_sample": 5, "prompt": "\n\nHuman: Hi\n\nAssistant:"}
CALL_TURN = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]}


def without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "told"),
    [
        ("/v1/chat/completions", without(CHAT, "model"), BEARER, 400, "model parameter"),
        ("/v1/chat/completions", without(CHAT, "messages"), BEARER, 400, "'messages'"),
        ("/v1/chat/completions", CHAT, {}, 401, "API key"),
        ("/v1/chat/completions", CHAT, {"authorization": "Bearer invalid-1"}, 401, "Incorrect API key"),
        ("/v1/chat/completions", {**CHAT, "model": "nonexistent-1"}, BEARER, 404, "nonexistent-1"),
        ("/v1/chat/completions", {**CHAT, "model": "davinci-002"}, BEARER, 404, "not a chat model"),
        ("/v1/chat/completions", {**CHAT, "messages": [{"role": "tool", "tool_call_id": "x"}]}, BEARER, 400, "'tool'"),
        ("/v1/completions", {"model": "gpt-4o", "prompt": "Hi"}, BEARER, 404, "This is a chat model"),
        ("/chat/completions", CHAT, BEARER, 404, "Invalid URL"),
        ("/v1/messages", without(MESSAGES, "model"), ANTHROPIC, 400, "model: Field required"),
        ("/v1/messages", without(MESSAGES, "max_tokens"), ANTHROPIC, 400, "max_tokens: Field required"),
        ("/v1/messages", without(MESSAGES, "messages"), ANTHROPIC, 400, "messages: Field required"),
        ("/v1/messages", MESSAGES, without(ANTHROPIC, "x-api-key"), 401, "x-api-key"),
        ("/v1/messages", MESSAGES, without(ANTHROPIC, "anthropic-version"), 400, "anthropic-version"),
        ("/v1/messages", {**MESSAGES, "model": "nonexistent-1"}, ANTHROPIC, 404, "nonexistent-1"),
        ("/v1/messages", {**MESSAGES, "messages": [{"role": "system", "content": "x"}]}, ANTHROPIC, 400, '"system"'),
        ("/v1/messages", {**MESSAGES, "response_format": {}}, ANTHROPIC, 400, "response_format: Extra inputs"),
        ("/v1/messages", {**MESSAGES, "temperature": 1.5}, ANTHROPIC, 400, "temperature"),
        (
            "/v1/messages",
            {**MESSAGES, "messages": [*HELLO, CALL_TURN, *HELLO]},
            ANTHROPIC,
            400,
            "without `tool_result`",
        ),
        ("/v1/complete", {**LEGACY, "model": "claude-sonnet-5-5"}, ANTHROPIC, 400, "Messages API"),
        ("/v1/complete", {**LEGACY, "prompt": "Hi"}, ANTHROPIC, 400, "must start with"),
        ("/v1/complete", without(LEGACY, "max_tokens_to_sample"), ANTHROPIC, 400, "max_tokens_to_sample"),
    ],
)
async def test_bad_requests_are_refused_in_the_words_of_their_provider(
    provider: Provider, path: str, body: Any, headers: dict[str, str], status: int, told: str
) -> None:
    got, answer = await provider.post(path, body, **headers)
    assert got == status
    assert told in answer["error"]["message"]
    is_anthropic = path in ("/v1/messages", "/v1/complete")
    assert (answer.get("type") == "error") is is_anthropic
    assert ("param" in answer["error"]) is not is_anthropic


# --- The parts without sockets --------------------------------------------------------------------------------------


def test_forms_read_the_same_however_they_are_cut() -> None:
    content = b"--bound\r\n--boun\r\n" + bytes(range(256))
    body = (
        b'--bound\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
        b'--bound\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
        b"Content-Type: audio/wav\r\n\r\n" + content + b"\r\n"
        b'--bound\r\nContent-Disposition: form-data; name="empty"\r\n\r\n\r\n--bound--\r\n'
    )
    for size in range(1, len(body) + 1):
        form = Form("bound")
        for at in range(0, len(body), size):
            form.feed(body[at : at + size])
        file = form.file()
        assert file is not None
        assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert (form.field("model"), form.field("empty"), form.field("none")) == ("whisper-1", "", None)


@pytest.mark.parametrize(
    ("asked", "value"),
    [
        ({"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}}, {"a": 3}),
        ({"type": ["null", "string"], "minLength": 5}, "text."),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"enum": ["one", "two"]}}}, "one"),
        ({"anyOf": [{"const": 7}, {"type": "null"}]}, 7),
        ({"allOf": [{"type": "object", "properties": {"a": {"type": "boolean"}}}, {"required": ["a"]}]}, {"a": False}),
        ({"type": "array", "items": {"type": "number", "exclusiveMinimum": 1}, "minItems": 2}, [2, 2]),
        ({"type": "string", "format": "date"}, "2024-01-01"),
        ({"type": "object", "properties": {"me": {"$ref": "#"}}, "required": []}, {"me": None}),
    ],
)
def test_instances_satisfy_their_schema(asked: dict[str, Any], value: Any) -> None:
    found = schema.instance(asked, "text")
    if value == {"me": None}:  # A schema that contains itself ends at some depth.
        while found is not None:
            found = found["me"]
    else:
        assert found == value


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 100])
def test_pieces_add_up_to_the_text(count: int) -> None:
    for sentence in ("Hello there, you.  ", "x", "", "Grüße aus\nKöln"):
        parts = text.pieces(sentence, count)
        assert "".join(parts) == sentence
        assert all(parts)
