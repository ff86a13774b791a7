"""The smallest value that a JSON schema accepts: the mock's JSON answers and tool arguments."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

_MAX_DEPTH = 16
_FORMATS = {
    "date-time": "2024-01-01T00:00:00Z",
    "date": "2024-01-01",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "email": "mock@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def instance(schema: Any, text: str) -> Any:
    """A deterministic value for `schema`; strings without a fixed form become `text`.

    Objects have their required properties (all of them where none is required), arrays their `minItems`.
    """
    return _Builder(schema, text).value(schema, 0)


class _Builder:
    def __init__(self, root: Any, text: str) -> None:
        self._root = root
        self._text = text
        self._makers: dict[str, Callable[[dict[str, Any], int], Any]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "integer": lambda schema, _: math.ceil(_lowest(schema)),
            "number": lambda schema, _: _lowest(schema),
            "boolean": lambda *_: False,
            "null": lambda *_: None,
        }

    def value(self, schema: Any, depth: int) -> Any:
        if not isinstance(schema, dict) or depth > _MAX_DEPTH:
            return None
        if "$ref" in schema:
            return self.value(self._resolve(schema["$ref"]), depth + 1)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        if isinstance(schema.get("allOf"), list):
            return self.value(_merged(schema["allOf"]), depth + 1)
        for key in ("anyOf", "oneOf"):
            if schema.get(key):
                return self.value(schema[key][0], depth + 1)
        return self._makers[_type(schema)](schema, depth)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        names = schema.get("required") or list(properties)
        return {name: self.value(properties.get(name, {"type": "string"}), depth + 1) for name in names}

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        return [self.value(schema.get("items", {}), depth + 1) for _ in range(schema.get("minItems", 0))]

    def _string(self, schema: dict[str, Any], _: int) -> str:
        text = _FORMATS.get(schema.get("format", ""), self._text)
        return text.ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength")]

    def _resolve(self, reference: str) -> Any:
        found = self._root
        for step in reference.removeprefix("#").split("/"):
            if step:
                found = found.get(step) if isinstance(found, dict) else None
        return found


def _type(schema: dict[str, Any]) -> str:
    declared = schema.get("type")
    if isinstance(declared, list):
        declared = next((name for name in declared if name != "null"), "null")
    if declared is None:
        declared = "object" if "properties" in schema else "string"
    return str(declared)


def _lowest(schema: dict[str, Any]) -> int | float:
    bound: int | float = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    lowest = bound + 1 if "exclusiveMinimum" in schema else bound
    return max(lowest, 0)


def _merged(schemas: list[Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for schema in schemas:
        for key, value in schema.items():
            known = merged.get(key)
            if isinstance(known, dict) and isinstance(value, dict):
                value = {**known, **value}
            elif isinstance(known, list) and isinstance(value, list):
                value = [*known, *value]
            merged[key] = value
    return merged
