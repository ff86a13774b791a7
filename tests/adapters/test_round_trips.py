"""What both dialects can say survives: any chat request reads the same in every upstream dialect, or what does not is
named; any answer reads the same whole and streamed."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.registry import codec
from adapters.types import Call, Dialect
from tests.adapters import spoken
from tests.adapters.spoken import Item, Reader, Spoken
from tests.matrix.cases import PIXEL, Answer, ToolCall
from tests.matrix.wire import DIALECTS

_SAMPLING = frozenset(("temperature", "top_p"))
_OPENAIS_OWN = frozenset(("seed", "presence_penalty", "frequency_penalty"))


class Side(NamedTuple):
    """An upstream dialect at one of its models. `signed` is how its thoughts are signed (None: not at all), `parts` are
    what users may show it, `shown`: results of tools hold images. `unsaid` are parameters that it may have to leave
    out and name, some only beside others. `renamed`: calls get other ids. `named`: documents keep their names."""

    dialect: Dialect
    model: str
    reader: Reader
    parts: frozenset[str]
    unsaid: frozenset[str] = frozenset()
    signed: str | None = None
    shown: bool = False
    named: bool = False
    renamed: bool = False


_FILE = "messages[].content[].file.filename"
_ALL = frozenset(("image", "link", "document"))
_LIMITED = _SAMPLING | _OPENAIS_OWN | {"reasoning_effort"}

SIDES: tuple[Side, ...] = (
    Side(
        Dialect.ANTHROPIC_MESSAGES,
        "claude-sonnet-4-5",
        spoken.anthropic,
        _ALL,
        _LIMITED,
        "c2ln",
        shown=True,
        named=True,
    ),
    Side(
        Dialect.ANTHROPIC_MESSAGES, "claude-opus-4-7", spoken.anthropic, _ALL, _LIMITED, "c2ln", shown=True, named=True
    ),
    Side(
        Dialect.GEMINI_GENERATE,
        "gemini-2.5-flash",
        spoken.gemini,
        _ALL,
        frozenset(("parallel_tool_calls", "response_format", _FILE)),
        "google:c2ln",
    ),
    Side(
        Dialect.GEMINI_GENERATE,
        "gemini-3-pro",
        spoken.gemini,
        _ALL,
        frozenset(("parallel_tool_calls", "reasoning_effort", _FILE)),
        "google:c2ln",
        shown=True,
    ),
    Side(
        # Vertex AI, whose files have names.
        Dialect.GEMINI_GENERATE,
        "gemini-2.5-pro",
        spoken.gemini,
        _ALL,
        frozenset(("parallel_tool_calls", "response_format", "reasoning_effort")),
        "google:c2ln",
        named=True,
    ),
    Side(
        Dialect.BEDROCK_CONVERSE,
        "anthropic.claude-sonnet-4-5-v1:0",
        spoken.bedrock,
        _ALL - {"link"},
        _LIMITED | {"parallel_tool_calls", "tool_choice", _FILE},
        "c2ln",
        shown=True,
    ),
    Side(Dialect.COHERE_CHAT, "command-a", spoken.cohere, _ALL - {"document"}, frozenset(("parallel_tool_calls",)), ""),
    Side(
        Dialect.OPENAI_RESPONSES,
        "gpt-5-pro",
        spoken.responses,
        _ALL,
        _OPENAIS_OWN | {"stop"},
        "openai:0:rs_1:gAAA",
        shown=True,
        named=True,
    ),
    Side(Dialect.MISTRAL_CHAT, "mistral-medium", spoken.mistral, _ALL, signed="", named=True, renamed=True),
)

TEXTS = st.text(min_size=1, max_size=12).filter(str.strip)
"""Blank ones are left out where they would be refused."""
NAMES = st.from_regex(r"fn_[a-z0-9_]{0,8}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
ARGUMENTS = st.dictionaries(NAMES, VALUES, max_size=2)
KINDS = st.sampled_from([{"type": "string"}, {"type": "integer"}, {"type": "array", "items": {"type": "number"}}])


@st.composite
def schemas(draw: Any) -> dict[str, Any]:
    properties = draw(st.dictionaries(NAMES, KINDS, min_size=1, max_size=2))
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }


def _part(side: Side) -> st.SearchStrategy[dict[str, Any]]:
    parts: list[st.SearchStrategy[dict[str, Any]]] = [st.builds(lambda text: {"type": "text", "text": text}, TEXTS)]
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    parts.append(st.just(image))
    if "link" in side.parts:
        parts.append(st.just({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}))
    if "document" in side.parts:
        file = {"filename": "paper.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}
        parts.append(st.just({"type": "file", "file": file}))
    return st.one_of(parts)


def _result(draw: Any, side: Side, id: str) -> dict[str, Any]:
    content: Any = draw(TEXTS)
    if side.shown and draw(st.booleans()):
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
        content = [{"type": "text", "text": content}, image]
    message = {"role": "tool", "tool_call_id": id, "content": content}
    return {**message, "is_error": True} if draw(st.booleans()) else message


def _said(draw: Any, side: Side, names: list[str], turn: int) -> dict[str, Any]:
    said: dict[str, Any] = {"role": "assistant", "content": draw(TEXTS)}
    if side.signed is not None and draw(st.booleans()):
        thought = {"type": "thinking", "thinking": draw(TEXTS)}
        if side.signed:
            thought["signature"] = side.signed
        said["content_blocks"] = [thought, {"type": "text", "text": said["content"]}]
    calls = draw(st.lists(st.sampled_from(names), max_size=3)) if names else []
    if calls:
        said["tool_calls"] = [
            {
                "id": f"call_{turn}_{number}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(draw(ARGUMENTS))},
            }
            for number, name in enumerate(calls)
        ]
        if "content_blocks" not in said and draw(st.booleans()):
            said["content"] = None
    return said


def _messages(draw: Any, side: Side, names: list[str]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [
        {"role": role, "content": draw(TEXTS)}
        for role in draw(st.lists(st.sampled_from(["system", "developer"]), max_size=2))
    ]
    for turn in range(draw(st.integers(1, 3))):
        content = draw(TEXTS | st.lists(_part(side), min_size=1, max_size=3))
        messages.append({"role": "user", "content": content})
        said = _said(draw, side, names, turn)
        results = [_result(draw, side, call["id"]) for call in said.get("tool_calls", ())]
        messages += [said, *draw(st.permutations(results))]
    messages.append({"role": "user", "content": draw(TEXTS)})
    return messages


def _some(draw: Any, **options: st.SearchStrategy[Any]) -> dict[str, Any]:
    return {name: draw(values) for name, values in options.items() if draw(st.booleans())}


@st.composite
def requests(draw: Any, side: Side) -> dict[str, Any]:
    """Any chat request that the side does not refuse."""
    names = draw(st.lists(NAMES, max_size=2, unique=True))
    body: dict[str, Any] = {"messages": _messages(draw, side, names)}
    body |= _some(
        draw,
        temperature=st.sampled_from([0, 0.25, 0.7]),
        top_p=st.sampled_from([0.1, 0.95]),
        max_completion_tokens=st.integers(2000, 9000),
        stop=st.lists(TEXTS, min_size=1, max_size=2),
        seed=st.integers(0, 2**31 - 1),
        presence_penalty=st.sampled_from([0.5, 1.5]),
        frequency_penalty=st.sampled_from([0.5, 1.5]),
        reasoning_effort=st.sampled_from(["none", "low", "high"]),
    )
    if names:
        functions = [{"name": name, **_some(draw, description=TEXTS, parameters=schemas())} for name in names]
        body["tools"] = [{"type": "function", "function": function} for function in functions]
        one = {"type": "function", "function": {"name": names[0]}}
        body |= _some(draw, tool_choice=st.sampled_from(["auto", "none", "required", one]))
        if body.get("tool_choice") != "none":
            body |= _some(draw, parallel_tool_calls=st.just(False))
    wish = st.one_of(
        st.just({"type": "json_object"}),
        schemas().map(lambda schema: {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}),
    )
    return body | _some(draw, response_format=wish)


def _call(side: Side, body: dict[str, Any], *, stream: bool = False, dialect: Dialect = Dialect.OPENAI_CHAT) -> Call:
    raw = json.dumps({"model": side.model, **body}).encode()
    return Call(
        dialect, side.model, stream, raw, "0a1b", 1_700_000_000, strict=False, blocks=True, file_names=side.named
    )


def _turns(side: Side, found: Spoken) -> list[tuple[str, list[Item]]]:
    """The turns as both can say them: ids by their order where they change, documents without names where they lose
    them."""
    ids: dict[str, str] = {}

    def common(item: Item) -> Item:
        if item[0] in ("call", "result") and side.renamed:
            return (item[0], ids.setdefault(item[1], str(len(ids))), *item[2:])
        return (*item[:3], None) if item[0] == "document" and not side.named else item

    return [(role, [common(item) for item in items]) for role, items in found.turns]


_SAYS_AUTO = (Dialect.ANTHROPIC_MESSAGES, Dialect.BEDROCK_CONVERSE)
"""Where one call at most is a matter of how tools are chosen, so that the default is said aloud."""


def _as_said(side: Side, wanted: dict[str, Any], found: Spoken) -> dict[str, Any]:
    """What was asked for, in those dialects' own way to ask for it."""
    choice = wanted.get("tool_choice")
    asked = dict(wanted)
    if side.dialect is Dialect.COHERE_CHAT:
        if isinstance(choice, tuple):
            # The tools that may not be called are not there.
            asked["tools"] = [tool for tool in asked["tools"] if tool[0] == choice[1]]
            asked["tool_choice"] = "required"
        elif choice == "auto":
            del asked["tool_choice"]
    elif side.dialect is Dialect.BEDROCK_CONVERSE and choice == "none":
        called = any(item[0] == "call" for _, items in found.turns for item in items)
        if not called:
            del asked["tools"], asked["tool_choice"]
    elif side.dialect in _SAYS_AUTO and "parallel_tool_calls" in asked:
        asked.setdefault("tool_choice", "auto")
    return asked


