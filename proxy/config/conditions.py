"""The form of a conditional strategy's queries: what they may look at, and with which operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from proxy.config import patterns

OPERATORS = frozenset({"$eq", "$ne", "$in", "$nin", "$regex", "$gt", "$gte", "$lt", "$lte", "$exists", "$startsWith"})
COMBINATORS = frozenset({"$and", "$or"})
SUBJECTS = ("metadata.", "params.", "headers.")
MAX_KEY = 256
MAX_DEPTH = 16

_OPERANDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "$in": (list, "array"),
    "$nin": (list, "array"),
    "$regex": (str, "string"),
    "$startsWith": (str, "string"),
    "$exists": (bool, "boolean"),
}

Path = tuple[str | int, ...]
Fault = tuple[Path, str]
Warn = Callable[[Path, str], None]


def faults(query: object, path: Path, warn: Warn, depth: int = 0) -> Iterator[Fault]:
    """Everything wrong with one query, as (path, message). What can never match, but harms nothing, goes to `warn`."""
    if not isinstance(query, dict):
        yield path, "Expected object"
        return
    if depth > MAX_DEPTH:
        yield path, f"queries may be nested {MAX_DEPTH} deep, not deeper"
        return
    for key, wanted in query.items():
        here = (*path, key)
        if key in COMBINATORS:
            yield from _combined(wanted, here, warn, depth)
            continue
        if str(key).startswith("$"):
            yield here, f"Unsupported operator used in the query router: {key}"
            continue
        if len(str(key)) > MAX_KEY:
            yield path, f"a key may have {MAX_KEY} characters"
            continue
        if key != "url.pathname" and not str(key).startswith(SUBJECTS):
            warn(here, "never matches; a query looks at metadata.…, params.…, headers.… or url.pathname")
        if isinstance(wanted, dict):
            yield from _operators(wanted, here, warn)
        elif isinstance(wanted, list):
            yield here, "a list is compared with $in or $nin"


def _combined(queries: object, path: Path, warn: Warn, depth: int) -> Iterator[Fault]:
    if not isinstance(queries, list) or not queries:
        yield path, "Expected array with at least one query"
        return
    for index, query in enumerate(queries):
        yield from faults(query, (*path, index), warn, depth + 1)


def _operators(operators: dict[str, object], path: Path, warn: Warn) -> Iterator[Fault]:
    for name, operand in operators.items():
        here = (*path, name)
        if name not in OPERATORS:
            yield here, f"Unsupported operator used in the query router: {name}"
        elif name in _OPERANDS and not isinstance(operand, _OPERANDS[name][0]):
            yield here, f"Expected {_OPERANDS[name][1]}"
        elif name == "$regex":
            yield from _pattern(str(operand), here, warn)


def _pattern(text: str, path: Path, warn: Warn) -> Iterator[Fault]:
    fault, mistake = patterns.unusable(text), patterns.invalid(text)
    if fault is not None:
        yield path, fault
    elif mistake is not None:
        warn(path, f"never matches: it is no regular expression ({mistake})")
