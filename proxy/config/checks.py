"""Checks of plain values, in the words of the field: `Expected string, received number`.

A check takes an `Examiner`, a value and its path, and returns what it read, or UNSET after reporting why not. Tables of
checks by key make records.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from msgspec import UNSET

from proxy.config.near import hint

Path = tuple[str | int, ...]


class Finding(NamedTuple):
    """One thing wrong (or, as a warning, odd) and where: keys and list indexes from the root."""

    path: Path
    message: str
    unknown: bool = False
    """True: nobody knows this key. Requests may carry such keys, the configuration file may not."""

    def __str__(self) -> str:
        return f"path: {','.join(map(str, self.path))}, message: {self.message}"


class Examiner:
    """Collects what is found. Checks return the value they read, or UNSET after reporting why not."""

    __slots__ = ("findings", "warnings")

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.warnings: list[Finding] = []

    def bad(self, path: Path, message: str) -> Any:
        self.findings.append(Finding(path, message))
        return UNSET

    def warn(self, path: Path, message: str, *, unknown: bool = False) -> None:
        self.warnings.append(Finding(path, message, unknown))

    def expected(self, wanted: str, value: object, path: Path) -> Any:
        return self.bad(path, f"Expected {wanted}, received {_kind(value)}")


Check = Callable[[Examiner, Any, Path], Any]


def _kind(value: object) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return "null" if value is None else names.get(type(value), "something else")


_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")
_SPELLINGS = {"use_retry_after_headers": "use_retry_after_header"}


def _canonical(key: object) -> str:
    name = _CAPITAL.sub(r"_\1", str(key)).lower() if isinstance(key, str) and not key.islower() else str(key)
    return _SPELLINGS.get(name, name)


def record(x: Examiner, value: Any, path: Path, table: Mapping[str, Check]) -> Any:
    """An object's values by canonical key (snake_case). Unknown keys are warned about and left out; so are nulls."""
    if not isinstance(value, dict):
        return x.expected("object", value, path)
    given: dict[str, Any] = {}
    for key, item in value.items():
        name = _canonical(key)
        check = table.get(name)
        if check is None:
            x.warn((*path, str(key)), f"unknown key{hint(str(key), table)}", unknown=True)
        elif name in given:
            x.warn((*path, str(key)), f"'{name}' is given twice; this one is not used")
        elif item is not None:
            given[name] = check(x, item, (*path, str(key)))
    return {name: item for name, item in given.items() if item is not UNSET}


def text(x: Examiner, value: Any, path: Path) -> Any:
    """Any string."""
    return value if isinstance(value, str) else x.expected("string", value, path)


def named(x: Examiner, value: Any, path: Path) -> Any:
    """A string that is not empty."""
    return x.bad(path, "must not be empty") if value == "" else text(x, value, path)


def flag(x: Examiner, value: Any, path: Path) -> Any:
    """true or false."""
    return value if isinstance(value, bool) else x.expected("boolean", value, path)


def mapping(x: Examiner, value: Any, path: Path) -> Any:
    """An object of any content, as it is."""
    if not isinstance(value, dict):
        return x.expected("object", value, path)
    return value if all(isinstance(key, str) for key in value) else x.bad(path, "its keys must be strings")


def number(low: float, high: float = math.inf, *, whole: bool = True, above: bool = False) -> Check:
    """A number from `low` to `high`; `above` leaves `low` itself out."""
    limits = f"above {low:g}" if above else f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"

    def check(x: Examiner, value: Any, path: Path) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return x.expected("number", value, path)
        if not math.isfinite(value) if isinstance(value, float) else abs(value) > 2**53:
            return x.bad(path, "must be a finite number")
        if whole and value != int(value):
            return x.bad(path, "must be a whole number")
        if not low <= value <= high or (above and value == low):
            return x.bad(path, f"must be {limits}")
        return int(value) if whole else float(value)

    return check


def millis(x: Examiner, value: Any, path: Path) -> Any:
    """Milliseconds, rounded up; 0 counts as not given."""
    read = number(0, whole=False)(x, value, path)
    return UNSET if read is UNSET or read == 0 else math.ceil(read)


def listing(item: Check, *, least: int = 0) -> Check:
    """An array of values that each pass `item`, as a tuple of those that did."""

    def check(x: Examiner, value: Any, path: Path) -> Any:
        if not isinstance(value, list):
            return x.expected("array", value, path)
        if len(value) < least:
            return x.bad(path, f"must have at least {least}")
        read = [item(x, element, (*path, index)) for index, element in enumerate(value)]
        return tuple(element for element in read if element is not UNSET)

    return check


def pattern(pattern: str, message: str) -> Check:
    """A string that the regular expression matches whole."""
    compiled = re.compile(pattern, re.ASCII)

    def check(x: Examiner, value: Any, path: Path) -> Any:
        given = text(x, value, path)
        if given is UNSET or compiled.fullmatch(given):
            return given
        return x.bad(path, message)

    return check
