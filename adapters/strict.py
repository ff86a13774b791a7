"""Which JSON schemas OpenAI holds a model to: those that are `strict`, which not every schema can be.

https://developers.openai.com/api/docs/guides/structured-outputs#supported-schemas

Anthropic and Gemini hold their models to any schema that they take. Where a client counts on that, OpenAI is asked for
the same wherever the schema allows it, and none is changed so that it asks for something else. Anthropic's say
themselves that their objects are closed. Gemini's models write what is declared and nothing else, so that an object
which does not say so is closed all the same; and a property that may be null may as well be there (`closed`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw

from adapters.reading import Dropped
from adapters.values import UNREADABLE

_any = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

_NOTES = frozenset(("title", "description", "$schema"))
_WORDS = _NOTES | frozenset(
    ("type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "$defs",
     "definitions", "pattern", "format", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum",
     "minItems", "maxItems")
)  # fmt: skip
"""Keywords that such a schema may have; a reference stands alone."""
_FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")
_DEEPEST = 10
_MOST_PROPERTIES = 5000
_MOST_VALUES = 1000
_MOST_CHARACTERS = 120_000


def fits(schema: Raw) -> bool:
    """Whether OpenAI takes the schema as strict: an object at its root, every object closed and every property of it
    required, no keyword that it does not know, and within its bounds."""
    try:
        root = _any(schema)
        size = _Size()
        return isinstance(root, dict) and root.get("type") == "object" and "anyOf" not in root and _fits(root, size, 0)
    except (*UNREADABLE, TypeError, AttributeError):
        # No schema at all: something in it is of another type than it must be.
        return False


def closed(schema: Raw) -> Raw | None:
    """Gemini's schema as OpenAI takes it as strict; None where it does not, or would ask for something else."""
    if fits(schema):
        return schema
    try:
        made = Raw(_encode(_close(_any(schema), root=True)))
    except (*UNREADABLE, TypeError, AttributeError):
        return None
    return made if fits(made) else None


def _close(node: Any, root: bool = False) -> Any:
    """The schema with every object of named properties closed. A function without parameters has none either."""
    if not isinstance(node, dict):
        return node
    made: dict[str, Any] = {}
    for name, value in node.items():
        if name in ("properties", "$defs", "definitions"):
            made[name] = {key: _close(each) for key, each in value.items()}
        elif name == "anyOf":
            made[name] = [_close(each) for each in value]
        else:
            made[name] = _close(value) if name == "items" else value
    properties = made.get("properties")
    if properties or (root and properties is not None):
        made.setdefault("additionalProperties", False)
        required = list(made.get("required", ()))
        nullable = [name for name, each in properties.items() if _is_nullable(each)]
        known = frozenset(required)
        for name in nullable:
            # It is what leaving the property out means.
            properties[name].pop("default", None)
        made["required"] = required + [name for name in nullable if name not in known]
    return made


def _is_nullable(node: Any) -> bool:
    """Whether null is among a property's values, and is what it is when nothing is said of it."""
    if not isinstance(node, dict) or node.get("default") is not None:
        return False
    kinds = node.get("type")
    return "null" in (kinds if isinstance(kinds, list) else [kinds]) or any(
        isinstance(each, dict) and each.get("type") == "null" for each in node.get("anyOf", ())
    )


def kept_to(
    schema: Raw, strict: bool | None, dropped: Dropped, name: str = "response_format.json_schema.strict"
) -> bool | None:
    """What to say as `strict` of a chat's schema where a client of another dialect counts on it being kept to: that it
    is not is named."""
    if strict and not fits(schema):
        dropped.add(name)
        return None
    return strict


class _Size:
    """What a schema has of all that is bounded."""

    __slots__ = ("characters", "properties", "values")

    def __init__(self) -> None:
        self.characters = self.properties = self.values = 0

    def add(self, words: Iterable[Any]) -> None:
        self.characters += sum(len(word) for word in words if isinstance(word, str))

    @property
    def fits(self) -> bool:
        return (
            self.properties <= _MOST_PROPERTIES and self.values <= _MOST_VALUES and self.characters <= _MOST_CHARACTERS
        )


def _fits(node: Any, size: _Size, depth: int) -> bool:
    if not isinstance(node, dict):
        return False
    if "$ref" in node:
        return len(node) == 1
    kinds = node.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if not node.keys() <= _WORDS or ("anyOf" not in node and kinds == [None]):
        return False
    values = [*node.get("enum", ()), *([node["const"]] if "const" in node else ())]
    size.values += len(values)
    size.add(values)
    if "format" in node and node["format"] not in _FORMATS:
        return False
    if ("object" in kinds or "properties" in node) and not _is_closed(node, size, depth):
        return False
    if ("array" in kinds or "items" in node) and not _fits(node.get("items"), size, depth):
        return False
    named = [node.get(name, {}) for name in ("$defs", "definitions")]
    size.add(name for each in named for name in each)
    inner = [*node.get("anyOf", ()), *(value for each in named for value in each.values())]
    return size.fits and all(_fits(each, size, depth) for each in inner)


def _is_closed(node: dict[str, Any], size: _Size, depth: int) -> bool:
    """Whether an object has the properties that it names, and must have them all."""
    properties = node.get("properties", {})
    if node.get("additionalProperties") is not False or depth >= _DEEPEST:
        return False
    if set(node.get("required", ())) != set(properties):
        return False
    size.properties += len(properties)
    size.add(properties)
    return all(_fits(each, size, depth + 1) for each in properties.values())