@pytest.mark.parametrize("side", SIDES, ids=lambda side: f"{side.dialect} {side.model}")
def test_a_request_says_the_same_upstream_or_names_what_it_cannot(side: Side) -> None:
    @settings(max_examples=40)
    @given(requests(side))
    def holds(body: dict[str, Any]) -> None:
        outbound = codec(Dialect.OPENAI_CHAT, side.dialect).request(_call(side, body))
        wanted, found = spoken.chat(body), side.reader(json.loads(outbound.body))
        assert found.system == wanted.system
        assert _turns(side, found) == _turns(side, wanted)
        assert set(outbound.dropped) <= side.unsaid, outbound.dropped
        asked = _as_said(side, wanted.settings, wanted)
        if "max_tokens" not in asked:
            # Anthropic wants one in any case.
            found.settings.pop("max_tokens", None)
        for name in asked.keys() | found.settings.keys():
            if name in outbound.dropped:
                # An effort may be there as the next best.
                assert name not in found.settings or name == "reasoning_effort", name
            else:
                assert found.settings.get(name) == asked.get(name), name

    holds()


_CLIENTS = (Dialect.ANTHROPIC_MESSAGES, Dialect.GEMINI_GENERATE, Dialect.OPENAI_RESPONSES)


def _as_kept(side: Side, item: Item) -> Item:
    """Clients of Responses tell failures in words."""
    if item[0] == "result" and item[3] and side.dialect is Dialect.OPENAI_RESPONSES:
        alone = len(item[2]) == 1
        told = [("text", f"Error:\n{item[2][0][1]}")] if alone else [("text", "Error:"), *item[2]]
        return (*item[:2], told, False)
    return item


