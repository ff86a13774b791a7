"""JSON schemas as Gemini takes them.

Google's `parametersJsonSchema` and `responseJsonSchema` take JSON Schema itself, `$ref`, `additionalProperties` and
lists of types included, and ignore what they do not know; so nearly every schema crosses byte for byte. The older
`parameters` and `responseSchema`, which refuse a request for one unknown word, are not used. What is rewritten are the
few words that Google documents or is known to read otherwise: `const`, `allOf`, `definitions`, `nullable`, exclusive
bounds of integers, and a `$ref` that has something beside it. Its `enum` is for strings and numbers; other values that
a schema allows are told in its description.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw

from adapters.errors import InvalidRequest
from adapters.values import UNREADABLE

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode

_REWRITTEN = re.compile(
    rb'"(\$ref|\$schema|const|allOf|definitions|nullable|exclusiveM\w+)"|"enum"\s*:\s*\[[^\]"]*[tf{[]'
)

_DEEPEST = 100
"""Levels of a schema that are looked at; what lies deeper is refused."""

_VALUES = frozenset(("default", "enum", "const", "example", "examples", "required"))
"""Members whose values are data, not schemas."""
_NAMED = frozenset(("properties", "$defs", "definitions", "patternProperties", "dependentSchemas"))
"""Members whose values map the client's own names to schemas."""


def normalized(schema: Raw, path: str) -> Raw:
    """The schema as it is sent: the same bytes where nothing needs rewriting. Raises InvalidRequest."""
    if _REWRITTEN.search(bytes(schema)) is None:
        return schema
    try:
        whole = _decode(schema)
        made = _schema(whole, 0, path)
    except UNREADABLE as error:
        raise InvalidRequest("The schema is not a JSON object.", path) from error
    return schema if made == whole else Raw(_encode(made))


def _schema(node: Any, depth: int, path: str) -> Any:
    if depth > _DEEPEST:
        raise InvalidRequest("The schema is nested too deeply.", path)
    if isinstance(node, list):
        return [_schema(each, depth + 1, path) for each in node]
    if not isinstance(node, dict):
        return node
    made: dict[str, Any] = {}
    for name, value in node.items():
        if name == "$schema":
            continue
        if name in _VALUES:
            made[name] = value
        elif name in _NAMED and isinstance(value, dict):
            made["$defs" if name == "definitions" else name] = {
                key: _schema(each, depth + 1, path) for key, each in value.items()
            }
        elif name == "$ref" and isinstance(value, str):
            made[name] = value.replace("#/definitions/", "#/$defs/")
        else:
            made[name] = _schema(value, depth + 1, path)
    for rewrite in (_all_of, _const, _enum, _bounds, _nullable, _reference):
        made = rewrite(made)
    return made


def _all_of(node: dict[str, Any]) -> dict[str, Any]:
    """One schema for several that must all hold: their properties together. Others, which none of Google's models
    reads, stay as they are."""
    parts = node.get("allOf")
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        return node
    rest = {name: value for name, value in node.items() if name != "allOf"}
    if len(parts) == 1 and not rest.keys() & parts[0].keys():
        return {**parts[0], **rest}
    if any("$ref" in part for part in parts):
        return node
    merged: dict[str, Any] = {}
    for part in (*parts, rest):
        for name, value in part.items():
            known = merged.get(name)
            if name == "properties" and isinstance(known, dict) and isinstance(value, dict):
                merged[name] = {**known, **value}
            elif name == "required" and isinstance(known, list) and isinstance(value, list):
                merged[name] = list(dict.fromkeys([*known, *value]))
            else:
                merged[name] = value
    return merged


_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),
    (str, "string"),
    (int, "integer"),
    (float, "number"),
    (dict, "object"),
    (list, "array"),
    (type(None), "null"),
)
_ENUMERABLE = ("string", "integer", "number")


def _type_of(value: Any) -> str:
    return next(name for kind, name in _TYPES if isinstance(value, kind))


def _const(node: dict[str, Any]) -> dict[str, Any]:
    if "const" not in node:
        return node
    value, name = node["const"], _type_of(node["const"])
    if name in _ENUMERABLE:
        made = {**node, "enum": [value]}
        del made["const"]
    else:
        made = _described(node, "const", name != "null")
    made.setdefault("type", name)
    return made


def _enum(node: dict[str, Any]) -> dict[str, Any]:
    values = node.get("enum")
    if not isinstance(values, list) or all(value is None or _type_of(value) in _ENUMERABLE for value in values):
        return node
    return _described(node, "enum", True)


def _described(node: dict[str, Any], word: str, told: bool) -> dict[str, Any]:
    """The schema without one of its words, which stands in the description if it is `told`."""
    made = {name: each for name, each in node.items() if name != word}
    if told:
        before = node.get("description")
        made["description"] = (f"{before}\n\n" if before else "") + _encode({word: node[word]}).decode()
    return made


def _bounds(node: dict[str, Any]) -> dict[str, Any]:
    """An exclusive bound of integers said as an inclusive one."""
    if node.get("type") != "integer":
        return node
    for exclusive, inclusive, step in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
        value = node.get(exclusive)
        if isinstance(value, int) and not isinstance(value, bool) and inclusive not in node:
            node = {name: each for name, each in node.items() if name != exclusive}
            node[inclusive] = value + step
    return node


def _nullable(node: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI's word for what JSON Schema says with the type `null`."""
    if not isinstance(node.get("nullable"), bool):
        return node
    made = {name: each for name, each in node.items() if name != "nullable"}
    kind = made.get("type")
    if node["nullable"] and isinstance(kind, str) and kind != "null":
        made["type"] = [kind, "null"]
    return made


def _reference(node: dict[str, Any]) -> dict[str, Any]:
    """Google takes nothing beside a `$ref` but what begins with a `$`."""
    if "$ref" not in node or all(name[:1] == "$" for name in node):
        return node
    made = {name: each for name, each in node.items() if name != "$ref"}
    made["anyOf"] = [{"$ref": node["$ref"]}]
    return made
