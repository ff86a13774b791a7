"""Every field that the official SDKs can send, however deep, arrives, is named, is refused aloud, or asks for nothing.

The SDKs' own types say which fields there are, so a new version of one that brings more is walked as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, get_args

import msgspec
import pytest
from anthropic.types.beta import message_create_params
from google.genai import types as google
from openai.types import completion_create_params as completion_params
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params

from adapters.errors import InvalidRequest
from adapters.registry import codec
from adapters.types import Call, Dialect
from tests.adapters.nothing_lost import NOTHING_LOST, SAME_WORDS, Kept
from tests.adapters.sdk_types import Case, Walk, members

UPSTREAMS = {
    "chat": (Dialect.OPENAI_CHAT, "gpt-5-mini"),
    "claude": (Dialect.ANTHROPIC_MESSAGES, "claude-sonnet-4-5"),
    "gemini": (Dialect.GEMINI_GENERATE, "gemini-3-pro-preview"),
    "nova": (Dialect.BEDROCK_CONVERSE, "amazon.nova-2-lite-v1:0"),
    "bedrock": (Dialect.BEDROCK_CONVERSE, "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    "cohere": (Dialect.COHERE_CHAT, "command-a-reasoning-08-2025"),
    "mistral": (Dialect.MISTRAL_CHAT, "magistral-medium-latest"),
    "responses": (Dialect.OPENAI_RESPONSES, "o3-pro"),
}
_FIXED = {
    **dict.fromkeys(("tool_use_id", "call_id", "tool_call_id", "id"), "call_1"),
    "name": "f",
    "annotations": [],
    "tools": [{"type": "function", "name": "f", "function": {"name": "f"}}],
    "mimeType": "image/png",
}
_GOOGLES = {**_FIXED, "role": "user"}
_MUSTS = {
    "JSONSchema": ("schema",),
    "FunctionCallOutput": ("call_id",),
}
_EITHER = {
    "FileFile": ("file_data", "file_id"),
    **dict.fromkeys(("ResponseInputImageParam", "ResponseInputImageContentParam"), ("image_url", "file_id")),
    **dict.fromkeys(("ResponseInputFileParam", "ResponseInputFileContentParam"), ("file_data", "file_url", "file_id")),
}
"""What objects of OpenAI's must have, and its SDK's types do not say: these fields, and one of those."""
_CLOSED = {"type": "object", "properties": {"x": {"type": "string"}}, "additionalProperties": False}
"""A schema to which every model can be held that can be held to any."""
_WALK = Walk({**_FIXED, "schema": _CLOSED, "parameters": _CLOSED, "strict": False}, _MUSTS, None, _EITHER)
_MARK = re.compile(rb"Mark\d{4,}")


class Place(NamedTuple):
    """Where values of a type stand in a request, which is `base` without one: `put` makes the request of one. `walk`
    finds the values."""

    client: Dialect
    name: str
    hint: Any
    put: Callable[[Any], dict[str, Any]]
    base: dict[str, Any]
    walk: Walk = _WALK
    stream: bool = False


def beside(client: Dialect, name: str, hint: Any, base: dict[str, Any], walk: Walk = _WALK) -> Place:
    """A field at the top of a request, which is streamed for the options of a stream."""
    put = lambda value: {**base, name: value}  # noqa: E731
    return Place(client, name, hint, put, base, walk, name == "stream_options")


def messages_places(params: Any) -> Iterator[Place]:
    walk, client = Walk(), Dialect.ANTHROPIC_MESSAGES
    asked = {"role": "user", "content": "hi"}
    called = {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "f", "input": {}}]}
    base = {"max_tokens": 5000, "messages": [asked]}
    tools = {"tools": [{"name": name, "input_schema": {"type": "object"}} for name in "fg"]}
    for name, (hint, _) in walk.fields(params).items():
        if name in ("model", "max_tokens", "stream"):
            continue
        if name != "messages":
            yield beside(client, name, hint, base | tools if name == "tool_choice" else base)
            continue
        for message in members(get_args(next(members(hint)))[0]):
            fields = walk.fields(message)
            for role in (word for each in members(fields["role"][0]) for word in get_args(each)):
                after = [asked] * (role == "assistant")
                put = lambda value, role=role, after=after: {  # noqa: E731
                    **base,
                    "messages": [asked, called, {"role": role, "content": value}, *after],
                }
                yield Place(client, role, fields["content"][0], put, base)


def chat_places() -> Iterator[Place]:
    client = Dialect.OPENAI_CHAT
    asked = {"role": "user", "content": "hi"}
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    base = {"messages": [asked]}
    functions = [{"name": name, "parameters": {"type": "object"}} for name in "fg"]
    tools = {"tools": [{"type": "function", "function": each} for each in functions]}
    needs = {"tool_choice": tools, "parallel_tool_calls": tools, "function_call": {"functions": functions}}
    for name, (hint, _) in Walk().fields(completion_create_params.CompletionCreateParamsNonStreaming).items():
        if name == "messages":
            put = lambda value: {"messages": [asked, {"role": "assistant", "tool_calls": [call]}, value]}  # noqa: E731
            yield Place(client, name, get_args(next(members(hint)))[0], put, base)
        elif name not in ("model", "stream"):
            yield beside(client, name, hint, {**base, **needs.get(name, {})})


def completions_places() -> Iterator[Place]:
    base = {"prompt": "hi"}
    for name, (hint, _) in Walk().fields(completion_params.CompletionCreateParamsNonStreaming).items():
        if name not in ("model", "stream", "prompt"):
            yield beside(Dialect.OPENAI_COMPLETIONS, name, hint, base)


def responses_places() -> Iterator[Place]:
    client = Dialect.OPENAI_RESPONSES
    asked = {"role": "user", "content": "hi"}
    called = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
    base = {"input": [asked]}
    tools = {"tools": [{"type": "function", "name": name, "parameters": {"type": "object"}} for name in "fg"]}
    for name, (hint, _) in Walk().fields(response_create_params.ResponseCreateParamsNonStreaming).items():
        if name == "input":
            items = next(each for each in members(hint) if each is not str)
            yield Place(client, name, get_args(items)[0], lambda value: {"input": [asked, called, value]}, base)
        elif name not in ("model", "stream"):
            yield beside(client, name, hint, base | tools if name in ("tool_choice", "parallel_tool_calls") else base)


GOOGLES = {
    "Part": ("text",), "Content": ("parts", "role"), "Blob": ("mimeType", "data"), "FileData": ("mimeType", "fileUri"),
    "FunctionCall": ("name",), "FunctionResponse": ("name",), "FunctionDeclaration": ("name",), "Schema": ("type",),
    "FunctionResponseBlob": ("mimeType", "data"), "FunctionResponseFileData": ("mimeType", "fileUri"),
    "ExecutableCode": ("code",), "CodeExecutionResult": ("output",), "SafetySetting": ("category", "threshold"),
}  # fmt: skip
"""The fields that Google's objects must have, which its SDK's types do not say."""
DATA = frozenset(
    ("inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult",
     "toolCall", "toolResponse", "text")
)  # fmt: skip
"""The fields of a part of which it has one."""
OF_THE_SDK = ("httpOptions", "shouldReturnHttpResponse", "automaticFunctionCalling")
"""Fields of the SDK's config that it sends to nobody."""
TOP = ("labels", "cachedContent", "modelArmorConfig", "serviceTier")
"""Fields of the SDK's config that stand at a request's top; those below are objects that have places of their own."""
OBJECTS = ("systemInstruction", "safetySettings", "tools", "toolConfig", "responseSchema")


