"""Keys that never meet, and a memory that never outgrows its bound."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.types import Dialect
from proxy.cache.answers import AnswerCache
from proxy.cache.entry import Entry
from proxy.cache.key import canonical, digest, key_of, scope_of
from proxy.cache.memory import Memory
from proxy.config.leaf import Leaf
from proxy.config.nodes import MAX_AGE
from proxy.config.snapshot import Key, Snapshot
from proxy.exchange import Exchange
from proxy.ports import ApiKeyRow, Secret
from proxy.routing import resolve
from tests.proxy.test_snapshot import key_of as only_key
from tests.proxy.test_snapshot import made, virtual_key

# -- keys


def _exchange(snapshot: Snapshot, key: Key, body: bytes, **headers: str) -> tuple[Exchange, Leaf]:
    named = {b"x-portkey-config": b"pc-a"}
    named |= {f"x-portkey-{name}".replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    x = Exchange(None, snapshot, "POST", "/v1/chat/completions", "", named, (), "r", "r", 0.0)  # type: ignore[arg-type]
    x.dialect, x.body, x.model, x.body_model, x.key = Dialect.OPENAI_CHAT, body, "m", "m", key
    leaf = resolve(x, key).single
    assert leaf is not None
    return x, leaf


def _snapshot(**config: Any) -> Snapshot:
    whole = {"virtual_key": "openai", "cache": {"mode": "simple"}, **config}
    return made(virtual_key("openai"), configs={"pc-a": whole})


def _key(id: str, **extra: Any) -> Key:
    row = ApiKeyRow(id=id, name=id, digest="00" * 32, extra=extra)
    return Key(row, None, None)


def test_keys_of_different_tenants_never_meet() -> None:
    # Ten thousand pairs: equal and unequal questions, ids that end where a field begins, groups named like keys.
    snapshot = _snapshot()
    dice = random.Random(20261125)
    ids = ["a", "b", "ab", "a b", "key a", "group a", "7:key a", "", "a\n", "ä", "file-team"]
    keys = [_key(f"{id}{n}") for id in ids for n in ("", "1", "2")] + [_key(id, cache_group=id) for id in ids if id]
    bodies = [json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode() for text in ids]
    seen: dict[bytes, bytes] = {}
    for _ in range(10_000):
        one, other = dice.sample(keys, 2)
        body = dice.choice(bodies)
        headers = dice.choice(({}, {"cache_namespace": dice.choice(ids)}, {"metadata": '{"a":"b"}'}))
        digests = [key_of(*_exchange(snapshot, key, body, **headers), "m", body) for key in (one, other)]
        assert digests[0] != digests[1]
        for key, found in zip((one, other), digests, strict=True):
            assert found is not None
            assert seen.setdefault(found, scope_of(key)) == scope_of(key)


@given(st.lists(st.binary(max_size=8), max_size=5), st.lists(st.binary(max_size=8), max_size=5))
def test_no_two_lists_of_parts_run_into_one_another(one: list[bytes], other: list[bytes]) -> None:
    assert (digest(b"", *one) == digest(b"", *other)) == (one == other)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=6), _JSON, max_size=4))
def test_spelling_does_not_matter_and_nothing_else_is_lost(value: dict[str, Any]) -> None:
    bare = {name: item for name, item in value.items() if name not in ("stream", "stream_options")}
    first = canonical(json.dumps(value).encode())
    turned = dict(reversed([*bare.items(), ("stream", True), ("stream_options", {"include_usage": True})]))
    assert first is not None
    assert canonical(json.dumps(turned, indent=1, ensure_ascii=False).encode("utf-8", "surrogatepass")) in (first, None)
    assert json.loads(first) == bare


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":1}',
        b'{"m":[{"b":1,"\\u0062":2}]}',
        b'{"a":1e999}',
        b"[1]",
        b"{",
        b"\xff",
        b'{"a":' + b"[" * 100_000,
        b'{"a":' + b"9" * 5000 + b"}",
    ],
)
def test_a_body_without_a_single_meaning_has_no_key(body: bytes) -> None:
    assert canonical(body) is None


def test_equal_numbers_of_different_kinds_are_different() -> None:
    found = {canonical(text) for text in (b'{"a":1}', b'{"a":1.0}', b'{"a":true}', b'{"a":"1"}', b'{"a":null}')}
    assert len(found) == 5


BODY = b'{"model":"m","messages":[]}'


def test_another_credential_address_or_config_is_another_question() -> None:
    def found(*rows: Any, **config: Any) -> bytes | None:
        snapshot = made(*rows, configs={"pc-a": {"virtual_key": "openai", "cache": {"mode": "simple"}, **config}})
        return key_of(*_exchange(snapshot, only_key(snapshot, "key"), BODY), "m", BODY)

    first = found(virtual_key("openai"))
    assert found(virtual_key("openai")) == first
    others = {
        found(msgspec.structs.replace(virtual_key("openai"), key=Secret("sk-new"))),
        found(virtual_key("openai", custom_host="https://eu.example.com/v1")),
        found(virtual_key("openai", custom_headers={"x-a": "b"})),
        found(virtual_key("openai"), request_timeout=1000),
    }
    assert first not in others
    assert len(others) == 4


# -- memory


def _entry(size: int, until: int = 100, at: int = 0) -> Entry:
    return Entry(200, b"x" * size, None, b"", at, until)


def test_the_least_recently_used_answers_go_when_the_bytes_run_out() -> None:
    memory = Memory(10_000)
    for name in (b"a", b"b", b"c"):
        memory.put(name, _entry(2000))
    assert memory.get(b"a", 0) is not None
    for name in (b"d", b"e"):
        memory.put(name, _entry(2000))
    assert [name for name in (b"a", b"b", b"c", b"d", b"e") if memory.get(name, 0)] == [b"a", b"c", b"d", b"e"]
    assert memory.evicted == 1


def test_an_answer_that_would_be_a_quarter_of_the_memory_is_not_kept() -> None:
    memory = Memory(10_000)
    memory.put(b"a", _entry(2500))
    assert len(memory) == 0


def test_an_answer_is_gone_when_its_time_is_over() -> None:
    memory = Memory(10_000)
    memory.put(b"a", _entry(10, until=100))
    assert memory.get(b"a", 99.9) is not None
    assert memory.get(b"a", 100) is None
    assert (len(memory), memory.size) == (0, 0)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 3000), st.sampled_from(("put", "get", "drop")))))
def test_the_memory_never_outgrows_its_bound_and_counts_right(acts: list[tuple[str, int, str]]) -> None:
    memory = Memory(8_000)
    for name, size, act in acts:
        if act == "put":
            memory.put(name.encode(), _entry(size))
        elif act == "get":
            memory.get(name.encode(), 0)
        else:
            memory.drop(name.encode())
        assert memory.size <= memory.limit
        assert memory.size == sum(entry.size for entry in memory._entries.values())


# -- how long


@pytest.mark.parametrize(
    ("config", "header", "age"),
    [
        ({"mode": "simple", "max_age": 300}, "max-age=900", 300),
        ({"mode": "simple"}, "max-age=900", 900),
        ({"mode": "simple"}, "private, max-age=900", 900),
        ({"mode": "simple"}, "s-max-age=900", 3600),
        ({"mode": "simple"}, "", 3600),
        ({"mode": "simple"}, "max-age=1", MAX_AGE[0]),
        ({"mode": "simple"}, "max-age=9999999999", MAX_AGE[1]),
        ({"mode": "simple", "max_age": 1}, "", MAX_AGE[0]),
    ],
)
async def test_the_config_says_how_long_then_the_request_then_the_file(
    config: dict[str, Any], header: str, age: int
) -> None:
    snapshot = _snapshot(cache=config)
    x, leaf = _exchange(snapshot, only_key(snapshot, "key"), BODY)
    if header:
        x.headers[b"cache-control"] = header.encode()
    assert AnswerCache(1 << 20, 3600, asyncio.get_running_loop())._age(x, leaf) == age
