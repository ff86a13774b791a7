"""JSON schemas to which Claude is held, at Anthropic and on Bedrock, where other models are held to the same.

Both refuse a request for one word of a schema beyond those they know, and want every object closed. So an object of
named members is closed, which asks for nothing that the schema does not allow; bounds that cannot be made sure of are
said in the description, as Anthropic's own SDK does it, and named. An object of any members, or a schema that holds
itself, cannot be said at all.

https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations and
https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from adapters.values import UNREADABLE

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode

_JSON_LINE = "Answer with one valid JSON object and nothing else: no prose around it and no code fence."

_KEPT = frozenset(
    ("type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "allOf", "$defs",
     "definitions", "title", "description", "default", "pattern")
)  # fmt: skip
_FORMATS = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
)  # fmt: skip
_SILENT = frozenset(("$schema", "$id", "$comment"))
"""What says nothing about an answer."""
_NOTES = frozenset(("examples", "example", "deprecated", "readOnly", "writeOnly", "propertyOrdering"))
"""What binds nobody: told, and no loss."""
_LOCAL = ("#/$defs/", "#/definitions/")


class _Loose(Exception):
    """The schema allows what cannot be said."""


def in_words(schema: Raw | None = None) -> str:
    """What the model is told where nobody makes sure of its answer's form."""
    if schema is None:
        return _JSON_LINE
    return f"{_JSON_LINE} It must fit this JSON schema:\n{bytes(schema).decode()}"


def held(schema: Raw) -> tuple[Raw, tuple[str, ...]] | None:
    """A schema, a JSON object, as models can be held to it, and the words of it that are only told; the same object
    where nothing is changed. None if they cannot be held to it."""
    try:
        whole = _decode(schema)
        words: dict[str, None] = {}
        made = _schema(whole, words)
        if _circles(made):
            return None
    except (_Loose, *UNREADABLE):
        return None
    return (schema if made == whole else Raw(_encode(made))), tuple(words)


def _schema(node: Any, words: dict[str, None]) -> dict[str, Any]:
    if not isinstance(node, dict):
        raise _Loose
    made: dict[str, Any] = {}
    told: dict[str, Any] = {}
    for name, value in node.items():
        if name in ("$defs", "definitions", "properties"):
            made[name] = {key: _schema(each, words) for key, each in _named(value).items()}
        elif name in ("anyOf", "allOf") or (name == "oneOf" and "anyOf" not in node):
            made["anyOf" if name == "oneOf" else name] = [_schema(each, words) for each in _listed(value)]
        elif name == "items":
            made[name] = _schema(value, words)
        elif name in _KEPT or _is_known(name, value):
            made[name] = value
        elif name not in _SILENT and name not in ("$ref", "nullable"):
            told[name] = value
            if name not in _NOTES:
                words[name] = None
    _refer(node, made)
    if node.get("nullable") is True and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    _close(made, words)
    if told:
        before = made.get("description")
        made["description"] = (f"{before}\n\n" if before else "") + _encode(told).decode()
    return made


def _is_known(name: str, value: Any) -> bool:
    if name == "format":
        return isinstance(value, str) and value in _FORMATS
    return name == "minItems" and value in (0, 1)


def _named(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Loose
    return value


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise _Loose
    return value


def _refer(node: dict[str, Any], made: dict[str, Any]) -> None:
    """A reference stands alone; beside something else it is one of one."""
    target = node.get("$ref")
    if target is None:
        return
    if not isinstance(target, str) or not target.startswith(_LOCAL):
        raise _Loose
    if made.keys() <= {"$defs", "definitions"} and len(node) == 1 + len(made):
        made["$ref"] = target
    else:
        made.setdefault("anyOf", [{"$ref": target}])


def _close(made: dict[str, Any], words: dict[str, None]) -> None:
    kind = made.get("type")
    if not made.keys() & {"type", "anyOf", "allOf", "enum", "const", "$ref"}:
        raise _Loose
    if kind != "object" and not (isinstance(kind, list) and "object" in kind) and "properties" not in made:
        return
    open_to = made.get("additionalProperties", True)
    if open_to is False:
        return
    if open_to is not True or not made.get("properties"):
        # Members of any name, which a closed object would not have.
        raise _Loose
    if "additionalProperties" in made:
        # Said aloud, and not just left open.
        words["additionalProperties"] = None
    made["additionalProperties"] = False


def _circles(root: dict[str, Any]) -> bool:
    """Whether a definition holds itself."""
    named = {f"#/{at}/{key}": each for at in ("$defs", "definitions") for key, each in root.get(at, {}).items()}
    edges = {key: _references(each) for key, each in named.items()}
    done: set[str] = set()

    def visit(key: str, above: tuple[str, ...]) -> bool:
        if key in above:
            return True
        if key in done:
            return False
        done.add(key)
        return any(visit(each, (*above, key)) for each in edges.get(key, ()))

    return any(visit(key, ()) for key in edges)


def _references(node: Any) -> set[str]:
    if isinstance(node, list):
        return {found for each in node for found in _references(each)}
    if not isinstance(node, dict):
        return set()
    own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
    return own | {found for each in node.values() for found in _references(each)}
