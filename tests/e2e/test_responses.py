"""OpenAI's SDK on Responses: what it reads is the same whichever provider answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import openai
import pytest
from pydantic import BaseModel

from tests.e2e.conftest import Make
from tests.e2e.samples import CITY, CLAUDE, GPT, SAID, TEST
from tests.fakes.gateway import (
    ANTHROPIC_SLUG,
    OPENAI_SECRET,
    OPENAI_SLUG,
    SEED_KEY,
    Gateway,
    Upstream,
    virtual_key,
)
from tests.fakes.upstream import Asked, Scripted, ok

both = pytest.mark.parametrize("model", [CLAUDE, GPT], ids=["anthropic", "openai"])
TOOLS: list[Any] = [
    {"type": "function", "name": name, "description": f"The {name} of a city", "parameters": CITY, "strict": True}
    for name in ("weather", "time")
]


@both
def test_a_response_is_answered(model: str, openai_client: Make) -> None:
    answer = openai_client().responses.create(model=model, input=TEST)
    assert (answer.object, answer.status, answer.output_text) == ("response", "completed", SAID)
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (5, 4)


@both
def test_a_response_is_streamed(model: str, openai_client: Make) -> None:
    with openai_client().responses.stream(model=model, input=TEST) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert final.output_text == SAID


@both
def test_tools_are_called_in_parallel_and_their_results_taken(
    model: str, openai_client: Make, upstream: Upstream
) -> None:
    client = openai_client()
    items: list[Any] = [{"role": "user", "content": "Use the tools weather and time for Paris"}]
    with client.responses.stream(model=model, input=items, tools=TOOLS) as stream:
        first = stream.get_final_response()
    calls = [item for item in first.output if item.type == "function_call"]
    assert [call.name for call in calls] == ["weather", "time"]
    items += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in first.output]
    items += [{"type": "function_call_output", "call_id": call.call_id, "output": f"{call.name} ok"} for call in calls]
    second = client.responses.create(model=model, input=items, tools=TOOLS)
    assert "ok" in second.output_text
    if model == CLAUDE:
        results = upstream.last.json()["messages"][-1]["content"]
        assert [block["tool_use_id"] for block in results] == [call.call_id for call in calls]


class Place(BaseModel):
    city: str


@both
def test_an_answer_is_parsed_by_its_schema(model: str, openai_client: Make) -> None:
    answer = openai_client().responses.parse(model=model, input="Where?", text_format=Place)
    assert isinstance(answer.output_parsed, Place)


def test_a_provider_that_has_responses_gets_the_bytes_as_they_are(gateway: Gateway, upstream: Upstream) -> None:
    body = b'{ "model":"gpt-4o",  "input": "Say this is a test", "previous_response_id":null }'
    headers = {
        "x-portkey-api-key": gateway.api_key,
        "x-portkey-virtual-key": OPENAI_SLUG,
        "content-type": "application/json",
    }
    answer = httpx.post(f"{gateway.v1}/responses", content=body, headers=headers)
    assert answer.status_code == 200
    assert upstream.last.path == "/v1/responses"
    assert upstream.last.body == body
    assert upstream.last.credential == OPENAI_SECRET


def test_stored_responses_are_left_to_providers_that_store(openai_client: Make, upstream: Upstream) -> None:
    client = openai_client({"x-portkey-virtual-key": OPENAI_SLUG})
    client.responses.with_raw_response.retrieve("resp_1")
    assert (upstream.last.method, upstream.last.path) == ("GET", "/v1/responses/resp_1")
    client.responses.with_raw_response.cancel("resp_1")
    assert (upstream.last.method, upstream.last.path) == ("POST", "/v1/responses/resp_1/cancel")

    elsewhere = openai_client({"x-portkey-virtual-key": ANTHROPIC_SLUG})
    with pytest.raises(openai.BadRequestError, match="stores no responses"):
        elsewhere.responses.retrieve("resp_1")
    with pytest.raises(openai.BadRequestError, match="stores no responses") as refused:
        elsewhere.responses.create(model="claude-sonnet-4-5", input="a", previous_response_id="resp_1")
    assert refused.value.param == "previous_response_id"


async def test_background_responses_are_the_providers_from_beginning_to_end(tmp_path: Path) -> None:
    stored = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5", "output": [], "tools": []}
    item = {"id": "msg_1", "type": "message", "role": "user", "content": [{"type": "input_text", "text": TEST}]}
    answers = {
        "POST /v1/responses": {**stored, "status": "queued", "background": True},
        "GET /v1/responses/resp_1?include[]=reasoning.encrypted_content": {**stored, "status": "in_progress"},
        "GET /v1/responses/resp_1/input_items?limit=5": {"object": "list", "data": [item], "has_more": False},
        "POST /v1/responses/resp_1/cancel": {**stored, "status": "cancelled"},
        "DELETE /v1/responses/resp_1": {"id": "resp_1", "object": "response", "deleted": True},
    }

    def asked_for(asked: Asked) -> str:
        return unquote(asked.line.removesuffix(" HTTP/1.1"))

    async with Scripted(play=lambda asked: [ok(json.dumps(answers[asked_for(asked)]).encode())]) as keeper:
        keys = [virtual_key("keeper", "openai", keeper.url)]
        config = {"virtual_keys": keys, "api_keys": [{"name": "a", "key": SEED_KEY, "scopes": ["inference"]}]}
        with Gateway(tmp_path, config) as gateway:
            slug = {"x-portkey-virtual-key": "keeper"}
            async with openai.AsyncOpenAI(api_key=SEED_KEY, base_url=gateway.v1, default_headers=slug) as client:
                made = await client.responses.create(model="gpt-5", input=TEST, background=True, store=True)
                assert (made.status, made.background) == ("queued", True)
                kept = await client.responses.retrieve(made.id, include=["reasoning.encrypted_content"])
                assert kept.status == "in_progress"
                items = await client.responses.input_items.list(made.id, limit=5)
                assert [item.id for item in items.data] == ["msg_1"]
                assert (await client.responses.cancel(made.id)).status == "cancelled"
                await client.responses.delete(made.id)
    assert keeper.requests[0].json() == {"model": "gpt-5", "input": TEST, "background": True, "store": True}
    assert [asked_for(asked) for asked in keeper.requests] == list(answers)


def test_what_is_dropped_is_named_or_refused(openai_client: Make) -> None:
    client = openai_client()
    answer = client.responses.with_raw_response.create(model=CLAUDE, input=TEST, truncation="auto")
    assert answer.headers["x-loopway-dropped-params"] == "truncation"
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(
            model=CLAUDE, input=TEST, truncation="auto", extra_headers={"x-loopway-strict-params": "true"}
        )
    assert (refused.value.param, refused.value.code) == ("truncation", "unsupported_parameter")
    strict = {"x-portkey-config": f'{{"virtual_key": "{ANTHROPIC_SLUG}", "strict_params": true}}'}
    with pytest.raises(openai.BadRequestError, match="truncation"):
        openai_client(strict).responses.create(model="claude-sonnet-4-5", input=TEST, truncation="auto")


@pytest.mark.parametrize(
    "model", [f"@{ANTHROPIC_SLUG}/claude-sonnet-4-5::truncate_events=5", f"@{OPENAI_SLUG}/gpt-4o::truncate_events=5"]
)
def test_a_stream_cut_short_is_an_error_in_the_sdk(model: str, openai_client: Make) -> None:
    with pytest.raises(openai.APIError), openai_client().responses.stream(model=model, input=TEST) as stream:
        stream.get_final_response()


def test_the_error_that_ends_a_cut_stream_has_the_next_number(gateway: Gateway) -> None:
    answer = httpx.post(
        f"{gateway.v1}/responses",
        headers={"authorization": f"Bearer {gateway.api_key}"},
        json={"model": f"@{ANTHROPIC_SLUG}/claude-sonnet-4-5::truncate_events=5", "input": TEST, "stream": True},
    )
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    assert events[-1]["type"] == "error"
    assert len(events) > 2
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


def test_errors_of_another_dialect_keep_their_status(openai_client: Make) -> None:
    with pytest.raises(openai.RateLimitError) as limited:
        openai_client().responses.create(model=f"@{ANTHROPIC_SLUG}/claude-sonnet-4-5::status=429", input=TEST)
    assert limited.value.type == "rate_limit_error"
