"""A client that is promised answers of its schema gets them wherever OpenAI can promise them, or is told that not."""

from __future__ import annotations

import json
from typing import Any, Literal

import httpx
import pytest
from google import genai
from google.genai import types as google
from msgspec import Raw
from pydantic import BaseModel, Field

from adapters import strict
from adapters.registry import codec
from adapters.types import Call, Dialect, Outbound

A = {"type": "string"}
CLOSED = {"type": "object", "properties": {"a": A}, "required": ["a"], "additionalProperties": False}
OPEN = {**CLOSED, "additionalProperties": True}


def around(*properties: dict[str, Any]) -> dict[str, Any]:
    named = {f"p{at}": each for at, each in enumerate(properties)}
    return {"type": "object", "properties": named, "required": list(named), "additionalProperties": False}


def nested(depth: int) -> dict[str, Any]:
    return around(nested(depth - 1)) if depth else around(A)


@pytest.mark.parametrize(
    ("schema", "fits"),
    [
        (CLOSED, True),
        ({**CLOSED, "title": "T", "description": "d", "$schema": "s", "$defs": {"b": CLOSED}}, True),
        (around({"type": ["string", "null"]}, {"type": "array", "items": CLOSED, "minItems": 1}), True),
        (around({"anyOf": [A, CLOSED]}, {"$ref": "#"}, {"type": "string", "format": "uuid", "pattern": "a"}), True),
        (around({"type": "string", "enum": ["a", "b"]}, {"type": "integer", "minimum": 1}), True),
        (nested(9), True),
        (nested(10), False),
        (OPEN, False),
        ({**CLOSED, "required": []}, False),
        ({**CLOSED, "anyOf": [CLOSED]}, False),
        ({"type": "array", "items": CLOSED}, False),
        ({"type": "object"}, False),
        (around(OPEN), False),
        (around({"anyOf": [A, OPEN]}), False),
        ({**CLOSED, "$defs": {"b": OPEN}}, False),
        (around({"type": "array"}), False),
        (around({"type": "array", "items": [A]}), False),
        (around({}), False),
        (around({"enum": ["a"]}), False),
        (around({"type": "string", "minLength": 1}), False),
        (around({"type": "string", "format": "uri"}), False),
        (around({"type": "string", "default": "a"}), False),
        (around({"$ref": "#", "description": "d"}), False),
        (around({"allOf": [CLOSED]}), False),
        (around({"type": "integer", "enum": list(range(1001))}), False),
        ({**CLOSED, "properties": 3}, False),
        ({**CLOSED, "required": [{}]}, False),
        ([CLOSED], False),
    ],
)
def test_a_schema_is_strict_only_as_openai_takes_it(schema: Any, fits: bool) -> None:
    assert strict.fits(Raw(json.dumps(schema).encode())) is fits


def test_a_schema_of_any_depth_is_looked_at_in_bounds() -> None:
    assert not strict.fits(Raw(b'{"a":' * 100_000 + b"1" + b"}" * 100_000))


MAYBE = {"type": ["string", "null"]}
EITHER = {"anyOf": [A, {"type": "null"}], "default": None}
NAMED = {"type": "object", "properties": {"a": A, "b": MAYBE, "c": EITHER}, "required": ["a"], "title": "N"}
HELD = {
    **NAMED,
    "properties": {"a": A, "b": MAYBE, "c": {"anyOf": EITHER["anyOf"]}},
    "required": ["a", "b", "c"],
    "additionalProperties": False,
}


