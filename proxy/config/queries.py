"""A conditional strategy's queries, compiled: from the facts of a request to yes or no.

A query is an object of keys; all of them must hold. A key names a value (`metadata.plan`, `params.messages.0.role`,
`headers.x-team`, `url.pathname`) and says what it must equal, or which operators it must satisfy, all of them. `$and`
and `$or` take queries and stand beside keys like any other. Equality is strict: the text "1" is not the number 1, and
true is neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from proxy.config.facts import Facts
from proxy.config.patterns import Pattern

Test = Callable[[Facts], bool]
Compare = Callable[[Any], bool]


class _Missing:
    """What is not there; equal to nothing else."""

    def __repr__(self) -> str:
        return "missing"


MISSING = _Missing()
_NUMBER = re.compile(r"\s*([+-]?(?:Infinity|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?))")


def compile_query(query: dict[str, Any]) -> Test:
    """The test that a query, already checked by `conditions.faults`, stands for."""
    return _all([_clause(key, wanted) for key, wanted in query.items()])


def _clause(key: str, wanted: Any) -> Test:
    if key == "$and":
        return _all([compile_query(query) for query in wanted])
    if key == "$or":
        return _any([compile_query(query) for query in wanted])
    read = getter(key)
    compares = _compares(wanted)
    if len(compares) == 1:
        (compare,) = compares
        if key == "url.pathname":
            return lambda facts: compare(facts.x.path)  # the commonest, without a call to read it
        return lambda facts: compare(read(facts))

    def test(facts: Facts) -> bool:
        value = read(facts)
        return all(compare(value) for compare in compares)

    return test


def _all(tests: list[Test]) -> Test:
    return tests[0] if len(tests) == 1 else lambda facts: all(test(facts) for test in tests)


def _any(tests: list[Test]) -> Test:
    return lambda facts: any(test(facts) for test in tests)


# -- values


def getter(key: str) -> Callable[[Facts], Any]:
    """Reads the value that a key such as `params.metadata.team` names; MISSING where there is none."""
    subject, _, path = key.partition(".")
    if key == "url.pathname":
        return lambda facts: facts.x.path
    if subject == "headers":
        name = path.lower()
        return lambda facts: facts.headers.get(name, MISSING)
    if subject == "metadata":
        return lambda facts: _find(facts.metadata, path)
    if subject == "params":
        return lambda facts: _find(facts.params, path)
    return lambda facts: MISSING


def _find(value: Any, path: str) -> Any:
    """Follows a dotted path. A key may have dots itself: the longest one that exists is followed."""
    if isinstance(value, dict):
        if path in value:
            return value[path]
        name, dot, rest = path.rpartition(".")
        below = [rest] if dot else []
        while dot:
            if name in value:
                return _find(value[name], ".".join(reversed(below)))
            name, dot, rest = name.rpartition(".")
            below.append(rest)
        return MISSING
    if isinstance(value, list):
        name, _, rest = path.partition(".")
        if not name.isdecimal() or len(name) > 9 or int(name) >= len(value):
            return MISSING
        return _find(value[int(name)], rest) if rest else value[int(name)]
    return MISSING


def same(one: Any, other: Any) -> bool:
    """Strict equality of JSON values: no text is a number, no number a truth."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def as_number(value: Any) -> float | None:
    """A number, or the one a text begins with; None where there is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) < 1e308 else None
    found = _NUMBER.match(value) if isinstance(value, str) else None
    return None if found is None else float(found[1])


# -- operators


def _compares(wanted: Any) -> list[Compare]:
    if not isinstance(wanted, dict):
        return [_equals(wanted)]
    return [_OPERATORS[name](operand) for name, operand in wanted.items()] or [lambda value: True]


def _equals(wanted: Any) -> Compare:
    return lambda value: value is not MISSING and same(value, wanted)


def _differs(unwanted: Any) -> Compare:
    return lambda value: value is MISSING or not same(value, unwanted)


def _among(wanted: list[Any]) -> Compare:
    return lambda value: value is not MISSING and any(same(value, each) for each in wanted)


def _not_among(unwanted: list[Any]) -> Compare:
    return lambda value: value is MISSING or not any(same(value, each) for each in unwanted)


def _ordered(holds: Callable[[float, float], bool]) -> Callable[[Any], Compare]:
    def operator(operand: Any) -> Compare:
        bound = as_number(operand)

        def compare(value: Any) -> bool:
            number = as_number(value)
            return number is not None and bound is not None and holds(number, bound)

        return compare

    return operator


def _regex(text: str) -> Compare:
    pattern = Pattern(text)
    limit, search = pattern.limit, pattern.search
    return lambda value: isinstance(value, str) and len(value) <= limit and search(value) is not None


_OPERATORS: dict[str, Callable[[Any], Compare]] = {
    "$eq": _equals,
    "$ne": _differs,
    "$in": _among,
    "$nin": _not_among,
    "$gt": _ordered(lambda value, bound: value > bound),
    "$gte": _ordered(lambda value, bound: value >= bound),
    "$lt": _ordered(lambda value, bound: value < bound),
    "$lte": _ordered(lambda value, bound: value <= bound),
    "$regex": _regex,
    "$exists": lambda wanted: lambda value: (value is not MISSING) is wanted,
    "$startsWith": lambda prefix: lambda value: isinstance(value, str) and value.startswith(prefix),
}
