"""Valid bodies with random faults: the answer is never a failure of the gateway's, and what passes passes unchanged."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.inference import ROUTES
from tests.fakes.gateway import ANTHROPIC_SLUG, OPENAI_SLUG, SEED_KEY, Gateway, Upstream
from tests.fakes.raw import Wire, request

PATHS = [route.path for route in ROUTES if route.body == "json"]
TRIES = 150
VERBATIM = {
    ("/v1/chat/completions", OPENAI_SLUG), ("/v1/embeddings", OPENAI_SLUG), ("/v1/messages", ANTHROPIC_SLUG),
}  # fmt: skip

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
SEEDS: tuple[dict[str, Any], ...] = (
    {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "x"}, IMAGE]},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "r"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
        "stop": ["a"],
        "max_tokens": 5,
        "temperature": 0.5,
        "stream": True,
        "stream_options": {"include_usage": True},
        "user": "u",
        "reasoning_effort": "low",
        "metadata": {"user_id": "u"},
    },
    {
        "model": "claude-sonnet-4-5",
        "max_tokens": 50,
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {
                "role": "user",
                "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "t", "signature": "s"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
                ],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "r", "is_error": True}],
            },
        ],
        "tools": [{"name": "f", "description": "d", "input_schema": SCHEMA}],
        "tool_choice": {"type": "tool", "name": "f"},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "stop_sequences": ["a"],
        "stream": False,
        "metadata": {"user_id": "u"},
    },
    {"model": "gpt-3.5-turbo-instruct", "prompt": ["a", "b"], "max_tokens": 5, "suffix": "s", "n": 2, "stop": "x"},
    {"model": "claude-2", "prompt": "hello", "max_tokens": 5, "stop": ["x"], "stream": True},
    {"model": "text-embedding-3-small", "input": ["a", "b"], "dimensions": 5, "encoding_format": "float"},
)
VALUES: tuple[str, ...] = (
    "null", "true", "false", "0", "-1", "1.5", "1e400", "10000000000000000000000000", '""', '"x"', '"\\u0000"',
    '"\\ud83d"',
    "[]", "[null]", "[[]]", "{}", '{"type":"x"}', '[{"type":null}]', f'"{"a" * 300}"', '{"a":{"b":[1,{"c":null}]}}',
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values inside."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def mutated(dice: random.Random) -> bytes:
    """One of the seeds with a fault or three."""
    body = json.loads(json.dumps(dice.choice(SEEDS)))
    texts = []
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        where = dice.choice(list(places(body)))
        holder = body
        for step in where[:-1]:
            holder = holder[step]
        fate = dice.random()
        if fate < 0.2:
            del holder[where[-1]]
            continue
        texts.append(dice.choice(VALUES))
        mark = f"#{len(texts) - 1}#"
        if fate < 0.85:
            holder[where[-1]] = mark
        elif isinstance(holder, list):
            holder.append(mark)
        else:
            holder[dice.choice(("type", "content", "id", "extra", "role", "name"))] = mark
    data = json.dumps(body).encode()
    for number, text in enumerate(texts):
        data = data.replace(b'"#%d#"' % number, text.encode())
    if dice.random() < 0.1:
        at = dice.randrange(len(data))
        data = data[:at] + bytes([dice.randrange(256)]) + data[at + dice.choice((0, 1)) :]
    return data


@pytest.mark.parametrize("slug", [OPENAI_SLUG, ANTHROPIC_SLUG])
@pytest.mark.parametrize("path", PATHS)
def test_no_fault_in_a_body_is_a_failure_of_the_gateway(guard: Gateway, behind: Upstream, path: str, slug: str) -> None:
    dice = random.Random(f"{path} {slug}")
    failures = guard.log().count("Traceback")
    fields = {"x_portkey_api_key": SEED_KEY, "x_portkey_virtual_key": slug, "Content_Type": "application/json"}
    for _ in range(TRIES):
        body = mutated(dice)
        with Wire(guard.port) as wire:
            answer = wire.send(request("POST", path, body, **fields)).answer()
        assert answer.status < 500, (body, answer)
        if answer.status == 200 and (path, slug) in VERBATIM:
            assert behind.last.sha256 == hashlib.sha256(body).hexdigest()
    assert guard.log().count("Traceback") == failures