def some(schema: dict[str, Any]) -> dict[str, Any]:
    """An object around others, in a list and by name."""
    items = {"type": "array", "items": schema}
    return {
        "type": "object",
        "$defs": {"n": schema},
        "properties": {"s": {"anyOf": [schema, A]}, "i": items, "r": {"$ref": "#/$defs/n"}},
        "required": ["s", "i", "r"],
    }


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        (CLOSED, CLOSED),
        (NAMED, HELD),
        (some(NAMED), {**some(HELD), "additionalProperties": False}),
        ({"type": "object", "properties": {}}, {"type": "object", "properties": {}, "additionalProperties": False}),
        ({"type": "object"}, None),
        (OPEN, None),
        ({"type": "object", "properties": {"a": A}}, None),
        ({"type": "object", "properties": {"a": {**MAYBE, "default": "b"}}}, None),
        ({"type": "object", "properties": {"a": {"type": "object", "properties": {}}}, "required": ["a"]}, None),
        ({"type": "array", "items": CLOSED}, None),
        ({"type": "object", "properties": 3}, None),
        ({"type": "object", "properties": {"a": A}, "required": 3}, None),
        ([], None),
    ],
)
def test_what_gemini_leaves_unsaid_is_said_only_where_it_means_the_same(schema: Any, made: Any) -> None:
    found = strict.closed(Raw(json.dumps(schema).encode()))
    told = None if found is None else json.loads(bytes(found))
    if told is not None and not told.get("required", True):
        del told["required"]
    assert told == made


def test_a_schema_of_any_depth_is_closed_in_bounds() -> None:
    assert strict.closed(Raw(b'{"items":' * 100_000 + b"1" + b"}" * 100_000)) is None


class Inner(BaseModel):
    tags: list[str]


class Port(BaseModel):
    """A port."""

    name: str = Field(description="its name")
    inner: Inner
    nick: str | None = None
    kind: Literal["a", "b"]


def pages(port: str, inner: Inner, most: int | None) -> list[str]:
    """Looks pages up."""
    raise NotImplementedError


def days(port: str, most: int = 3) -> str:
    """Counts."""
    raise NotImplementedError


def of_sdk(**config: Any) -> dict[str, Any]:
    """What google-genai sends."""
    bodies = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(200, json={"candidates": [{"content": {"parts": [{"text": "{}"}], "role": "model"}}]})

    client = httpx.Client(transport=httpx.MockTransport(answer))
    sdk = genai.Client(api_key="k", http_options=google.HttpOptions(httpx_client=client))
    sdk.models.generate_content(model="m", contents="hi", config=google.GenerateContentConfig(**config))
    (body,) = bodies
    return dict(body)


OPENAIS = [Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES, Dialect.MISTRAL_CHAT]


@pytest.mark.parametrize("upstream", OPENAIS)
def test_google_s_own_sdk_has_its_schemas_kept_to(upstream: Dialect) -> None:
    as_json = {"response_mime_type": "application/json"}
    for schema in ({"response_schema": Port}, {"response_json_schema": Port.model_json_schema()}):
        out = sent(Dialect.GEMINI_GENERATE, upstream, "some-model", of_sdk(**as_json, **schema))
        wanted, kept = asked(out)
        assert (kept, out.dropped) == (True, ())
        assert set(wanted["required"]) == set(wanted["properties"])


@pytest.mark.parametrize("mode", ["AUTO", "ANY", "VALIDATED"])
@pytest.mark.parametrize("upstream", [*OPENAIS, Dialect.ANTHROPIC_MESSAGES])
def test_arguments_are_kept_to_their_schemas_where_gemini_promises_it(upstream: Dialect, mode: str) -> None:
    config = {
        "tool_config": {"function_calling_config": {"mode": mode}},
        "automatic_function_calling": {"disable": True},
    }
    promised = mode != "AUTO"
    body = of_sdk(tools=[pages], **config)
    out = sent(Dialect.GEMINI_GENERATE, upstream, "claude-sonnet-4-5", body)
    assert (b'"strict":true' in out.body, out.dropped) == (promised, ())
    assert b"It gives back JSON" in out.body
    out = sent(Dialect.GEMINI_GENERATE, upstream, "claude-sonnet-4-5", of_sdk(tools=[days], **config))
    # A default is not the same as null.
    kept = promised and upstream is Dialect.ANTHROPIC_MESSAGES
    named = () if kept or not promised else ("toolConfig.functionCallingConfig.mode",)
    assert (b'"strict":true' in out.body, out.dropped) == (kept, named)


