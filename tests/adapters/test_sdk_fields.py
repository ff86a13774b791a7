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
from tests.adapters.sdk_types import Case, Walk, members

UPSTREAMS = (
    (Dialect.OPENAI_CHAT, "gpt-5-mini"),
    (Dialect.ANTHROPIC_MESSAGES, "claude-sonnet-4-5"),
    (Dialect.GEMINI_GENERATE, "gemini-3-pro-preview"),
    (Dialect.BEDROCK_CONVERSE, "amazon.nova-2-lite-v1:0"),
    (Dialect.BEDROCK_CONVERSE, "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    (Dialect.COHERE_CHAT, "command-a-reasoning-08-2025"),
    (Dialect.MISTRAL_CHAT, "magistral-medium-latest"),
    (Dialect.OPENAI_RESPONSES, "o3-pro"),
)
_FIXED = {
    **dict.fromkeys(("tool_use_id", "call_id", "tool_call_id", "id"), "call_1"),
    "name": "f",
    "annotations": [],
    "mimeType": "image/png",
    "role": "user",
}
_MARK = re.compile(rb"Mark\d{4,}")

NOTHING_LOST = re.compile(
    "|".join(
        (
            # What everybody does anyway, and what turns off what is off.
            r"=False$|=auto$|=AUTO$|[=]none$|=default$|=disabled$|=standard_only$|=direct$|=\w+_UNSPECIFIED$|=BLOCKING$",
            r"^service_tier=|modalities\[\]=text$|responseModalities\[\]=TEXT$|\.ttl=5m$|\.type=(custom|message)$",
            r"user_location.*\.type=approximate$|\.thinkingLevel=|\.phase=|display=summarized$|NULL_VALUE$",
            # Labels and sources, which no model is shown.
            r"\.(id|status)(=\w+)?$|json_schema\.name$|format<json_schema>\.name$|<output_text>\.(annotations|logprobs)",
            r"\.outcome=OUTCOME_OK$|\.language=PYTHON$|^systemInstruction\.(role|parts\[\]\.thought)",
            # There in other words.
            r"(tool_use_id|call_id)$|reasoning\.(generate_)?summary|includeThoughts|includeServerSideToolInvocations",
            r"propertyOrdering|include\[\]=reasoning\.encrypted_content|<redacted_thinking>\.data$|mimeType$",
            r"(json_schema|format<json_schema>)\.strict|thinking<adaptive>\.display=omitted|allowed_tools",
        )
    )
)


class Place(NamedTuple):
    """Where values of a type stand in a request: `put` makes the request of one. `walk` finds the values."""

    client: Dialect
    name: str
    hint: Any
    put: Callable[[Any], dict[str, Any]]
    base: dict[str, Any]
    walk: Walk = Walk(_FIXED, {"JSONSchema": ("schema",)})


def beside(base: dict[str, Any], name: str, more: dict[str, Any]) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {**base, **more, name: value}


def messages_places(params: Any) -> Iterator[Place]:
    walk, client = Walk(), Dialect.ANTHROPIC_MESSAGES
    asked = {"role": "user", "content": "hi"}
    called = {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "f", "input": {}}]}
    base = {"max_tokens": 5000, "messages": [asked]}
    tools = {"tools": [{"name": "f", "input_schema": {"type": "object"}}]}
    for name, (hint, _) in walk.fields(params).items():
        if name in ("model", "max_tokens", "stream"):
            continue
        if name != "messages":
            yield Place(client, name, hint, beside(base, name, tools if name == "tool_choice" else {}), base)
            continue
        for message in members(get_args(next(members(hint)))[0]):
            fields = walk.fields(message)
            for role in (word for each in members(fields["role"][0]) for word in get_args(each)):
                put = lambda value, role=role: {**base, "messages": [asked, called, {"role": role, "content": value}]}  # noqa: E731
                yield Place(client, role, fields["content"][0], put, base)


def chat_places() -> Iterator[Place]:
    client = Dialect.OPENAI_CHAT
    asked = {"role": "user", "content": "hi"}
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    base = {"messages": [asked]}
    tools = {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]}
    needs = {"tool_choice": tools, "parallel_tool_calls": tools, "function_call": {"functions": [{"name": "f"}]}}
    for name, (hint, _) in Walk().fields(completion_create_params.CompletionCreateParamsNonStreaming).items():
        if name == "messages":
            put = lambda value: {"messages": [asked, {"role": "assistant", "tool_calls": [call]}, value]}  # noqa: E731
            yield Place(client, name, get_args(next(members(hint)))[0], put, base)
        elif name not in ("model", "stream", "stream_options"):
            yield Place(client, name, hint, beside(base, name, needs.get(name, {})), base)