def _back(side: Side) -> Side:
    # What only OpenAI reads means nothing to those to whom its clients' requests are translated.
    return side._replace(signed=None) if side.dialect is Dialect.OPENAI_RESPONSES else side


@pytest.mark.parametrize(
    "side",
    [_back(side) for side in SIDES if side.dialect in _CLIENTS],
    ids=lambda side: f"{side.dialect} {side.model}",
)
def test_a_request_comes_back_through_the_codec_of_the_same_dialects_clients(side: Side) -> None:
    @settings(max_examples=40)
    @given(requests(side))
    def holds(body: dict[str, Any]) -> None:
        sent = json.loads(codec(Dialect.OPENAI_CHAT, side.dialect).request(_call(side, body)).body)
        back = codec(side.dialect, Dialect.OPENAI_CHAT).request(_call(side, sent, dialect=side.dialect))
        wanted, found = spoken.chat(body), spoken.chat(json.loads(back.body))
        lines = "\n".join(found.system).partition(spoken.JSON_LINE)[0].rstrip("\n")
        assert lines == "\n".join(wanted.system).rstrip("\n")
        kept = [(role, [_as_kept(side, item) for item in items]) for role, items in _turns(side, wanted)]
        assert _turns(side, found) == kept
        if not isinstance(wanted.settings.get("tool_choice"), tuple):
            # To be told which one to call, some have no word but to leave out the others.
            assert found.settings.get("tools") == wanted.settings.get("tools")
        if "stop" not in side.unsaid:
            assert found.settings.get("stop") == wanted.settings.get("stop")

    holds()


# Answers