def test_so_many_functions_that_anthropic_might_refuse_them_are_not_held_but_named() -> None:
    config = {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}
    body = gemini("responseSchema", CLOSED) | config
    for count in (8, 9):
        body["tools"] = [{"functionDeclarations": [{"name": f"f{at}"} for at in range(count)]}]
        out = sent(Dialect.GEMINI_GENERATE, Dialect.ANTHROPIC_MESSAGES, "claude-sonnet-4-5", body)
        assert out.dropped == (("toolConfig.functionCallingConfig.mode",) if count > 8 else ())


def test_what_a_function_gives_back_is_named_where_no_description_holds_it() -> None:
    answer = {"type": "STRING", "description": "d" * 1000}
    body = gemini("responseSchema", CLOSED) | {"tools": [{"functionDeclarations": [{"name": "f", "response": answer}]}]}
    out = sent(Dialect.GEMINI_GENERATE, Dialect.OPENAI_CHAT, "m", body)
    assert out.dropped == ("tools[].functionDeclarations[].response",)


def gemini(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    config = {"responseMimeType": "application/json", name: schema}
    return {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": config}


def messages(fields: dict[str, Any]) -> dict[str, Any]:
    return {"max_tokens": 5000, "messages": [{"role": "user", "content": "hi"}], **fields}


def format_of(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "schema": schema}


CLIENTS = {
    "generationConfig.responseSchema": (Dialect.GEMINI_GENERATE, lambda schema: gemini("responseSchema", schema)),
    "generationConfig.responseJsonSchema": (
        Dialect.GEMINI_GENERATE,
        lambda schema: gemini("responseJsonSchema", schema),
    ),
    "output_config.format": (
        Dialect.ANTHROPIC_MESSAGES,
        lambda schema: messages({"output_config": {"format": format_of(schema)}}),
    ),
    "output_format": (Dialect.ANTHROPIC_MESSAGES, lambda schema: messages({"output_format": format_of(schema)})),
}


def sent(client: Dialect, upstream: Dialect, model: str, body: dict[str, Any]) -> Outbound:
    return codec(client, upstream).request(Call(client, model, False, json.dumps(body).encode(), "id", 0))


def asked(out: Outbound) -> Any:
    body = json.loads(out.body)
    wanted = body["response_format"]["json_schema"] if "response_format" in body else body["text"]["format"]
    return wanted["schema"], wanted.get("strict") or None


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("upstream", [Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES, Dialect.MISTRAL_CHAT])
def test_openai_is_held_to_a_schema_that_it_takes_and_the_client_told_of_any_other(
    upstream: Dialect, name: str
) -> None:
    client, body = CLIENTS[name]
    out = sent(client, upstream, "some-model", body(CLOSED))
    assert (asked(out), out.dropped) == ((CLOSED, True), ())
    out = sent(client, upstream, "some-model", body(OPEN))
    assert (asked(out), out.dropped) == ((OPEN, None), (name,))


@pytest.mark.parametrize("name", CLIENTS)
def test_who_keeps_to_any_schema_is_told_of_all_and_who_to_none_is_named(name: str) -> None:
    client, body = CLIENTS[name]
    if client is Dialect.GEMINI_GENERATE:
        lost = sent(client, Dialect.ANTHROPIC_MESSAGES, "claude-sonnet-4-5", body(OPEN)).dropped
        assert lost == (f"{name}.additionalProperties",)
        assert sent(client, Dialect.ANTHROPIC_MESSAGES, "claude-3-haiku-20240307", body(OPEN)).dropped == (name,)
    else:
        assert sent(client, Dialect.GEMINI_GENERATE, "gemini-3-pro-preview", body(OPEN)).dropped == ()
    assert sent(client, Dialect.BEDROCK_CONVERSE, "anthropic.claude-3-haiku-20240307-v1:0", body(OPEN)).dropped == (
        name,
    )


def test_a_chat_client_that_asks_for_what_openai_refuses_is_told_so_by_openai() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": OPEN, "strict": True}}
    body = {"messages": [{"role": "user", "content": "hi"}], "response_format": wanted}
    out = sent(Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES, "o3-pro", body)
    assert (asked(out), out.dropped) == ((OPEN, True), ())
