"""Google's own form of schemas, a subset of OpenAPI's with types in capitals, as JSON Schema."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from adapters.errors import InvalidRequest
from adapters.values import UNREADABLE

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode

_DEEPEST = 100
_LONGEST = 20
"""Digits that no count of protocol buffers has."""
_COUNTS = frozenset(("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"))
"""Counts that Google also takes as texts, as protocol buffers write large numbers."""
_DROPPED = frozenset(("propertyOrdering", "property_ordering", "nullable"))
_CAMEL = {
    "any_of": "anyOf", "min_items": "minItems", "max_items": "maxItems", "min_length": "minLength",
    "max_length": "maxLength", "min_properties": "minProperties", "max_properties": "maxProperties",
    "additional_properties": "additionalProperties",
}  # fmt: skip


def json_schema(schema: Raw) -> Raw:
    """The same as JSON Schema. Raises InvalidRequest where it is no object or too deep."""
    try:
        return Raw(_encode(_schema(_decode(schema), 0)))
    except UNREADABLE as error:
        raise InvalidRequest("The schema is not a JSON object.") from error


def _schema(node: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        raise InvalidRequest("The schema is nested too deeply.")
    if not isinstance(node, dict):
        return node
    made: dict[str, Any] = {}
    for given, value in node.items():
        name = str(_CAMEL.get(given, given))
        if name in _DROPPED:
            continue
        if name == "type" and isinstance(value, str):
            made[name] = value.lower()
        elif name == "properties" and isinstance(value, dict):
            made[name] = {key: _schema(each, depth + 1) for key, each in value.items()}
        elif name == "anyOf" and isinstance(value, list):
            made[name] = [_schema(each, depth + 1) for each in value]
        elif name in ("items", "additionalProperties"):
            made[name] = _schema(value, depth + 1)
        elif name in _COUNTS and isinstance(value, str) and value.isdecimal() and len(value) < _LONGEST:
            made[name] = int(value)
        elif not (name == "format" and value == "enum"):
            made[name] = value
    _order(made, node.get("propertyOrdering", node.get("property_ordering")))
    if made.get("type") == "type_unspecified":
        del made["type"]
    if node.get("nullable") is True:
        _allow_null(made)
    return made


def _order(made: dict[str, Any], names: Any) -> None:
    """Puts properties into the order that the answer's shall have: elsewhere they come as the schema lists them."""
    properties = made.get("properties")
    if isinstance(names, list) and isinstance(properties, dict):
        first = [name for name in names if isinstance(name, str) and name in properties]
        made["properties"] = {name: properties[name] for name in dict.fromkeys([*first, *properties])}


def _allow_null(made: dict[str, Any]) -> None:
    kind = made.get("type")
    enum, choices = made.get("enum"), made.get("anyOf")
    if isinstance(kind, str):
        made["type"] = [kind, "null"]
        if isinstance(enum, list):
            made["enum"] = [*enum, None]
    elif isinstance(choices, list):
        made["anyOf"] = [*choices, {"type": "null"}]