@st.composite
def answers(draw: Any) -> Answer:
    calls = tuple(ToolCall(f"call_{number}", draw(NAMES), draw(ARGUMENTS)) for number in range(draw(st.integers(0, 3))))
    text = draw(st.text(max_size=12)) if calls else draw(TEXTS)
    cached = draw(st.integers(0, 50))
    return Answer(
        text,
        calls,
        draw(st.just("") | TEXTS),
        "tool_calls" if calls else draw(st.sampled_from(["stop", "length"])),
        cached + draw(st.integers(1, 50)),
        draw(st.integers(1, 50)),
        cached,
    )


def _whole(completion: dict[str, Any]) -> dict[str, Any]:
    message = completion["choices"][0]["message"]
    return {
        "text": message["content"] or "",
        "calls": [
            (call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in message.get("tool_calls") or ()
        ],
        "ids": len({call["id"] for call in message.get("tool_calls") or ()}),
        "thoughts": [
            (block["thinking"], block.get("signature") or "")
            for block in message.get("content_blocks") or ()
            if block["type"] == "thinking"
        ],
        "finish": completion["choices"][0]["finish_reason"],
        "usage": _counted(completion["usage"]),
    }


def _counted(usage: dict[str, Any]) -> tuple[int, int, int]:
    details = usage.get("prompt_tokens_details") or {}
    return usage["prompt_tokens"], usage["completion_tokens"], details.get("cached_tokens") or 0


def _streamed(data: bytes) -> dict[str, Any]:
    text, finish, usage = "", None, None
    calls: dict[int, dict[str, Any]] = {}
    blocks: dict[int, dict[str, Any]] = {}
    *events, last = [line[6:] for line in data.decode().split("\n") if line.startswith("data: ")]
    assert last == "[DONE]"
    for chunk in map(json.loads, events):
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            delta = choice["delta"]
            text += delta.get("content") or ""
            finish = choice["finish_reason"] or finish
            for call in delta.get("tool_calls") or ():
                known = calls.setdefault(call["index"], {"id": call.get("id"), "name": "", "arguments": ""})
                known["name"] += call["function"].get("name") or ""
                known["arguments"] += call["function"].get("arguments") or ""
            for block in delta.get("content_blocks") or ():
                known = blocks.setdefault(block["index"], {})
                for name, value in block["delta"].items():
                    known[name] = known.get(name, "") + value if isinstance(value, str) and name != "type" else value
    assert usage is not None
    return {
        "text": text,
        "calls": [(calls[at]["name"], json.loads(calls[at]["arguments"])) for at in sorted(calls)],
        "ids": len({call["id"] for call in calls.values()}),
        "thoughts": [
            (block["thinking"], block.get("signature") or "")
            for _, block in sorted(blocks.items())
            if block.get("thinking")
        ],
        "finish": finish,
        "usage": _counted(usage),
    }


ANSWERING = {
    "anthropic": Dialect.ANTHROPIC_MESSAGES,
    "gemini": Dialect.GEMINI_GENERATE,
    "bedrock": Dialect.BEDROCK_CONVERSE,
    "cohere": Dialect.COHERE_CHAT,
    "mistral": Dialect.MISTRAL_CHAT,
    "responses": Dialect.OPENAI_RESPONSES,
}


@pytest.mark.parametrize("named", ANSWERING)
def test_an_answer_says_the_same_whole_and_streamed_however_it_is_split(named: str) -> None:
    translation = codec(Dialect.OPENAI_CHAT, ANSWERING[named])
    body = {"messages": [{"role": "user", "content": "?"}], "stream_options": {"include_usage": True}}
    side = next(side for side in SIDES if side.dialect is ANSWERING[named])

    @settings(max_examples=40)
    @given(answers(), st.integers(1, 200))
    def holds(answer: Answer, size: int) -> None:
        spoken_by = DIALECTS[named]
        whole = translation.response(_call(side, body), json.dumps(spoken_by.whole(answer)).encode())
        machine = translation.stream(_call(side, {**body, "stream": True}, stream=True))
        data = b"".join(spoken_by.stream(answer))
        pieces = [machine.feed(data[at : at + size]) for at in range(0, len(data), size)]
        pieces.append(machine.close())
        assert machine.error is None
        told, streamed = _whole(json.loads(whole.body)), _streamed(b"".join(pieces))
        assert streamed == told
        assert machine.usage == whole.usage
        assert told["text"] == answer.text
        assert told["calls"] == [(call.name, call.arguments) for call in answer.calls]
        assert told["ids"] == len(answer.calls)
        assert "".join(thought for thought, _ in told["thoughts"]) == answer.thinking
        assert told["usage"] == (answer.input, answer.output, answer.cached)

    holds()
