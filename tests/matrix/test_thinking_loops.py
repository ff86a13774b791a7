"""Three turns of tools with thinking, by the official SDKs: what a model thought comes back to it as it signed it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from google.genai import types

from tests.fakes.gateway import SEED_KEY, Gateway
from tests.matrix import clients, table
from tests.matrix.cases import LOOP, OSLO, PARAMETERS, PARIS, QUESTION, TOOL
from tests.matrix.test_matrix import config
from tests.matrix.upstream import Upstream, model
from tests.matrix.wire import signature_of

RESULTS = {PARIS.arguments["city"]: "eighteen degrees", OSLO.arguments["city"]: "four degrees"}
ANSWERS = (LOOP.answer, *LOOP.then)
THOUGHTS = [answer.thinking for answer in ANSWERS if answer.calls]
SIGNED = [(thought, signature_of(thought)) for thought in THOUGHTS]
CALLS = [call.arguments for answer in ANSWERS for call in answer.calls]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("loops"), config(upstream.url)) as running:
        yield running


# Clients: each runs the loop as its vendor's documentation has it, and gives the last text


def messages_loop(gateway: Gateway, slug: str, named: str, streamed: bool) -> str:
    client = clients._anthropic_client(gateway.url, SEED_KEY, slug)
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    for _ in ANSWERS:
        request: dict[str, Any] = {
            "model": named,
            "max_tokens": 3000,
            "messages": messages,
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "tools": [{"name": TOOL, "description": "Tells", "input_schema": PARAMETERS}],
        }
        if streamed:
            with client.messages.stream(**request) as stream:
                message = stream.get_final_message()
        else:
            message = client.messages.create(**request)
        used = [block for block in message.content if block.type == "tool_use"]
        if not used:
            return "".join(block.text for block in message.content if block.type == "text")
        results = [
            {"type": "tool_result", "tool_use_id": use.id, "content": RESULTS[use.input["city"]]} for use in used
        ]
        messages += [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
    raise AssertionError("the loop has no end")


def responses_loop(gateway: Gateway, slug: str, named: str, streamed: bool) -> str:
    client = clients._openai_client(gateway.url, SEED_KEY, slug)
    items: list[Any] = [{"role": "user", "content": QUESTION}]
    for _ in ANSWERS:
        request: dict[str, Any] = {
            "model": named,
            "input": items,
            "store": False,
            "include": ["reasoning.encrypted_content"],
            "reasoning": {"effort": "low", "summary": "auto"},
            "tools": [{"type": "function", "name": TOOL, "parameters": PARAMETERS, "strict": False}],
        }
        if streamed:
            with client.responses.stream(**request) as stream:
                response: Any = stream.get_final_response()
        else:
            response = client.responses.create(**request)
        called = [item for item in response.output if item.type == "function_call"]
        if not called:
            return str(response.output_text)
        # What parsing added is the SDK's own.
        items += [item.model_dump(exclude={"parsed_arguments"}) for item in response.output]
        for call in called:
            said = RESULTS[json.loads(call.arguments)["city"]]
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": said})
    raise AssertionError("the loop has no end")


def gemini_loop(gateway: Gateway, slug: str, named: str, streamed: bool) -> str:
    client = clients._genai_client(gateway.url, SEED_KEY, slug)
    declared = types.FunctionDeclaration(name=TOOL, description="Tells", parameters_json_schema=PARAMETERS)
    settings = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[declared])],
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=1024),
    )
    contents: list[Any] = [types.Content(role="user", parts=[types.Part.from_text(text=QUESTION)])]
    for _ in ANSWERS:
        if streamed:
            answers = list(client.models.generate_content_stream(model=named, contents=contents, config=settings))
        else:
            answers = [client.models.generate_content(model=named, contents=contents, config=settings)]
        parts = [
            part
            for answer in answers
            for candidate in answer.candidates or ()
            for part in (candidate.content.parts if candidate.content else None) or ()
        ]
        called = [part.function_call for part in parts if part.function_call]
        if not called:
            return "".join(part.text or "" for part in parts if not part.thought)
        said = [
            types.Part(
                function_response=types.FunctionResponse(
                    id=call.id, name=call.name, response={"result": RESULTS[(call.args or {})["city"]]}
                )
            )
            for call in called
        ]
        contents += [types.Content(role="model", parts=parts), types.Content(role="user", parts=said)]
    raise AssertionError("the loop has no end")


LOOPS: dict[str, Callable[[Gateway, str, str, bool], str]] = {
    "Anthropic Messages": messages_loop,
    "OpenAI Responses": responses_loop,
    "Gemini": gemini_loop,
}


# What the upstream got back: thoughts with signatures, each right before the call that it led to


def anthropics(body: Any) -> list[Any]:
    blocks = [block for each in body["messages"] if each["role"] == "assistant" for block in each["content"]]
    return [
        (before["thinking"], before["signature"])
        for before, block in pairwise(blocks)
        if block["type"] == "tool_use" and before["type"] == "thinking"
    ]


def bedrocks(body: Any) -> list[Any]:
    blocks = [block for each in body["messages"] if each["role"] == "assistant" for block in each["content"]]
    thoughts = [
        before["reasoningContent"]["reasoningText"]
        for before, block in pairwise(blocks)
        if "toolUse" in block and "reasoningContent" in before
    ]
    return [(thought["text"], thought["signature"]) for thought in thoughts]


def geminis(body: Any) -> list[Any]:
    parts = [part for content in body["contents"] for part in content["parts"] if "functionCall" in part]
    assert [part["functionCall"]["args"] for part in parts] == CALLS
    return [part["thoughtSignature"] for part in parts]


def responses(body: Any) -> list[Any]:
    return [
        ("".join(part["text"] for part in before["summary"]), before["encrypted_content"])
        for before, item in pairwise(body["input"])
        if item.get("type") == "function_call" and before.get("type") == "reasoning"
    ]


def chats(body: Any) -> list[Any]:
    said = [message for message in body["messages"] if message["role"] == "assistant"]
    assert [json.loads(message["tool_calls"][0]["function"]["arguments"]) for message in said] == CALLS
    return [message["reasoning_content"] for message in said]


BACK: dict[str, tuple[Callable[[Any], list[Any]], list[Any]]] = {
    "anthropic": (anthropics, SIGNED),
    "anthropic on bedrock": (anthropics, SIGNED),
    "bedrock": (bedrocks, SIGNED),
    "responses": (responses, SIGNED),
    # Google looks at the signature alone.
    "gemini": (geminis, [signature for _, signature in SIGNED]),
    # DeepSeek's models sign nothing, and refuse a history of calls without their thoughts.
    "openai": (chats, THOUGHTS),
}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("to", [name for name in table.UPSTREAMS if name != "Cohere v2"])
@pytest.mark.parametrize("client", LOOPS)
def test_what_a_model_thought_comes_back_to_it(
    gateway: Gateway, upstream: Upstream, client: str, to: str, streamed: bool
) -> None:
    slug, base = table.UPSTREAMS[to]
    text = LOOPS[client](gateway, slug, model(base, LOOP.name), streamed)
    assert text == LOOP.then[-1].text
    read, expected = BACK[upstream.dialects[-1]]
    assert read(json.loads(upstream.bodies[-1])) == expected
