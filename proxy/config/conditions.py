"""The form of a conditional strategy's queries: what they may look at, and with which operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator

OPERATORS = frozenset({"$eq", "$ne", "$in", "$nin", "$regex", "$gt", "$gte", "$lt", "$lte", "$exists", "$startsWith"})
COMBINATORS = frozenset({"$and", "$or"})
SUBJECTS = ("metadata.", "params.", "headers.")
MAX_REGEX = 1000
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


def faults(query: object, path: Path, warn: Callable[[Path, str], None], depth: int = 0) -> Iterator[Fault]:
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
        if key != "url.pathname" and not str(key).startswith(SUBJECTS):
            warn(here, "never matches; a query looks at metadata.…, params.…, headers.… or url.pathname")
        if isinstance(wanted, dict):
            yield from _operators(wanted, here)
        elif isinstance(wanted, list):
            yield here, "a list is compared with $in or $nin"


def _combined(queries: object, path: Path, warn: Callable[[Path, str], None], depth: int) -> Iterator[Fault]:
    if not isinstance(queries, list) or not queries:
        yield path, "Expected array with at least one query"
        return
    for index, query in enumerate(queries):
        yield from faults(query, (*path, index), warn, depth + 1)


def _operators(operators: dict[str, object], path: Path) -> Iterator[Fault]:
    for name, operand in operators.items():
        here = (*path, name)
        if name not in OPERATORS:
            yield here, f"Unsupported operator used in the query router: {name}"
        elif name in _OPERANDS and not isinstance(operand, _OPERANDS[name][0]):
            yield here, f"Expected {_OPERANDS[name][1]}"
        elif name == "$regex" and len(str(operand)) > MAX_REGEX:
            yield here, f"a regular expression may have {MAX_REGEX} characters"
