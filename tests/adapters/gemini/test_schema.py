from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from adapters.errors import InvalidRequest
from adapters.gemini.schema import normalized

CORPUS: dict[str, tuple[Any, Any]] = {
    "pydantic": (
        {
            "$defs": {"A": {"type": "object", "properties": {"b": {"$ref": "#/$defs/A"}}}},
            "properties": {"a": {"$ref": "#/$defs/A"}, "n": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
            "additionalProperties": False,
            "type": "object",
        },
        None,
    ),
    "a list of types": ({"type": ["string", "null"]}, None),
    "words that Gemini ignores": ({"type": "string", "pattern": "a", "minLength": 1, "format": "uri"}, None),
    "zod": (
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": {"kind": {"const": "a"}, "count": {"type": "integer", "exclusiveMinimum": 0}},
        },
        {
            "type": "object",
            "properties": {"kind": {"type": "string", "enum": ["a"]}, "count": {"type": "integer", "minimum": 1}},
        },
    ),
    "a constant that is true": (
        {"const": True, "description": "Agreed."},
        {"type": "boolean", "description": 'Agreed.\n\n{"const":true}'},
    ),
    "a constant that is a list": ({"const": [1]}, {"type": "array", "description": '{"const":[1]}'}),
    "a constant that is nothing": ({"const": None}, {"type": "null"}),
    "a constant that is a number": ({"const": 1.5}, {"type": "number", "enum": [1.5]}),
    "numbers to choose from": ({"type": "integer", "enum": [1, 2]}, None),
    "no words to choose from": ({"enum": [1, False]}, {"description": '{"enum":[1,false]}'}),
    "a bound between numbers stays": ({"type": "number", "exclusiveMinimum": 0}, None),
    "older definitions": (
        {"definitions": {"A": {"type": "string"}}, "items": {"$ref": "#/definitions/A"}},
        {"$defs": {"A": {"type": "string"}}, "items": {"$ref": "#/$defs/A"}},
    ),
    "a reference with a description": (
        {"properties": {"a": {"$ref": "#/$defs/A", "description": "x"}}},
        {"properties": {"a": {"anyOf": [{"$ref": "#/$defs/A"}], "description": "x"}}},
    ),
    "all of one": ({"allOf": [{"type": "string"}], "title": "T"}, {"type": "string", "title": "T"}),
    "all of several": (
        {
            "allOf": [
                {"properties": {"a": {"type": "string"}}, "required": ["a"]},
                {"properties": {"b": {"type": "string"}}, "required": ["b"]},
            ],
            "type": "object",
        },
        {
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
            "required": ["a", "b"],
            "type": "object",
        },
    ),
    "OpenAPI's nullable": ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
    "properties by these names": (
        {"properties": {"const": {"type": "string"}, "$ref": {"type": "string"}, "nullable": {"type": "string"}}},
        None,
    ),
    "data that looks like a schema": ({"type": "object", "default": {"const": 1, "$schema": "x"}}, None),
}


@pytest.mark.parametrize("name", CORPUS)
def test_schemas_are_sent_as_gemini_reads_them(name: str) -> None:
    given, wanted = CORPUS[name]
    raw = Raw(json.dumps(given, indent=1).encode())
    made = normalized(raw, "schema")
    if wanted is None:
        assert bytes(made) == bytes(raw)
    else:
        assert json.loads(bytes(made)) == wanted


def test_a_schema_without_bottom_is_refused_by_its_path() -> None:
    deep = b'{"not":' * 300 + b'{"const":1}' + b"}" * 300
    with pytest.raises(InvalidRequest) as caught:
        normalized(Raw(deep), "tools[0].function.parameters")
    assert caught.value.param == "tools[0].function.parameters"
