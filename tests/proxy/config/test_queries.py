"""Conditions: what a query means, beside a reference that says it in the plainest way."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import conditions
from proxy.config.facts import Facts
from proxy.config.queries import compile_query
from tests.proxy.test_plan import facts


def about(params: Any = None, metadata: Any = None, **more: Any) -> Facts:
    headers = more.pop("headers", {}) | ({} if metadata is None else {"x-portkey-metadata": json.dumps(metadata)})
    return facts(json.dumps(params or {}).encode(), headers, **more)


def holds(query: dict[str, Any], facts: Facts) -> bool:
    assert list(conditions.faults(query, (), lambda path, message: None)) == []
    return compile_query(query)(facts)


CASES: list[tuple[dict[str, Any], bool]] = [
    ({"metadata.plan": "paid"}, True),
    ({"metadata.plan": "Paid"}, False),
    ({"metadata.plan": {"$eq": "paid"}}, True),
    ({"metadata.none": {"$ne": "x"}}, True),
    ({"metadata.none": {"$nin": ["x"]}}, True),
    ({"metadata.none": {"$eq": None}}, False),
    ({"metadata.none": {"$exists": False}}, True),
    ({"metadata.plan": {"$exists": False}}, False),
    ({"metadata.none": {"$startsWith": ""}}, False),
    ({"metadata.none": {"$regex": ".*"}}, False),
    ({"metadata.none": {"$gt": 0}}, False),
    ({"metadata.plan": {"$in": ["free", "paid"]}}, True),
    ({"metadata.plan": {"$nin": ["free", "paid"]}}, False),
    ({"metadata.plan": {"$regex": "^pa"}}, True),
    ({"metadata.plan": {"$regex": "("}}, False),
    ({"metadata.plan": {"$startsWith": "pa"}}, True),
    ({"metadata.age": {"$gte": "30"}}, True),
    ({"metadata.age": {"$lt": 30}}, False),
    ({"metadata.age": 30}, False),
    ({"metadata.age": {"$gt": "no number"}}, False),
    ({"params.n": 1}, True),
    ({"params.n": 1.0}, True),
    ({"params.n": True}, False),
    ({"params.n": "1"}, False),
    ({"params.stream": True}, True),
    ({"params.stream": 1}, False),
    ({"params.messages.0.role": "system"}, True),
    ({"params.messages.1.content.0.type": "text"}, True),
    ({"params.messages.7.role": {"$exists": False}}, True),
    ({"params.metadata.a.b": "dotted"}, True),
    ({"params.tools": {"$exists": True}}, False),
    ({"params.nothing": None}, True),
    ({"headers.x-team": "core"}, True),
    ({"headers.X-Team": {"$startsWith": "co"}}, True),
    ({"url.pathname": "/v1/chat/completions"}, True),
    ({"url.pathname": {"$regex": "messages$"}}, False),
    ({"other.thing": {"$exists": False}}, True),
    ({}, True),
    # What stands beside $or, $and and $regex counts too.
    ({"$or": [{"metadata.plan": "paid"}], "params.n": 2}, False),
    ({"params.n": 1, "$and": [{"metadata.plan": "paid"}, {"metadata.age": "31"}]}, True),
    ({"$and": [{"$or": [{"params.n": 5}, {"params.n": 1}]}, {"metadata.plan": {"$ne": "free"}}]}, True),
    ({"metadata.plan": {"$regex": "^pa", "$ne": "paid"}}, False),
    ({"metadata.age": {"$gt": 1, "$lt": 40, "$regex": "^3"}}, True),
]


@pytest.mark.parametrize(("query", "expected"), CASES)
def test_a_query_means_what_it_says(query: dict[str, Any], expected: bool) -> None:
    request = about(
        {
            "n": 1,
            "stream": True,
            "nothing": None,
            "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": [{"type": "text"}]}],
            "metadata": {"a.b": "dotted"},
        },
        {"plan": "paid", "age": "31"},
        headers={"x-team": "core"},
    )
    assert holds(query, request) is expected


def test_a_body_is_only_decoded_when_a_condition_asks_for_it() -> None:
    request = about({"n": 1}, {"plan": "paid"})
    assert holds({"metadata.plan": "paid"}, request)
    assert request._params is None
    assert holds({"params.n": 1}, request)
    first = request._params
    assert holds({"params.n": {"$gt": 0}}, request)
    assert request._params is first


@pytest.mark.parametrize("body", [b"", b"[1]", b"not json", b'{"a":' * 3000])
def test_a_body_that_is_no_object_has_no_parameters(body: bytes) -> None:
    assert holds({"params.n": {"$exists": False}}, facts(body))


# -- against a reference

MISSING = object()
LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "1", "2x", "ab", "b", "3.5"])
DATA = st.dictionaries(
    st.sampled_from("abc"), LEAVES | st.dictionaries(st.sampled_from("ab"), LEAVES, max_size=2), max_size=3
)
KEYS = st.sampled_from(["params.a", "params.b", "params.c", "params.a.a", "params.b.b"])
OPERATORS = st.fixed_dictionaries(
    {},
    optional={
        "$eq": LEAVES,
        "$ne": LEAVES,
        "$in": st.lists(LEAVES, max_size=3),
        "$nin": st.lists(LEAVES, max_size=3),
        "$gt": LEAVES,
        "$lte": LEAVES,
        "$regex": st.sampled_from(["^a", "b$", "1", ".", "("]),
        "$exists": st.booleans(),
        "$startsWith": st.sampled_from(["", "a", "1"]),
    },
)
QUERIES = st.recursive(
    st.dictionaries(KEYS, LEAVES | OPERATORS, max_size=3),
    lambda inner: st.dictionaries(
        st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3), min_size=1, max_size=2
    ).flatmap(lambda mixed: st.dictionaries(KEYS, LEAVES, max_size=1).map(lambda plain: {**mixed, **plain})),
    max_leaves=8,
)


def reference(query: dict[str, Any], data: Any) -> bool:
    for key, wanted in query.items():
        if key == "$and":
            good = all(reference(each, data) for each in wanted)
        elif key == "$or":
            good = any(reference(each, data) for each in wanted)
        else:
            value = data
            for name in key.split(".")[1:]:
                value = value.get(name, MISSING) if isinstance(value, dict) else MISSING
            good = all(
                operator(name, operand, value)
                for name, operand in (wanted if isinstance(wanted, dict) else {"$eq": wanted}).items()
            )
        if not good:
            return False
    return True


def equal(one: Any, other: Any) -> bool:
    numbers = (int, float)
    kinds = [bool if isinstance(v, bool) else float if isinstance(v, numbers) else type(v) for v in (one, other)]
    return kinds[0] is kinds[1] and bool(one == other)


def number(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    found = re.match(r"\s*[+-]?\d+(\.\d+)?", value) if isinstance(value, str) else None
    return float(found[0]) if found else float("nan")


def operator(name: str, operand: Any, value: Any) -> bool:
    if name == "$exists":
        return (value is not MISSING) == operand
    if value is MISSING:
        return name in ("$ne", "$nin")
    if name in ("$eq", "$ne"):
        return equal(value, operand) == (name == "$eq")
    if name in ("$in", "$nin"):
        return any(equal(value, each) for each in operand) == (name == "$in")
    if name == "$gt":
        return number(value) > number(operand)
    if name == "$lte":
        return number(value) <= number(operand)
    if not isinstance(value, str):
        return False
    if name == "$startsWith":
        return value.startswith(operand)
    return operand != "(" and re.search(operand, value) is not None


@given(query=QUERIES, data=DATA)
def test_any_query_means_what_the_reference_says(query: dict[str, Any], data: Any) -> None:
    assert holds(query, about(data)) is reference(query, data)


@given(
    query=st.recursive(
        st.none() | st.booleans() | st.text(max_size=5) | st.integers() | st.floats(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["$and", "$or", "$regex", "$in", "params.a", "metadata.b", "$x", "x"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_passes_for_a_query_can_be_asked(query: Any) -> None:
    if not list(conditions.faults(query, (), lambda path, message: None)):
        assert compile_query(query)(about({"a": 1})) in (True, False)
