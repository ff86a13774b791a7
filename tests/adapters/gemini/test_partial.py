"""Arguments that come value by value are the deltas of one JSON object, whatever they hold, wherever they are cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.gemini.partial import Arguments, steps_of
from adapters.gemini.wire import PartialArg
from adapters.registry import codec
from adapters.types import Call, Dialect

_read = msgspec.json.Decoder(PartialArg).decode


def path_of(steps: list[Any]) -> str:
    return "$" + "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" if step.isidentifier() else _quoted(step) for step in steps
    )


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"['{escaped}']"


def parts_of(value: Any, steps: list[Any]) -> Iterator[dict[str, Any]]:
    """The values as Vertex AI streams them: leaves in their order, strings in two parts."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from parts_of(inner, [*steps, name])
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from parts_of(inner, [*steps, at])
    elif isinstance(value, str) and len(value) > 1:
        half = len(value) // 2
        yield {"jsonPath": path_of(steps), "stringValue": value[:half], "willContinue": True}
        yield {"jsonPath": path_of(steps), "stringValue": value[half:]}
    else:
        names = {str: "stringValue", bool: "boolValue", type(None): "nullValue"}
        name = names.get(type(value), "numberValue")
        yield {"jsonPath": path_of(steps), name: "NULL_VALUE" if value is None else value}


def joined(parts: list[dict[str, Any]]) -> Any:
    arguments = Arguments()
    text = b"".join(arguments.add(_read(json.dumps(part).encode())) for part in parts) + arguments.close()
    return json.loads(text)


NAMES = st.text(min_size=1, max_size=6)
LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(NAMES, inner, min_size=1, max_size=3),
)


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_any_arguments_are_put_together(arguments: dict[str, Any]) -> None:
    assert joined(list(parts_of(arguments, []))) == arguments


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("$.foo.bar[0].data", ["foo", "bar", 0, "data"]),
        ("$['a b']['c']", ["a b", "c"]),
        ('$["it\'s"]', ["it's"]),
        ("$['it\\'s']['\\u00e9\\n']", ["it's", "é\n"]),
        ("$.größe", ["größe"]),
    ],
)
def test_paths_of_either_spelling_are_read(path: str, steps: list[Any]) -> None:
    assert steps_of(path) == steps


@pytest.mark.parametrize("path", ["", "$", "a.b", "$..a", "$.a[*]", "$.a[", "$.a[-1]", "$.a b]", "$" + ".a" * 65])
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        steps_of(path)


@pytest.mark.parametrize(
    "paths",
    [["$.a.b", "$.c", "$.a.d"], ["$.a", "$.a"], ["$.a[1]"], ["$.a[0]", "$.a[2]"], ["$.a", "$[0]"], ["$.a[0]", "$.a.b"]],
)
def test_an_order_that_no_stream_can_tell_is_an_error(paths: list[str]) -> None:
    with pytest.raises(msgspec.ValidationError):
        joined([{"jsonPath": path, "numberValue": 1} for path in paths])


# Streams


def event(*parts: dict[str, Any], finish: str | None = None) -> bytes:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return b"data: %b\r\n\r\n" % json.dumps({"candidates": [candidate], "responseId": "r"}).encode()


def partial(*values: dict[str, Any], more: bool = True, **fields: Any) -> dict[str, Any]:
    called: dict[str, Any] = {**fields}
    if values:
        called["partialArgs"] = list(values)
    if more:
        called["willContinue"] = True
    return {"functionCall": called}


LIGHT = [
    event({"functionCall": {"name": "light", "id": "c1", "willContinue": True}, "thoughtSignature": "c2ln"}),
    event(partial({"jsonPath": "$.color", "stringValue": 'warm "', "willContinue": True})),
    event(partial({"jsonPath": "$.color", "stringValue": "Weiß\n", "willContinue": True})),
    event(partial({"jsonPath": "$.color", "stringValue": ""})),
    event(
        partial({"jsonPath": "$.rooms[0].level", "numberValue": 50}, {"jsonPath": "$.rooms[1].on", "boolValue": True})
    ),
]
GIVEN = {"color": 'warm "Weiß\n', "rooms": [{"level": 50}, {"on": True}]}
DONE = event({"text": ""}, finish="STOP")
ENDINGS = {
    "an empty call": [event(partial(more=False)), DONE],
    "the finish": [DONE],
    "another call": [event({"functionCall": {"name": "bell", "args": {"a": 1}}}), DONE],
    "another in parts": [
        event(partial(name="bell")),
        event(partial({"jsonPath": "$.a", "numberValue": 1}, more=False)),
        DONE,
    ],
}


