"""A client that is promised answers of its schema gets them wherever OpenAI can promise them, or is told that not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

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
        assert sent(client, Dialect.ANTHROPIC_MESSAGES, "claude-sonnet-4-5", body(OPEN)).dropped == ()
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
