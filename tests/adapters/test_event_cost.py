"""What an event of a translated stream costs, in bytecodes, which no other program on the machine can move."""

from __future__ import annotations

import json
import sys

import pytest

from adapters.registry import codec
from adapters.types import Call, Dialect
from loadtests.micro.count import Bytecodes
from tests.adapters.responses.script import event, response
from tests.adapters.test_chain import OPEN, START, said

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="ceilings are for CPython 3.11's bytecodes; others have other ones"
)

_CHUNK = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0}]}


def chat(delta: dict[str, str]) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    return b"data: %b\n\n" % json.dumps({**_CHUNK, "choices": [choice]}).encode()


_PLACE = {"item_id": "m", "output_index": 0, "content_index": 0, "logprobs": []}


def spoken(text: str) -> bytes:
    return event("response.output_text.delta", **_PLACE, delta=text, sequence_number=4)


OPENED = event("response.created", response=response()) + spoken("a")

PAIRS = {
    (Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES): (OPENED, spoken("word "), 300),
    (Dialect.ANTHROPIC_MESSAGES, Dialect.OPENAI_CHAT): (chat({"content": "a"}), chat({"content": "word "}), 370),
    (Dialect.OPENAI_RESPONSES, Dialect.OPENAI_CHAT): (chat({"content": "a"}), chat({"content": "word "}), 450),
    (Dialect.OPENAI_RESPONSES, Dialect.ANTHROPIC_MESSAGES): (START + OPEN + said("a"), said("word "), 760),
}


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0]} on {pair[1]}")
def test_a_word_stays_below_its_ceiling(pair: tuple[Dialect, Dialect]) -> None:
    opening, word, ceiling = PAIRS[pair]
    machine = codec(*pair).stream(Call(pair[0], "m", True, b'{"input":"a","messages":[]}', "id", 0))
    assert machine.feed(opening)
    for _ in range(3):
        machine.feed(word)
    totals = []
    for _ in range(5):
        with Bytecodes() as counted:
            out = machine.feed(word)
        assert b"word " in out
        totals.append(counted.total)
    assert min(totals) <= ceiling  # a turn in which the collector ends something of another test's counts that as well
