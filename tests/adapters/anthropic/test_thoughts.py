"""Claude gets no thoughts of other makers' models, whatever a Messages client has in its history."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.anthropic.thoughts import own_alone, serves_claude
from adapters.packing import pack
from adapters.registry import codec
from adapters.types import Call, Dialect

OWN = {"type": "thinking", "thinking": "Hm.", "signature": "EqQBCgIYAg=="}
SEALED = {"type": "redacted_thinking", "data": "EmwKAhgB"}
TEXT = {"type": "text", "text": 'Yes, "google:" it is.'}
THINKING, REDACTED = "messages[].content[].thinking", "messages[].content[].redacted_thinking"
FOREIGN = [
    ({"type": "thinking", "thinking": "Hm.", "signature": ""}, THINKING),
    ({"type": "thinking", "thinking": "Hm.", "signature": "google:c2ln"}, THINKING),
    ({"type": "thinking", "thinking": "Hm.", "signature": "openai:0:rs_1:gAAA"}, THINKING),
    ({"type": "thinking", "thinking": "Hm.", "signature": "mistral:s1"}, THINKING),
    ({"type": "thinking", "thinking": "Hm.", "signature": pack([{"type": "details"}])}, THINKING),
    ({"type": "redacted_thinking", "data": pack([{"type": "openai_item"}])}, REDACTED),
]


def history(*blocks: Any, **more: Any) -> dict[str, Any]:
    asked = {"role": "user", "content": "?"}
    return {"model": "m", "max_tokens": 9, "messages": [asked, {"role": "assistant", "content": list(blocks)}, asked]}


def raw(body: Any, spaced: bool = False) -> bytes:
    return json.dumps(body, separators=(", ", ": ") if spaced else (",", ":")).encode()


@pytest.mark.parametrize("spaced", [False, True])
@pytest.mark.parametrize(("block", "name"), FOREIGN)
def test_what_another_model_thought_stays_behind_and_is_named(block: Any, name: str, spaced: bool) -> None:
    made, lost = own_alone(raw(history(OWN, SEALED, block, TEXT), spaced))
    assert json.loads(made) == history(OWN, SEALED, TEXT)
    assert lost == (name,)
    # All other messages keep their very text.
    assert raw({"role": "user", "content": "?"}, spaced) in made


def test_a_turn_that_was_nothing_else_goes_with_it() -> None:
    made, _ = own_alone(raw(history(FOREIGN[1][0])))
    assert [message["role"] for message in json.loads(made)["messages"]] == ["user", "user"]


@pytest.mark.parametrize(
    "body",
    [
        raw(history(OWN, SEALED, TEXT), spaced=True),
        raw(history({"type": "text", "text": '"signature":"google:'})),
        b'{"messages":[{"role":"assistant","content":[{"type":"thinking","signature":""}]',
        b'{"messages":"\\"signature\\"","x":{"signature":""}}',
        b'{"messages":[1],"signature":""}',
        b"\xff\"signature\":\"\"",
        b"",
    ],
)  # fmt: skip
def test_a_body_without_any_is_the_same_object(body: bytes) -> None:
    made, lost = own_alone(body)
    assert made is body
    assert lost == ()


@pytest.mark.parametrize(
    ("client", "upstream"),
    [
        (Dialect.ANTHROPIC_MESSAGES, Dialect.BEDROCK_ANTHROPIC),
        (Dialect.ANTHROPIC_MESSAGES, Dialect.VERTEX_ANTHROPIC),
        (Dialect.ANTHROPIC_COUNT_TOKENS, Dialect.VERTEX_COUNT_TOKENS),
        (Dialect.ANTHROPIC_COUNT_TOKENS, Dialect.BEDROCK_COUNT_TOKENS),
    ],
)
def test_the_clouds_that_serve_claude_do_not_get_them_either(client: Dialect, upstream: Dialect) -> None:
    body = raw(history(FOREIGN[2][0], TEXT))
    sent = codec(client, upstream).request(Call(client, "anthropic.claude-sonnet-4-5", False, body, "0a1b", 1))
    assert b"rs_1" not in sent.body
    assert sent.dropped == (THINKING,)


def test_the_quirk_is_for_bodies_that_pass_as_they_are_alone() -> None:
    for quirks in serves_claude().values():
        assert quirks.native
        assert quirks.apply(raw(history(FOREIGN[0][0], TEXT))) == (raw(history(TEXT)), (THINKING,))