def gemini_places() -> Iterator[Place]:
    client = Dialect.GEMINI_GENERATE
    asked = {"role": "user", "parts": [{"text": "hi"}]}
    called = {"role": "model", "parts": [{"functionCall": {"id": "call_1", "name": "f", "args": {}}}]}
    base = {"contents": [asked]}
    for role in ("user", "model"):
        for data in sorted(DATA):
            others = {"Part": DATA - {data}}
            alone = Walk(_GOOGLES, {**GOOGLES, "Part": (data,)}, others)
            put = lambda value, role=role: {"contents": [asked, called, {"role": role, "parts": [value]}]}  # noqa: E731
            yield Place(client, role, google.Part, put, base, alone)
    elsewhere = {"GenerateContentConfig": frozenset((*OF_THE_SDK, *TOP, *OBJECTS)), "Part": DATA - {"text"}}
    walk = Walk(_GOOGLES, GOOGLES, elsewhere)
    functions = {"tools": [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}]}
    as_json = {"responseMimeType": "application/json"}
    fields = walk.fields(google.GenerateContentConfig)
    yield from (beside(client, name, fields[name][0], base, walk) for name in TOP)
    yield beside(client, "systemInstruction", google.Content, base, walk)
    yield Place(client, "tools", google.Tool, lambda value: {**base, "tools": [value]}, base, walk)
    yield beside(client, "toolConfig", google.ToolConfig, base | functions, walk)
    yield Place(client, "safety", google.SafetySetting, lambda value: {**base, "safetySettings": [value]}, base, walk)
    for config in (google.GenerationConfig, google.GenerateContentConfig):
        yield beside(client, "generationConfig", config, base, walk)
    schema = lambda value: {**base, "generationConfig": {**as_json, "responseSchema": value}}  # noqa: E731
    # Beside one that OpenAI does not keep to, so that this is not what is named.
    yield Place(client, "schema", google.Schema, schema, schema({"type": "STRING"}), walk)