def calls_in(data: bytes) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []
    for line in data.decode().splitlines():
        if not line.startswith("data: {"):
            continue
        for delta in json.loads(line[6:])["choices"][0]["delta"].get("tool_calls", ()):
            if delta["index"] == len(calls):
                calls.append({"id": delta["id"], "name": delta["function"]["name"], "arguments": ""})
            calls[delta["index"]]["arguments"] += delta["function"].get("arguments", "")
    return calls


def run(client: Dialect, data: bytes, size: int = 1 << 20) -> bytes:
    body = b'{"model":"m","max_tokens":9,"input":"?","messages":[{"role":"user","content":"?"}]}'
    machine = codec(client, Dialect.GEMINI_GENERATE).stream(Call(client, "gemini-3-pro", True, body, "0a1b", 1, False))
    out = b"".join(machine.feed(data[at : at + size]) for at in range(0, len(data), size)) + machine.close()
    assert machine.error is None
    return out


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_call_in_parts_is_told_as_it_comes(ending: str) -> None:
    data = b"".join((*LIGHT, *ENDINGS[ending]))
    told = run(Dialect.OPENAI_CHAT, data)
    first, *rest = calls_in(told)
    assert (first["id"], first["name"], json.loads(first["arguments"])) == ("c1", "light", GIVEN)
    assert [(call["name"], json.loads(call["arguments"])) for call in rest] == [("bell", {"a": 1})] * len(rest)
    assert bool(rest) == ending.startswith("another")
    assert told.count(b'"finish_reason":"tool_calls"') == 1
    assert told.count(b'"thought_signature":"c2ln"') == 1
    assert told.count(b'"arguments"') > 4
    for size in (1, 7, 100):
        assert run(Dialect.OPENAI_CHAT, data, size) == told


def test_a_call_in_parts_without_any_has_no_arguments() -> None:
    told = run(Dialect.OPENAI_CHAT, event(partial(name="f")) + event(partial(more=False)) + DONE)
    assert [call["arguments"] for call in calls_in(told)] == ["{}"]


@pytest.mark.parametrize("client", [Dialect.ANTHROPIC_MESSAGES, Dialect.OPENAI_RESPONSES])
def test_other_clients_read_it_too(client: Dialect) -> None:
    told = run(client, b"".join((*LIGHT, *ENDINGS["an empty call"])))
    events = [json.loads(line[6:]) for line in told.decode().splitlines() if line.startswith("data: {")]
    if client is Dialect.OPENAI_RESPONSES:
        [arguments] = [
            item["arguments"] for item in events[-1]["response"]["output"] if item["type"] == "function_call"
        ]
    else:
        deltas = [each["delta"] for each in events if each["type"] == "content_block_delta"]
        arguments = "".join(delta.get("partial_json", "") for delta in deltas)
    assert json.loads(arguments) == GIVEN


def test_a_stream_cut_within_a_call_is_an_error() -> None:
    machine = codec(Dialect.OPENAI_CHAT, Dialect.GEMINI_GENERATE).stream(
        Call(Dialect.OPENAI_CHAT, "gemini-3-pro", True, b'{"messages":[]}', "0a1b", 1)
    )
    told = machine.feed(b"".join(LIGHT)) + machine.close()
    assert machine.error is not None
    assert b"[DONE]" not in told


def test_it_is_asked_for_where_the_answer_streams() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    body = {"messages": [{"role": "user", "content": "?"}], "tools": tools, "stream_function_call_arguments": True}
    for stream in (True, False):
        call = Call(Dialect.OPENAI_CHAT, "gemini-3-pro", stream, json.dumps(body).encode(), "1", 1)
        outbound = codec(Dialect.OPENAI_CHAT, Dialect.GEMINI_GENERATE).request(call)
        wanted = {"functionCallingConfig": {"streamFunctionCallArguments": True}} if stream else None
        assert json.loads(outbound.body).get("toolConfig") == wanted
        assert outbound.dropped == ()
