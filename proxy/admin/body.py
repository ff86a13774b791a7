"""Request bodies: JSON to Structs, every fault named with its path and, for unknown keys, the nearest known one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from adapters.errors import Kind
from proxy.config.near import hint
from proxy.errors import Refused

T = TypeVar("T")

_TEXT_MAX = 5000
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_WHERE = re.compile(r"(.*?)(?: - at `(?:key in )?\$?\.?(.*?)`)?", re.DOTALL)


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a call that takes none: no body, or an empty object."""


def bad(path: str, message: str) -> Refused:
    """A 400 about one field."""
    return Refused(Kind.INVALID_REQUEST, f"{path}: {message}" if path else message, param=path or None)


def read(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; an empty body is an empty object. Raises `Refused` (400)."""
    if not body.strip():
        return {}
    try:
        raw = msgspec.json.decode(body)
    except RecursionError:
        raise bad("", "the body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise bad("", f"the body is not valid JSON: {error}") from None
    if not isinstance(raw, dict):
        raise bad("", "the body must be a JSON object")
    return raw


def parse(raw: dict[str, Any], shape: type[T], path: str = "", known: Iterable[str] = ()) -> T:
    """An object as a Struct. `known` are further keys worth naming to who mistyped one. Raises `Refused` (400)."""
    _refuse_unknown(raw, msgspec.inspect.type_info(shape), path, known)
    try:
        return msgspec.convert(raw, shape)
    except msgspec.ValidationError as error:
        match = _WHERE.fullmatch(str(error))
        message, inner = (match[1], match[2] or "") if match else (str(error), "")
        where = f"{path}.{inner}" if path and inner and not inner.startswith("[") else path + inner
        raise bad(where, message[:1].lower() + message[1:]) from None


def _refuse_unknown(value: Any, kind: msgspec.inspect.Type, path: str, known: Iterable[str] = ()) -> None:
    """Raises for the first key that no Struct at its place has."""
    if isinstance(kind, msgspec.inspect.UnionType):
        for member in kind.types:
            _refuse_unknown(value, member, path)
    elif isinstance(kind, msgspec.inspect.ListType) and isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_unknown(item, kind.item_type, f"{path}[{index}]")
    elif isinstance(kind, msgspec.inspect.StructType) and isinstance(value, dict):
        fields = {field.encode_name: field.type for field in kind.fields}
        for key, item in value.items():
            where = f"{path}.{key}" if path else str(key)
            if key not in fields:
                raise bad(where, f"unknown field{hint(str(key), [*fields, *known])}")
            _refuse_unknown(item, fields[key], where)


def given(body: msgspec.Struct) -> dict[str, Any]:
    """The fields that were in the body, null ones too."""
    return {name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET}


def text(value: str, path: str, *, empty: bool = False) -> str:
    """A name or a note. Raises `Refused` (400) when it is empty, too long or holds control characters."""
    if not empty and not value.strip():
        raise bad(path, "must not be empty")
    if len(value) > _TEXT_MAX or _CONTROL.search(value):
        raise bad(path, f"must be at most {_TEXT_MAX} characters, none of them control characters")
    return value


def moment(value: str | int | float | None, path: str) -> int | None:
    """Unix seconds from an ISO 8601 date and time (UTC unless it says otherwise) or a number of seconds."""
    if value is None or value == "":
        return None
    if isinstance(value, int | float):
        if 0 < value < 2**40:
            return int(value)
        raise bad(path, "expected Unix seconds or an ISO date such as 2030-12-31T12:00:00Z")
    try:
        read = datetime.fromisoformat(value)
        return int((read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise bad(path, "expected an ISO date such as 2030-12-31T12:00:00Z, or Unix seconds") from None


def iso(seconds: int | None) -> str | None:
    """A time as the SDKs read it."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