def sent(place: Place, upstream: Dialect, model: str, fields: dict[str, Any]) -> tuple[bytes, frozenset[str]] | None:
    """What goes to the provider, and what is named; None for what is refused aloud."""
    body = msgspec.json.encode({"model": model, **({"stream": True} if place.stream else {}), **fields})
    call = Call(place.client, model, place.stream, body, "id", 0, strict=False)
    try:
        out = codec(place.client, upstream).request(call)
    except InvalidRequest:
        return None
    return out.body, frozenset(out.dropped)


def is_lost(place: Place, case: Case, upstream: Dialect, model: str) -> bool:
    whole = sent(place, upstream, model, place.put(case.value))
    if whole is None:
        return False
    usual = sent(place, upstream, model, place.base)
    assert usual is not None
    if whole[1] - usual[1]:
        # Named, itself or with what it is a part of. What is more than its parts' is for the case of the part.
        return False
    bare = None if case.bare is None else sent(place, upstream, model, place.put(case.bare))
    marks = set(_MARK.findall(msgspec.json.encode(case.value)))
    if case.bare is not None:
        marks -= set(_MARK.findall(msgspec.json.encode(case.bare)))
    if marks:
        return not all(mark in whole[0] or mark.lower() in whole[0] for mark in marks)
    return whole[0] == (usual if bare is None else bare)[0]


PLACES: dict[str, Callable[[], Iterator[Place]]] = {
    "anthropic": lambda: messages_places(message_create_params.MessageCreateParamsNonStreaming),
    "openai chat": chat_places,
    "openai completions": completions_places,
    "openai responses": responses_places,
    "google-genai": gemini_places,
}


@pytest.mark.parametrize("sdk", PLACES)
def test_every_field_of_an_sdk_arrives_or_is_named(sdk: str) -> None:
    lost: set[tuple[str, str]] = set()
    own: set[Dialect] = set()
    for place in PLACES[sdk]():
        own.add(place.client)
        for case in place.walk.cases(place.hint, place.name):
            for word, (upstream, model) in UPSTREAMS.items():
                if upstream is not place.client and is_lost(place, case, upstream, model):
                    lost.add((case.path, word))
    assert_kept(lost, sdk, own, NOTHING_LOST)


def assert_kept(lost: set[tuple[str, str]], sdk: str, own: set[Dialect], rows: tuple[Kept, ...]) -> None:
    """Whether a table covers what is lost, each path to each upstream, and nothing else."""
    assert own
    idle = []
    for row in (row for row in rows if row.sdk == sdk):
        words = {word for word in row.upstreams.split() if UPSTREAMS[word][0] not in own}
        for pattern in row.patterns():
            found = {(path, word) for path, word in lost if word in words and pattern.fullmatch(path)}
            lost -= found
            if {word for _, word in found} != words:
                idle.append((pattern.pattern, row.upstreams))
    assert lost == set()
    assert idle == []


@pytest.mark.parametrize("sdk", PLACES)
def test_each_word_of_a_field_that_must_be_there_says_something_else(sdk: str) -> None:
    """Without such a field there is nothing that could be compared with it."""
    same: set[tuple[str, str]] = set()
    own: set[Dialect] = set()
    for place in PLACES[sdk]():
        own.add(place.client)
        words: dict[str, list[Any]] = {}
        for case in place.walk.cases(place.hint, place.name):
            path, is_word, _ = case.path.partition("=")
            if is_word and case.bare is None:
                words.setdefault(path, []).append(case.value)
        for path, values in words.items():
            for word, (upstream, model) in UPSTREAMS.items():
                if upstream is not place.client and len(values) > 1:
                    usual = sent(place, upstream, model, place.base)
                    made = [sent(place, upstream, model, place.put(value)) for value in values]
                    bodies = [
                        _MARK.sub(b"", each[0]).lower() for each in made if each and usual and each[1] == usual[1]
                    ]
                    if len(set(bodies)) < len(bodies):
                        same.add((path, word))
    assert_kept(same, sdk, own, SAME_WORDS)
