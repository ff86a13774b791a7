"""What Claude can be held to: closed objects, and no word beyond those that its makers take."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from adapters.anthropic.schema import held
from tests.adapters.anthropic.conversation import outbound

TEXT = {"type": "string"}
REF = {"$ref": "#/$defs/A"}


def closed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def opened(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def told(schema: dict[str, Any]) -> tuple[Any, tuple[str, ...]] | None:
    found = held(Raw(json.dumps(schema).encode()))
    return None if found is None else (json.loads(bytes(found[0])), found[1])


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (opened(a=TEXT), closed(a=TEXT)),
        (opened(a=opened(b=TEXT)), closed(a=closed(b=TEXT))),
        (opened(a={"type": "array", "items": opened(b=TEXT)}), closed(a={"type": "array", "items": closed(b=TEXT)})),
        (opened(a={"oneOf": [TEXT, opened(b=TEXT)]}), closed(a={"anyOf": [TEXT, closed(b=TEXT)]})),
        ({"$schema": "x", **opened(a={**TEXT, "nullable": True})}, closed(a={"type": ["string", "null"]})),
        (
            {**opened(a={**REF, "description": "d"}), "$defs": {"A": opened(b=TEXT)}},
            {**closed(a={"description": "d", "anyOf": [REF]}), "$defs": {"A": closed(b=TEXT)}},
        ),
        ({**REF, "$defs": {"A": opened(b=TEXT)}}, {**REF, "$defs": {"A": closed(b=TEXT)}}),
    ],
)
def test_objects_of_named_members_are_closed(given: dict[str, Any], made: dict[str, Any]) -> None:
    assert told(given) == (made, ())


@pytest.mark.parametrize(
    ("given", "description", "words"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 9}, '{"minimum":1,"maximum":9}', ("minimum", "maximum")),
        ({**TEXT, "maxLength": 5, "description": "d"}, 'd\n\n{"maxLength":5}', ("maxLength",)),
        ({**TEXT, "format": "phone"}, '{"format":"phone"}', ("format",)),
        ({"type": "array", "items": TEXT, "minItems": 2}, '{"minItems":2}', ("minItems",)),
        ({**TEXT, "examples": ["x"]}, '{"examples":["x"]}', ()),
    ],
)
def test_what_nobody_makes_sure_of_is_told_and_named(
    given: dict[str, Any], description: str, words: tuple[str, ...]
) -> None:
    found = told(closed(a=given))
    assert found is not None
    assert (found[0]["properties"]["a"]["description"], found[1]) == (description, words)


def test_an_object_that_is_said_to_be_open_is_closed_and_that_is_named() -> None:
    assert told({**opened(a=TEXT), "additionalProperties": True}) == (closed(a=TEXT), ("additionalProperties",))


@pytest.mark.parametrize(
    "given",
    [
        closed(a=TEXT),
        closed(),
        closed(a={**TEXT, "format": "date", "pattern": "^a$", "enum": ["a"]}, b={"type": "array", "minItems": 1}),
        {**closed(a=REF), "$defs": {"A": closed(b=TEXT)}},
    ],
)
def test_a_schema_that_is_fit_crosses_byte_for_byte(given: dict[str, Any]) -> None:
    raw = Raw(json.dumps(given).encode())
    assert held(raw) == (raw, ())


@pytest.mark.parametrize(
    "given",
    [
        {"type": "object"},
        opened(a={"type": "object", "additionalProperties": TEXT}),
        opened(a={}),
        opened(a=True),
        {**opened(a=REF), "$defs": {"A": opened(b=REF)}},
        opened(a={"$ref": "#"}),
        opened(a={"$ref": "https://example.com/a.json"}),
        {"type": "array", "items": [TEXT], "properties": []},
    ],
)
def test_what_is_open_or_holds_itself_can_be_asked_for_in_words_alone(given: dict[str, Any]) -> None:
    assert told(given) is None
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": given}}
    sent = outbound(response_format=wanted)
    body = json.loads(sent.body)
    assert "output_config" not in body
    assert body["system"][0]["text"].endswith(json.dumps(given))
    assert sent.dropped == ("response_format",)


@pytest.mark.parametrize(
    ("parameters", "made", "dropped"),
    [
        (opened(a=TEXT), closed(a=TEXT), ()),
        (closed(a={"type": "integer", "minimum": 1}), None, ("tools[].function.strict",)),
        ({"type": "object"}, None, ("tools[].function.strict",)),
    ],
)
def test_a_tool_is_strict_where_its_schema_can_be_kept_whole(
    parameters: dict[str, Any], made: dict[str, Any] | None, dropped: tuple[str, ...]
) -> None:
    sent = outbound(tools=[{"type": "function", "function": {"name": "f", "strict": True, "parameters": parameters}}])
    tool = json.loads(sent.body)["tools"][0]
    assert (tool["input_schema"], tool.get("strict", False)) == (made or parameters, made is not None)
    assert sent.dropped == dropped


def test_a_bound_of_an_answer_is_named_by_its_word() -> None:
    schema = opened(a={"type": "integer", "minimum": 1})
    sent = outbound(response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}})
    assert sent.dropped == ("response_format.json_schema.schema.minimum",)
    made = json.loads(sent.body)["output_config"]["format"]["schema"]
    assert made == closed(a={"type": "integer", "description": '{"minimum":1}'})
