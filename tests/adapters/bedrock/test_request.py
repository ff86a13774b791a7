"""Chat requests → Converse requests, and the answers back."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.bedrock import (
    CHAT_TO_CONVERSE,
    COUNT_TO_COUNT,
    EMBEDDINGS_TO_COHERE,
    EMBEDDINGS_TO_TITAN,
    MESSAGES_TO_INVOKE,
)
from adapters.errors import BadAnswer, InvalidRequest, Kind
from adapters.types import Dialect, Usage
from tests.adapters.bedrock.streams import USAGE, call

PNG = "data:image/png;base64,aGk="
PDF = "data:application/pdf;base64,cGRm"
TOOL = {"type": "function", "function": {"name": "a", "description": "d", "parameters": {"type": "object"}}}
CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "city", "schema": CLOSED}}


def sent(**body: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(CHAT_TO_CONVERSE.request(call(body)).body)
    return made


def dropped(**body: Any) -> tuple[str, ...]:
    return CHAT_TO_CONVERSE.request(call(body)).dropped


def test_a_conversation_keeps_its_order_and_joins_neighbours() -> None:
    made = sent(
        messages=[
            {"role": "system", "content": "S"},
            {"role": "user", "content": "a"},
            {"role": "developer", "content": [{"type": "text", "text": "D", "cache_control": {"type": "ephemeral"}}]},
            {"role": "user", "content": "b"},
            {"role": "assistant", "content": "c"},
        ],
        max_tokens=5,
        temperature=1,
        top_p=0.9,
        stop="x",
    )
    assert made == {
        "system": [{"text": "S"}, {"text": "D"}, {"cachePoint": {"type": "default"}}],
        "messages": [
            {"role": "user", "content": [{"text": "a"}, {"text": "b"}]},
            {"role": "assistant", "content": [{"text": "c"}]},
        ],
        "inferenceConfig": {"maxTokens": 5, "topP": 0.9, "stopSequences": ["x"]},
    }


def test_images_documents_audio_and_video_have_their_blocks() -> None:
    content = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": PNG}},
        {"type": "file", "file": {"file_data": PDF, "filename": "my report (1).pdf"}},
        {"type": "file", "file": {"file_data": PDF, "filename": "my report (1).pdf"}},
        {"type": "file", "file": {"file_data": "data:text/csv;base64,aGk=", "filename": "c.csv"}},
        {"type": "file", "file": {"file_data": "data:application/json;base64,aGk=", "filename": "j"}},
        {"type": "file", "file": {"file_data": "data:text/plain;base64,aGk="}},
        {"type": "file", "file": {"file_data": "data:video/mp4;base64,bXA0"}},
        {"type": "video_url", "video_url": {"url": "data:video/webm;base64,bXA0"}},
        {"type": "video_url", "video_url": "s3://bucket/a.mov"},
        {"type": "input_audio", "input_audio": {"data": "d2F2", "format": "wav"}},
        {"type": "image_url", "image_url": {"url": "s3://bucket/a.jpg"}},
        {"type": "file", "file": {"file_url": "s3://bucket/a.pdf"}},
    ]
    made = sent(messages=[{"role": "user", "content": content}])["messages"][0]["content"]
    assert made == [
        {"text": "look"},
        {"image": {"format": "png", "source": {"bytes": "aGk="}}},
        {"document": {"format": "pdf", "source": {"bytes": "cGRm"}, "name": "my report (1)"}},
        {"document": {"format": "pdf", "source": {"bytes": "cGRm"}, "name": "my report (1) 2"}},
        {"document": {"format": "csv", "source": {"bytes": "aGk="}, "name": "c"}},
        {"document": {"format": "txt", "source": {"bytes": "aGk="}, "name": "j"}},
        {"document": {"format": "txt", "source": {"bytes": "aGk="}, "name": "document"}},
        {"video": {"format": "mp4", "source": {"bytes": "bXA0"}}},
        {"video": {"format": "webm", "source": {"bytes": "bXA0"}}},
        {"video": {"format": "mov", "source": {"s3Location": {"uri": "s3://bucket/a.mov"}}}},
        {"audio": {"format": "wav", "source": {"bytes": "d2F2"}}},
        {"image": {"format": "jpeg", "source": {"s3Location": {"uri": "s3://bucket/a.jpg"}}}},
        {"document": {"format": "pdf", "source": {"s3Location": {"uri": "s3://bucket/a.pdf"}}, "name": "document 2"}},
    ]


def test_an_address_on_the_web_is_refused_and_says_what_to_do() -> None:
    content = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    with pytest.raises(InvalidRequest, match="data URL") as refused:
        sent(messages=[{"role": "user", "content": content}])
    assert refused.value.param == "messages[0].content[0].image_url.url"


def test_tool_calls_and_results_with_images_and_errors() -> None:
    made = sent(
        messages=[
            {"role": "user", "content": "go"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "t1", "type": "function", "function": {"name": "a", "arguments": '{"x":1}'}},
                    {"id": "t2", "type": "function", "function": {"name": "a", "arguments": ""}},
                ],
            },
            {"role": "tool", "tool_call_id": "t1", "content": [{"type": "image_url", "image_url": {"url": PNG}}]},
            {"role": "tool", "tool_call_id": "t2", "content": "boom", "is_error": True},
        ],
        tools=[{**TOOL, "cache_control": {"type": "ephemeral"}}],
        tool_choice="required",
    )
    assert made["messages"][1]["content"] == [
        {"toolUse": {"toolUseId": "t1", "name": "a", "input": {"x": 1}}},
        {"toolUse": {"toolUseId": "t2", "name": "a", "input": {}}},
    ]
    image = {"image": {"format": "png", "source": {"bytes": "aGk="}}}
    assert made["messages"][2]["content"] == [
        {"toolResult": {"toolUseId": "t1", "content": [image]}},
        {"toolResult": {"toolUseId": "t2", "content": [{"text": "boom"}], "status": "error"}},
    ]
    spec = {"name": "a", "description": "d", "inputSchema": {"json": {"type": "object"}}}
    assert made["toolConfig"] == {
        "tools": [{"toolSpec": spec}, {"cachePoint": {"type": "default"}}],
        "toolChoice": {"any": {}},
    }


def test_tool_choices() -> None:
    chosen = {"type": "function", "function": {"name": "a"}}
    assert sent(tools=[TOOL], tool_choice=chosen)["toolConfig"]["toolChoice"] == {"tool": {"name": "a"}}
    assert sent(tools=[TOOL], tool_choice="auto")["toolConfig"]["toolChoice"] == {"auto": {}}
    assert "toolChoice" not in sent(tools=[TOOL])["toolConfig"]
    assert "toolConfig" not in sent(tools=[TOOL], tool_choice="none")
    assert dropped(tools=[TOOL], parallel_tool_calls=False) == ("parallel_tool_calls",)


def test_a_history_of_tool_calls_always_has_its_tools() -> None:
    history = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "tool_calls": [{"id": "t", "function": {"name": "old", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "t", "content": "done"},
    ]
    assert sent(messages=history)["toolConfig"]["tools"] == [
        {"toolSpec": {"name": "old", "inputSchema": {"json": {"type": "object"}}}}
    ]
    none = call({"messages": history, "tools": [TOOL], "tool_choice": "none"})
    assert CHAT_TO_CONVERSE.request(none).dropped == ("tool_choice",)


def test_thinking_of_an_earlier_turn_goes_back_with_its_signature() -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "opaque"},
        {"type": "text", "text": "yes"},
    ]
    made = sent(
        messages=[{"role": "user", "content": "q"}, {"role": "assistant", "content": "yes", "content_blocks": blocks}]
    )
    assert made["messages"][1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": base64.b64encode(b"opaque").decode()}},
        {"text": "yes"},
    ]


@pytest.mark.parametrize(
    ("fields", "level", "lost"),
    [
        ({"reasoning_effort": "low", "temperature": 0.5, "max_tokens": 100}, "low", ()),
        ({"reasoning_effort": "minimal"}, "low", ("reasoning_effort",)),
        ({"reasoning_effort": "high"}, "high", ()),
        ({"reasoning_effort": "max"}, "high", ("reasoning_effort",)),
        ({"reasoning_effort": "high", "max_tokens": 100}, "medium", ("reasoning_effort",)),
        (
            {"reasoning_effort": "high", "temperature": 0.5, "top_p": 0.5, "top_k": 5},
            "high",
            ("temperature", "top_p", "top_k"),
        ),
    ],
)
def test_nova_gets_the_effort_that_it_takes_beside_the_rest(
    fields: dict[str, Any], level: str, lost: tuple[str, ...]
) -> None:
    body = sent(model="us.amazon.nova-2-lite-v1:0", **fields)
    reasoning = {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": level}}
    assert body["additionalModelRequestFields"] == reasoning
    assert body.get("inferenceConfig", {}).get("maxTokens") == fields.get("max_tokens")
    assert dropped(model="us.amazon.nova-2-lite-v1:0", **fields) == lost


def test_each_family_gets_its_own_fields() -> None:
    def more(model: str, **body: Any) -> Any:
        return sent(model=model, **body).get("additionalModelRequestFields")

    assert more("us.anthropic.claude-sonnet-4-5", top_k=3, user="u") == {"top_k": 3, "metadata": {"user_id": "u"}}
    assert more("us.amazon.nova-micro-v1:0", top_k=20) == {"inferenceConfig": {"topK": 20}}
    assert more("cohere.command-r-v1:0", top_k=3) == {"k": 3}
    assert more("openai.gpt-oss-120b-1:0", reasoning_effort="high") == {"reasoning_effort": "high"}
    assert more("qwen.qwen3-32b-v1:0", reasoning_effort="high") == {"reasoning_config": "high"}
    assert more("anthropic.claude-sonnet-4-20250514-v1:0", reasoning_effort="low") == {
        "thinking": {"type": "enabled", "budget_tokens": 1024}
    }
    assert more("anthropic.claude-opus-4-6-v1", reasoning_effort="high") == {
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "high"},
    }
    thinking = {"type": "enabled", "budget_tokens": 2000}
    assert more("anthropic.claude-3-7-sonnet", thinking=thinking, anthropic_beta="a, b") == {
        "thinking": thinking,
        "anthropic_beta": ["a", "b"],
    }
    assert dropped(model="meta.llama3", top_k=1, user="u", reasoning_effort="low") == (
        "top_k",
        "user",
        "reasoning_effort",
    )


def test_json_schemas_are_asked_for_as_the_family_has_it() -> None:
    native = sent(model="anthropic.claude-sonnet-4-5", response_format=SCHEMA)
    structure = native["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert structure["name"] == "city"
    assert json.loads(structure["schema"]) == CLOSED
    tool = sent(model="amazon.nova-pro-v1:0", response_format=SCHEMA)["toolConfig"]
    assert tool["toolChoice"] == {"tool": {"name": "respond_with_json"}}
    prompt = CHAT_TO_CONVERSE.request(call({"model": "meta.llama3-70b", "response_format": SCHEMA}))
    assert prompt.dropped == ("response_format",)
    assert "JSON schema" in json.loads(prompt.body)["system"][0]["text"]
    assert "JSON" in sent(response_format={"type": "json_object"})["system"][0]["text"]


@pytest.mark.parametrize("model", ["anthropic.claude-sonnet-4-5", "qwen.qwen3-32b-v1:0"])
def test_a_schema_that_nobody_can_be_held_to_is_asked_for_in_words(model: str) -> None:
    loose = {"type": "json_schema", "json_schema": {"name": "any", "schema": {"type": "object"}}}
    assert "outputConfig" not in sent(model=model, response_format=loose)
    assert "JSON schema" in sent(model=model, response_format=loose)["system"][0]["text"]
    assert dropped(model=model, response_format=loose) == ("response_format",)


@pytest.mark.parametrize(
    ("model", "fields", "left", "lost"),
    [
        ("anthropic.claude-3-7-sonnet-20250219-v1:0", {"temperature": 0.3, "top_p": 0.5}, {"temperature", "topP"}, ()),
        (
            "anthropic.claude-3-7-sonnet-20250219-v1:0",
            {"temperature": 0.3, "top_p": 0.5, "top_k": 3, "reasoning_effort": "low"},
            set(),
            ("temperature", "top_p", "top_k"),
        ),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", {"temperature": 0.3, "top_p": 0.5}, {"temperature"}, ("top_p",)),
        ("us.anthropic.claude-opus-4-7", {"temperature": 0.3}, set(), ("temperature",)),
        ("meta.llama3-70b", {"temperature": 0.3, "top_p": 0.5}, {"temperature", "topP"}, ()),
    ],
)
def test_claude_gets_the_sampling_that_it_takes(
    model: str, fields: dict[str, Any], left: set[str], lost: tuple[str, ...]
) -> None:
    made = sent(model=model, **fields)
    assert made.get("inferenceConfig", {}).keys() == left
    assert ("top_k" in made.get("additionalModelRequestFields", {})) is ("top_k" in fields and "top_k" not in lost)
    assert dropped(model=model, **fields) == lost


@pytest.mark.parametrize(
    ("model", "strict"),
    [
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", True),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", False),
        ("global.anthropic.claude-opus-4-8", False),
        ("amazon.nova-pro-v1:0", False),
    ],
)
def test_tools_are_strict_where_the_model_takes_the_word(model: str, strict: bool) -> None:
    tools = [{"type": "function", "function": {"name": "f", "strict": True, "parameters": CLOSED}}]
    spec = sent(model=model, tools=tools)["toolConfig"]["tools"][0]["toolSpec"]
    assert ("strict" in spec, spec["inputSchema"]["json"]) == (strict, CLOSED)
    assert dropped(model=model, tools=tools) == (() if strict else ("tools[].function.strict",))


@pytest.mark.parametrize(
    ("model", "marks", "lost"),
    [
        ("anthropic.claude-sonnet-4-5", "system text image tools", ()),
        ("arn:aws:bedrock:us-east-1:1:application-inference-profile/x", "system text image tools", ()),
        ("amazon.nova-lite-v1:0", "system text", ("cache_control",)),
        ("meta.llama3-70b", "", ("cache_control",)),
        ("deepseek.r1-v1:0", "", ("cache_control",)),
        ("anthropic.claude-3-haiku-20240307-v1:0", "", ("cache_control",)),
    ],
)
def test_marks_of_caching_stand_where_the_model_takes_them(model: str, marks: str, lost: tuple[str, ...]) -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aa"}}
    body: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "s", **mark}]},
            {"role": "user", "content": [{"type": "text", "text": "t", **mark}, {**image, **mark}]},
        ],
        "tools": [{**TOOL, **mark}],
    }
    made = sent(**body)
    lists = {"system": made["system"], "tools": made["toolConfig"]["tools"]}
    content = made["messages"][0]["content"]
    kinds = [next(iter(block)) for block in content]
    found = [name for name in ("system", "tools") if "cachePoint" in lists[name][-1]]
    found += [kind for kind, after in itertools.pairwise(kinds) if after == "cachePoint"]
    assert set(found) == set(marks.split())
    assert dropped(**body) == lost


def test_bedrocks_own_settings_have_their_places() -> None:
    guardrail = {"guardrailIdentifier": "g", "guardrailVersion": "1"}
    made = sent(
        guardrail_config=guardrail,
        performanceConfig={"latency": "optimized"},
        additional_model_response_field_paths=["/stop"],
        additional_model_request_fields={"own": 1},
        service_tier="flex",
        metadata={"team": "a"},
    )
    assert made["guardrailConfig"] == guardrail
    assert made["performanceConfig"] == {"latency": "optimized"}
    assert made["additionalModelResponseFieldPaths"] == ["/stop"]
    assert made["additionalModelRequestFields"] == {"own": 1}
    assert made["serviceTier"] == {"type": "flex"}
    assert made["requestMetadata"] == {"team": "a"}


def test_what_cannot_come_along_is_named() -> None:
    assert dropped(seed=1, logprobs=True, n=2, frequency_penalty=1.0, logit_bias={}) == (
        "seed",
        "logprobs",
        "n",
        "frequency_penalty",
    )
    with pytest.raises(InvalidRequest) as refused:
        sent(messages=None)
    assert refused.value.param == "messages"


# -- answers


def answer(content: list[dict[str, Any]], reason: str = "end_turn", **more: Any) -> bytes:
    message = {"role": "assistant", "content": content}
    return json.dumps({"output": {"message": message}, "stopReason": reason, "usage": USAGE, **more}).encode()


def test_an_answer_is_a_completion_in_openais_words() -> None:
    reply = CHAT_TO_CONVERSE.response(call(), answer([{"text": "a"}, {"text": "b"}]))
    made = json.loads(reply.body)
    assert made["id"] == "chatcmpl-id"
    assert made["choices"][0]["message"]["content"] == "ab"
    assert made["choices"][0]["finish_reason"] == "stop"
    assert made["usage"]["prompt_tokens"] == 15
    assert "provider" not in made
    assert reply.usage == Usage(15, 7, 4, 6)


def test_tools_thinking_and_images_of_an_answer() -> None:
    content = [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
        {"text": "x"},
        {"toolUse": {"toolUseId": "t", "name": "a", "input": {"b": [1]}, "type": "tool_use"}},
        {"image": {"format": "png", "source": {"bytes": "aGk="}}},
    ]
    made = json.loads(CHAT_TO_CONVERSE.response(call(strict=False), answer(content, "tool_use")).body)
    message = made["choices"][0]["message"]
    assert message["tool_calls"][0]["id"] == "t"
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"b": [1]}
    assert message["content_blocks"] == [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "text", "text": "x"},
        {"type": "image_url", "image_url": {"url": PNG}},
    ]
    assert made["provider"] == "bedrock"
    assert made["choices"][0]["finish_reason"] == "tool_use"


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("model_context_window_exceeded", "length"),
        ("something_new", "stop"),
    ],
)
def test_stop_reasons(reason: str, finish: str) -> None:
    made = json.loads(CHAT_TO_CONVERSE.response(call(), answer([{"text": "x"}], reason)).body)
    assert made["choices"][0]["finish_reason"] == finish


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"message":"no"}', b"\xff", b'{"output":{}}'])
def test_a_body_that_is_no_answer_is_not_made_one(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        CHAT_TO_CONVERSE.response(call(), body)


ERRORS = {
    "a throttled one": (429, "ThrottlingException:http://x", Kind.RATE_LIMITED, "ThrottlingException"),
    "an expired token": (403, "ExpiredTokenException", Kind.UNAUTHENTICATED, "ExpiredTokenException"),
    "no access": (403, "AccessDeniedException", Kind.FORBIDDEN, "AccessDeniedException"),
    "a model that failed": (424, "ModelErrorException", Kind.BAD_UPSTREAM, "ModelErrorException"),
    "no type": (400, "", Kind.INVALID_REQUEST, None),
    "no type, 500": (500, "", Kind.BAD_UPSTREAM, None),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_keep_status_type_and_message(case: str) -> None:
    status, header, kind, type = ERRORS[case]
    error = CHAT_TO_CONVERSE.error(status, {"x-amzn-errortype": header}, b'{"message":"why"}')
    assert (error.kind, error.status, error.message, error.type) == (kind, status, "why", type)
    for body in (b"", b"<html>", b"\xff", b"[1]"):
        assert CHAT_TO_CONVERSE.error(status, {}, body).status == status


# -- what both can say survives the round trip

_texts = st.text(min_size=1, max_size=20).filter(str.strip)
_inputs = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.booleans(), max_size=3)
_blocks = st.one_of(
    st.builds(lambda text: {"text": text}, _texts),
    st.builds(
        lambda text, signature: {"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}},
        _texts,
        _texts,
    ),
    st.builds(
        lambda data: {"reasoningContent": {"redactedContent": base64.b64encode(data).decode()}},
        st.binary(min_size=1, max_size=20),
    ),
)
_calls = st.builds(
    lambda number, name, given: {"toolUse": {"toolUseId": f"t{number}", "name": name, "input": given}},
    st.integers(0, 99),
    st.sampled_from(["a", "b"]),
    _inputs,
)


@settings(max_examples=150)
@given(st.lists(_blocks, min_size=1, max_size=4), st.lists(_calls, max_size=3))
def test_an_answer_sent_back_is_the_answer(said: list[dict[str, Any]], calls: list[dict[str, Any]]) -> None:
    reply = json.loads(CHAT_TO_CONVERSE.response(call(blocks=True), answer([*said, *calls], "tool_use")).body)
    history = [{"role": "user", "content": "q"}, reply["choices"][0]["message"]]
    back = sent(messages=history)["messages"][1]["content"]
    if not any("text" in block for block in said) and reply["choices"][0]["message"]["content"] == "":
        back = [block for block in back if block != {"text": ""}]
    assert back == [*said, *calls]


# -- Anthropic's clients

MESSAGE = {"model": "m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "ä"}], "own": [1.10]}


def test_a_messages_request_passes_but_for_what_bedrock_has_elsewhere() -> None:
    body = json.dumps(MESSAGE).encode()
    betas = ("interleaved-thinking-2025-05-14", "effort-2025-11-24")
    of = call(dialect=Dialect.ANTHROPIC_MESSAGES, raw=body, betas=betas)
    made = MESSAGES_TO_INVOKE.request(of).body
    assert b"1.1" in made
    assert json.loads(made) == {
        "max_tokens": 9,
        "messages": MESSAGE["messages"],
        "own": [1.10],
        "anthropic_version": "bedrock-2023-05-31",
        "anthropic_beta": [*betas],
    }


def test_betas_that_bedrock_would_refuse_the_request_for_stay_behind_and_are_named() -> None:
    body = json.dumps(MESSAGE).encode()
    sent = ("claude-code-20250219", "advanced-tool-use-2025-11-20", "tool-search-tool-2025-10-19")
    made = MESSAGES_TO_INVOKE.request(call(dialect=Dialect.ANTHROPIC_MESSAGES, raw=body, betas=sent))
    assert json.loads(made.body)["anthropic_beta"] == ["tool-search-tool-2025-10-19"]
    assert made.dropped == ("anthropic-beta.claude-code-20250219",)
    named = json.dumps({**MESSAGE, "anthropic_beta": ["of-tomorrow"]}).encode()
    made = MESSAGES_TO_INVOKE.request(call(dialect=Dialect.ANTHROPIC_MESSAGES, raw=named, betas=sent))
    assert json.loads(made.body)["anthropic_beta"] == ["of-tomorrow", "tool-search-tool-2025-10-19"]
    assert made.dropped == ("anthropic-beta.claude-code-20250219",)
    named = json.dumps({**MESSAGE, "anthropic_beta": ["of-tomorrow"]}).encode()
    made = MESSAGES_TO_INVOKE.request(call(dialect=Dialect.ANTHROPIC_MESSAGES, raw=named))
    assert json.loads(made.body)["anthropic_beta"] == ["of-tomorrow"]


def test_a_message_comes_back_byte_for_byte() -> None:
    body = b'{"type":"message", "content":[],"usage":{"input_tokens":3,"output_tokens":4} }'
    reply = MESSAGES_TO_INVOKE.response(call(dialect=Dialect.ANTHROPIC_MESSAGES), body)
    assert reply.body is body
    assert reply.usage == Usage(3, 4)
    with pytest.raises(BadAnswer):
        MESSAGES_TO_INVOKE.response(call(), b'{"message":"no"}')


def test_tokens_are_counted_by_bedrock() -> None:
    of = call(dialect=Dialect.ANTHROPIC_COUNT_TOKENS, raw=b'{"model":"m","messages":[]}')
    wrapped = json.loads(COUNT_TO_COUNT.request(of).body)["input"]["invokeModel"]["body"]
    assert json.loads(base64.b64decode(wrapped)) == {
        "messages": [],
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 1024,
    }
    assert COUNT_TO_COUNT.response(of, b'{"inputTokens":12}').body == b'{"input_tokens":12}'


# -- embeddings


def embed(**body: Any) -> Any:
    return call(dialect=Dialect.OPENAI_EMBEDDINGS, raw=json.dumps({"model": "m", **body}).encode())


def test_titan_for_images_has_its_own_place_for_the_length_of_vectors() -> None:
    of = msgspec.structs.replace(embed(input=["a"], dimensions=256), model="amazon.titan-embed-image-v1")
    wanted = {"inputText": "a", "embeddingConfig": {"outputEmbeddingLength": 256}}
    assert json.loads(EMBEDDINGS_TO_TITAN.request(of).body) == wanted


def test_titan_gets_one_call_for_each_input() -> None:
    of = embed(input=["a", "b"], dimensions=256, normalize=True, user="u")
    made = EMBEDDINGS_TO_TITAN.request(of)
    assert [json.loads(body) for body in (made.body, *made.more)] == [
        {"inputText": text, "dimensions": 256, "normalize": True} for text in "ab"
    ]
    assert made.dropped == ("user",)
    bodies = [b'{"embedding":[1.0],"inputTextTokenCount":2}', b'{"embedding":[2.0],"inputTextTokenCount":3}']
    reply = EMBEDDINGS_TO_TITAN.combined(of, bodies)
    assert [each["embedding"] for each in json.loads(reply.body)["data"]] == [[1.0], [2.0]]
    assert reply.usage == Usage(5)
    assert EMBEDDINGS_TO_TITAN.request(embed(input="a")).more == ()
    with pytest.raises(InvalidRequest, match="At most 96"):
        EMBEDDINGS_TO_TITAN.request(embed(input=["x"] * 97))


def test_cohere_gets_all_inputs_at_once() -> None:
    of = embed(input=["a", "b"], input_type="search_query", encoding_format="base64")
    assert json.loads(EMBEDDINGS_TO_COHERE.request(of).body) == {"texts": ["a", "b"], "input_type": "search_query"}
    for body in (b'{"embeddings":[[1.0],[2.0]]}', b'{"embeddings":{"float":[[1.0],[2.0]],"int8":[[1]]}}'):
        data = json.loads(EMBEDDINGS_TO_COHERE.response(of, body).body)["data"]
        assert data[0]["embedding"] == "AACAPw=="
    with pytest.raises(BadAnswer):
        EMBEDDINGS_TO_COHERE.response(of, b'{"embeddings":[[1.0]]}')
