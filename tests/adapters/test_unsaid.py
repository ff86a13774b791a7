"""Tables of what clients are told of an answer, and the looks that read them."""

from __future__ import annotations

import pytest

from adapters.unsaid import ALL, BLOCKS, NONE, STRICT, Look, Looks, Shape, Told, every, only

SHAPE: Shape = {
    "id": ALL,
    "tier": only("standard"),
    "null": NONE,
    "raw": Told(STRICT, {"url": STRICT}, whole=BLOCKS),
    "items": Told(kinds={"text": Told(shape={"text": ALL}), "thought": Told(BLOCKS, {"text": BLOCKS})}, others=BLOCKS),
}

SAID = {
    "nothing": (b"{}", (), ()),
    "what everybody gets": (b'{"id":{"a":[1]},"tier":"standard","raw":null}', (), ()),
    "what nobody knows": (b'{"new":1,"id":2}', ("new",), ("new",)),
    "nothing in it": (b'{"new":[{"a":null,"b":[0,""]}],"null":null,"tier":null}', (), ()),
    "a word": (b'{"tier":"fast"}', ("tier",), ("tier",)),
    "a field that one client gets whole": (b'{"raw":[{"url":"a","page":1}]}', ("raw[].page",), ()),
    "a kind": (b'{"items":[{"type":"text","text":"a"},{"type":"thought","text":"a"}]}', ("items[].thought",), ()),
    "a field of a kind": (b'{"items":[{"type":"text","new":1}]}', ("items[].new",), ("items[].new",)),
    "a kind that nobody knows": (b'{"items":[{"type":"search"}]}', ("items[].search",), ()),
    "no JSON": (b'{"new":', (), ()),
    "no object": (b"[[1]]", (), ()),
}


@pytest.mark.parametrize("name", SAID)
def test_what_a_client_does_not_get_is_named(name: str) -> None:
    body, strict, blocks = SAID[name]
    assert (Look(SHAPE, STRICT)(body), Look(SHAPE, BLOCKS)(body)) == (strict, blocks)


def test_looks_are_made_once_for_each_client() -> None:
    looks = Looks({b"": SHAPE, b"end": every(ALL, "type")})
    assert looks.by(STRICT) is looks.by(STRICT)
    assert looks.by(BLOCKS)[b"end"](b'{"type":"end","more":1}') == ("more",)


@pytest.mark.parametrize(
    "body",
    [
        b'{"new":' + b"[" * 900 + b"1" + b"]" * 900 + b"}",
        b'{"new":1,"items":[' + b",".join([b'{"type":"text"}'] * 100_000) + b"]}",
        b"{" + b",".join(b'"n%d":1' % number for number in range(10_000)) + b"}",
    ],
    ids=["deep", "long", "wide"],
)
def test_a_hostile_answer_gives_few_names_and_little_work(body: bytes) -> None:
    names = Look(SHAPE, STRICT)(body)
    assert 0 < len(names) <= 40
    assert all(len(name) <= 60 for name in names)
