"""Parameters set, replaced and dropped, and every other byte as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import InvalidRequest
from adapters.params import _STEP, Drops, edited


def _edit(body: str, default: Any = None, override: Any = None, drop: Any = ()) -> str:
    return edited(body.encode(), default or {}, override or {}, Drops(drop)).decode()


def test_a_default_counts_only_where_the_request_says_nothing() -> None:
    assert _edit('{"a":1}', default={"a": 2, "b": 3}) == '{"a":1,"b":3}'
    assert _edit('{"a":null}', default={"a": 2}) == '{"a":null}'


def test_an_override_counts_always() -> None:
    assert _edit('{"a":1,"b":2}', override={"a": {"x": [1]}, "c": "d"}) == '{"a":{"x":[1]},"b":2,"c":"d"}'


def test_the_order_is_default_override_drop() -> None:
    edits: dict[str, Any] = {"default": {"a": 1, "b": 1, "c": 1}, "override": {"b": 2, "c": 2}, "drop": ["c"]}
    assert _edit("{}", **edits) == '{"a":1,"b":2}'


DROPS: dict[str, tuple[str, list[str], str]] = {
    "a name": ('{"a":1,"b":2}', ["a"], '{"b":2}'),
    "a name in an object": ('{"a":{"b":1,"c":2}}', ["a.b"], '{"a":{"c":2}}'),
    "a name in one item": ('{"a":[{"b":1},{"b":2}]}', ["a[0].b"], '{"a":[{},{"b":2}]}'),
    "a name in all items": ('{"a":[{"b":1,"c":3},{"b":2}]}', ["a[*].b"], '{"a":[{"c":3},{}]}'),
    "an item": ('{"a":[1,2,3]}', ["a[1]"], '{"a":[1,3]}'),
    "items by their first places": ('{"a":[1,2,3]}', ["a[0]", "a[1]"], '{"a":[3]}'),
    "all items": ('{"a":[1,2,3]}', ["a[*]"], '{"a":[]}'),
    "arrays in arrays": ('{"a":[[1,2],[3,4]]}', ["a[*][0]"], '{"a":[[2],[4]]}'),
    "all and one": ('{"a":[{"b":1,"c":1},{"b":1,"c":1}]}', ["a[*].b", "a[1].c"], '{"a":[{"c":1},{}]}'),
    "a whole and a part of it": ('{"a":{"b":1}}', ["a.b", "a"], "{}"),
    "what is not there": ('{"a":{"b":1}}', ["a.c", "d", "a[0]", "a.b.c"], '{"a":{"b":1}}'),
    "deep": ('{"a":{"b":[{"c":{"d":1,"e":2}}]}}', ["a.b[*].c.d"], '{"a":{"b":[{"c":{"e":2}}]}}'),
}


@pytest.mark.parametrize("name", DROPS)
def test_what_is_named_is_dropped_at_any_depth(name: str) -> None:
    body, paths, left = DROPS[name]
    assert _edit(body, drop=paths) == left


def test_every_other_value_keeps_its_very_text() -> None:
    body = '{"n":1.0e+2,"s":"\\u00e9\\/", "o":{"z" : 1.50,"y":2},"a":[ 1 , {"b":0.10,"c":1e5}]}'
    assert _edit(body, drop=["o.y", "a[1].c"]) == '{"n":1.0e+2,"s":"\\u00e9\\/","o":{"z":1.50},"a":[1,{"b":0.10}]}'


def test_a_body_that_does_not_change_is_the_same_bytes() -> None:
    body = b'{ "a" : 1 }'
    assert edited(body, {"a": 2}, {}, Drops(["b.c", "a.x"])) is body


@pytest.mark.parametrize("body", [b"", b"[]", b'"a"', b"{", b'{"a":[}'])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        edited(body, {}, {}, Drops(["a[0]"]))


_NAMES = st.sampled_from("abc")
_TREES = st.recursive(
    st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=12,
)


def _paths(value: Any, path: str = "") -> list[str]:
    if isinstance(value, dict):
        below = [(f"{path}.{name}" if path else name, item) for name, item in value.items()]
    elif isinstance(value, list):
        below = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    else:
        return []
    return [found for at, item in below for found in (at, *_paths(item, at))]


@given(st.dictionaries(_NAMES, _TREES, max_size=3), st.data())
def test_one_path_drops_one_value_and_nothing_else(tree: dict[str, Any], data: st.DataObject) -> None:
    paths = _paths(tree)
    if not paths:
        return
    path = data.draw(st.sampled_from(paths))
    left = json.loads(edited(json.dumps(tree).encode(), {}, {}, Drops([path])))
    holder: Any = tree
    *way, last = [int(index) if index else name for index, name in _STEP.findall(path)]
    for step in way:
        holder = holder[step]
    del holder[last]
    assert left == tree