def completions_places() -> Iterator[Place]:
    base = {"prompt": "hi"}
    for name, (hint, _) in Walk().fields(completion_params.CompletionCreateParamsNonStreaming).items():
        if name not in ("model", "stream", "stream_options", "prompt"):
            yield Place(Dialect.OPENAI_COMPLETIONS, name, hint, beside(base, name, {}), base)


def responses_places() -> Iterator[Place]:
    client = Dialect.OPENAI_RESPONSES
    asked = {"role": "user", "content": "hi"}
    called = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
    base = {"input": [asked]}
    tools = {"tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}]}
    for name, (hint, _) in Walk().fields(response_create_params.ResponseCreateParamsNonStreaming).items():
        if name == "input":
            items = next(each for each in members(hint) if each is not str)
            yield Place(client, name, get_args(items)[0], lambda value: {"input": [asked, called, value]}, base)
        elif name not in ("model", "stream", "stream_options"):
            more = tools if name in ("tool_choice", "parallel_tool_calls") else {}
            yield Place(client, name, hint, beside(base, name, more), base)


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
ELSEWHERE = frozenset(
    ("httpOptions", "shouldReturnHttpResponse", "systemInstruction", "safetySettings", "tools", "toolConfig", "labels",
     "cachedContent", "automaticFunctionCalling", "modelArmorConfig", "serviceTier", "responseSchema")
)  # fmt: skip
"""Fields of the SDK's config that are not of generationConfig on the wire."""


def gemini_places() -> Iterator[Place]:
    client = Dialect.GEMINI_GENERATE
    asked = {"role": "user", "parts": [{"text": "hi"}]}
    called = {"role": "model", "parts": [{"functionCall": {"id": "call_1", "name": "f", "args": {}}}]}
    base = {"contents": [asked]}
    for role in ("user", "model"):
        for data in sorted(DATA):
            others = {"Part": DATA - {data}}
            alone = Walk(_FIXED, {**GOOGLES, "Part": (data,)}, others)
            put = lambda value, role=role: {"contents": [asked, called, {"role": role, "parts": [value]}]}  # noqa: E731
            yield Place(client, role, google.Part, put, base, alone)
    walk = Walk(_FIXED, GOOGLES, {"GenerateContentConfig": ELSEWHERE, "Part": DATA - {"text"}})
    functions = {"tools": [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}]}
    as_json = {"responseMimeType": "application/json"}
    yield Place(client, "systemInstruction", google.Content, beside(base, "systemInstruction", {}), base, walk)
    yield Place(client, "tools", google.Tool, lambda value: {**base, "tools": [value]}, base, walk)
    yield Place(client, "toolConfig", google.ToolConfig, beside(base, "toolConfig", functions), base, walk)
    yield Place(client, "safety", google.SafetySetting, lambda value: {**base, "safetySettings": [value]}, base, walk)
    for config in (google.GenerationConfig, google.GenerateContentConfig):
        yield Place(client, "generationConfig", config, beside(base, "generationConfig", {}), base, walk)
    schema = lambda value: {**base, "generationConfig": {**as_json, "responseSchema": value}}  # noqa: E731
    yield Place(client, "schema", google.Schema, schema, base, walk)


def sent(place: Place, upstream: Dialect, model: str, fields: dict[str, Any]) -> tuple[bytes, frozenset[str]] | None:
    """What goes to the provider, and what is named; None for what is refused aloud."""
    body = msgspec.json.encode({"model": model, **fields})
    try:
        out = codec(place.client, upstream).request(Call(place.client, model, False, body, "id", 0, strict=False))
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
    lost: dict[str, list[str]] = {}
    count = 0
    for place in PLACES[sdk]():
        for case in place.walk.cases(place.hint, place.name):
            if NOTHING_LOST.search(case.path):
                continue
            count += 1
            for upstream, model in UPSTREAMS:
                if upstream is not place.client and is_lost(place, case, upstream, model):
                    lost.setdefault(case.path, []).append(model)
    assert lost == {}
    assert count > 10
