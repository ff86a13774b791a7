"""From values of the file to types: small readers that tables (`schema`) are made of.

A reader takes the `Source`, a value and its path, and returns what it read, or UNSET after reporting why not. Messages
never repeat a value, because any value may be a secret written into the wrong line; names of keys they do repeat.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import UNSET

from proxy.config import hosts
from proxy.config.near import hint
from proxy.config.tree import Problems, Value
from proxy.ports import Secret

Place = tuple[int, int]


class Source:
    """The file being read: where it lies, what surrounds it, what was found in it."""

    __slots__ = ("digest", "environ", "files", "folder", "problems")

    def __init__(self, folder: Path, environ: Mapping[str, str], problems: Problems) -> None:
        self.folder = folder
        self.environ = environ
        self.problems = problems
        self.digest = hashlib.sha256()
        self.files: list[Path] = []
        """The files that secrets were read from."""

    def bad(self, value: Value, path: str, message: str) -> Any:
        """Reports a value, and gives UNSET."""
        self.problems.find(value.at, path, message)
        return UNSET

    def expected(self, wanted: str, value: Value, path: str) -> Any:
        """Reports a value of the wrong kind (unless it is broken, which is reported already), and gives UNSET."""
        return UNSET if value.broken else self.bad(value, path, f"expected {wanted}, found {_kind(value.data)}")


Reader = Callable[[Source, Value, str], Any]


class Field(NamedTuple):
    """One key of a mapping: how its value is read, and whether it must be there."""

    read: Reader
    required: bool = False


def _kind(data: object) -> str:
    if data is None:
        return "nothing"
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a mapping"}
    return names.get(type(data), "a date" if isinstance(data, date) else "something else")


def record(table: Mapping[str, Field], build: Callable[..., Any]) -> Reader:
    """A mapping with these keys; `build` gets those that are there by keyword. Unknown keys are refused."""

    def read(source: Source, value: Value, path: str) -> Any:
        if not isinstance(value.data, dict):
            return source.expected("a mapping", value, path)
        given: dict[str, Any] = {}
        for key, item in value.data.items():
            field = table.get(key)
            where = f"{path}.{key}" if path else key
            if field is None:
                source.problems.find(value.keys[key], where, f"unknown key{hint(key, table)}")
            elif item.data is not None or item.replaced or item.broken:
                given[key] = field.read(source, item, where)
        for key, field in table.items():
            if field.required and key not in given:
                source.bad(value, f"{path}.{key}" if path else key, "is missing")
                given[key] = UNSET
        return UNSET if UNSET in given.values() else build(**given)

    return read


def listing(item: Reader) -> Reader:
    """A list whose items are each read by `item`, as a tuple of those that could be."""

    def read(source: Source, value: Value, path: str) -> Any:
        if not isinstance(value.data, list):
            return source.expected("a list", value, path)
        every = [item(source, element, f"{path}[{index}]") for index, element in enumerate(value.data)]
        return tuple(element for element in every if element is not UNSET)

    return read


def mapping(item: Reader, key: Callable[[str], str | None] | None = None) -> Reader:
    """A mapping of free keys, each value read by `item`. `key` says what is wrong with a key, if anything."""

    def read(source: Source, value: Value, path: str) -> Any:
        if not isinstance(value.data, dict):
            return source.expected("a mapping", value, path)
        given: dict[str, Any] = {}
        for name, element in value.data.items():
            fault = key(name) if key else None
            if fault:
                source.problems.find(value.keys[name], f"{path}.{name}", fault)
            given[name] = item(source, element, f"{path}.{name}")
        return {name: element for name, element in given.items() if element is not UNSET}

    return read


def text(source: Source, value: Value, path: str) -> Any:
    """Text. What came out of a reference is text whatever it looks like."""
    if value.replaced:
        return value.text
    if isinstance(value.data, str):
        return value.data
    if isinstance(value.data, int | float | date):
        return source.bad(value, path, f"expected text, found {_kind(value.data)}; put it in quotes")
    return source.expected("text", value, path)


def named(source: Source, value: Value, path: str) -> Any:
    """Text that is not empty."""
    given = text(source, value, path)
    return source.bad(value, path, "must not be empty") if given == "" else given


def matching(pattern: str, message: str) -> Reader:
    """Text that the regular expression matches whole."""
    compiled = re.compile(pattern)

    def read(source: Source, value: Value, path: str) -> Any:
        given = text(source, value, path)
        return given if given is UNSET or compiled.fullmatch(given) else source.bad(value, path, message)

    return read


def choice(names: Collection[str]) -> Reader:
    """One of these words."""

    def read(source: Source, value: Value, path: str) -> Any:
        given = text(source, value, path)
        if given is UNSET or given in names:
            return given
        return source.bad(value, path, f"unknown word{hint(given, names)}")

    return read


def flag(source: Source, value: Value, path: str) -> Any:
    """true or false."""
    return value.data if isinstance(value.data, bool) else source.expected("true or false", value, path)


def integer(low: int, high: int | None = None) -> Reader:
    """A whole number from `low` to `high`."""
    limits = f"at least {low}" if high is None else f"from {low} to {high}"

    def read(source: Source, value: Value, path: str) -> Any:
        if isinstance(value.data, bool) or not isinstance(value.data, int):
            return source.expected("a whole number", value, path)
        if value.data < low or (high is not None and value.data > high):
            return source.bad(value, path, f"must be {limits}")
        return value.data

    return read


def positive(source: Source, value: Value, path: str) -> Any:
    """A number above 0."""
    if isinstance(value.data, bool) or not isinstance(value.data, int | float):
        return source.expected("a number", value, path)
    return float(value.data) if 0 < value.data < math.inf else source.bad(value, path, "must be above 0")


_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def _quantity(value: Value, units: Mapping[str, float]) -> float | None:
    if isinstance(value.data, int | float) and not isinstance(value.data, bool):
        return float(value.data)
    match = _QUANTITY.fullmatch(value.data) if isinstance(value.data, str) else None
    unit = units.get(match[2].lower()) if match else None
    return None if match is None or unit is None else float(match[1]) * unit


def duration(source: Source, value: Value, path: str) -> Any:
    """Seconds, from `500ms`, `2s`, `1m`, `1h`, `7d` or a plain number of seconds."""
    seconds = _quantity(value, _SECONDS)
    if seconds is None:
        return source.expected("a duration such as 500ms, 2s or 1m", value, path)
    return seconds if 0 <= seconds < math.inf else source.bad(value, path, "must not be negative")


def size(source: Source, value: Value, path: str) -> Any:
    """Bytes, from `100MB` (millions), `64MiB` (2^20) or a plain number."""
    count = _quantity(value, _BYTES)
    if count is None:
        return source.expected("a size such as 100MB or 64MiB", value, path)
    return int(count) if 1 <= count < 2**63 else source.bad(value, path, "must be at least 1 byte")


def moment(source: Source, value: Value, path: str) -> Any:
    """Unix seconds, from an ISO date (the moment it begins, UTC), an ISO date and time, or a number."""
    data = value.data
    if isinstance(data, str):
        try:
            data = datetime.fromisoformat(data)
        except ValueError:
            return source.bad(value, path, "expected a date such as 2030-12-31 or 2030-12-31T12:00:00Z")
    if isinstance(data, datetime):
        return int((data if data.tzinfo else data.replace(tzinfo=UTC)).timestamp())
    if isinstance(data, date):
        return int(datetime(data.year, data.month, data.day, tzinfo=UTC).timestamp())
    if isinstance(data, int) and not isinstance(data, bool) and 0 < data < 2**53:
        return data
    return source.expected("a date or Unix seconds", value, path)


def secret_text(source: Source, value: Value, path: str) -> Any:
    """A credential as text: itself, or what `env:NAME` or `file:PATH` (relative to this file's folder) refers to."""
    given = text(source, value, path)
    if given is UNSET:
        return UNSET
    if given.startswith("env:"):
        return _from_environment(source, value, path, given[4:])
    if given.startswith("file:"):
        return _from_file(source, value, path, given[5:])
    return given


def secret(source: Source, value: Value, path: str) -> Any:
    """The same, wrapped so that nothing prints it."""
    given = secret_text(source, value, path)
    return given if given is UNSET else Secret(given)


def _from_environment(source: Source, value: Value, path: str, name: str) -> Any:
    found = source.environ.get(name)
    if not found:
        state = "not set" if found is None else "empty"
        return source.bad(value, path, f"the environment variable {name} is {state}")
    source.digest.update(f"{name}={len(found)}:{found}".encode(errors="surrogateescape"))
    return found


def _from_file(source: Source, value: Value, path: str, name: str) -> Any:
    file = source.folder / name
    source.files.append(file)
    try:
        found = file.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        return source.bad(value, path, f"the file {file} is not text")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a file name"
        return source.bad(value, path, f"the file {file} cannot be read: {reason}")
    if not found:
        return source.bad(value, path, f"the file {file} is empty")
    source.digest.update(f"{name}={len(found)}:{found}".encode())
    return found


def host_url(source: Source, value: Value, path: str) -> Any:
    """The URL of a provider. Private addresses are the operator's to name; metadata services are not."""
    given = text(source, value, path)
    fault = None if given is UNSET else hosts.fault(given)
    return source.bad(value, path, f"no usable URL: {fault}") if fault else given


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FRAMING = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"})


def header_fault(name: str) -> str | None:
    """What is wrong with a header's name, or None."""
    if not _TOKEN.fullmatch(name):
        return "is no header name"
    return "belongs to the gateway and cannot be set" if name.lower() in _FRAMING else None


def header_value(source: Source, value: Value, path: str) -> Any:
    """The value of a header; it may be a credential, so references work here too."""
    given = secret_text(source, value, path)
    if given is UNSET or all(" " <= character <= "ÿ" and character != "\x7f" for character in given):
        return given
    return source.bad(value, path, "has characters that no header can carry")


UNREADABLE = "…"
"""Stands in a plain value for what could not be read, so that nothing else is found wrong because of it."""


def plain(source: Source, value: Value, path: str, secrets: Collection[str], texts: Collection[str]) -> Any:
    """The value as JSON would have it. Keys among `secrets` are read as credentials, those among `texts` as text."""
    if value.broken:
        return UNREADABLE
    if isinstance(value.data, dict):
        return {
            key: _plain_item(source, key, item, f"{path}.{key}", secrets, texts) for key, item in value.data.items()
        }
    if isinstance(value.data, list):
        return [plain(source, item, f"{path}[{index}]", secrets, texts) for index, item in enumerate(value.data)]
    if isinstance(value.data, date):
        return value.data.isoformat()
    finite = not isinstance(value.data, float) or math.isfinite(value.data)
    if finite and isinstance(value.data, str | int | float | bool | None):
        return value.data
    source.bad(value, path, "is nothing that JSON could say")
    value.broken = True
    return UNREADABLE


def _plain_item(
    source: Source, key: str, item: Value, path: str, secrets: Collection[str], texts: Collection[str]
) -> Any:
    if item.replaced and key in texts:
        return item.text
    if key not in secrets or not (item.replaced or isinstance(item.data, str)):
        return plain(source, item, path, secrets, texts)
    found = secret_text(source, item, path)
    item.broken = found is UNSET
    return UNREADABLE if item.broken else found
