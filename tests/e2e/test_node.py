"""The SDKs of Node: Portkey's, OpenAI's and Anthropic's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.programs import scenario
from tests.e2e.samples import CLAUDE, GPT, SAID
from tests.fakes.gateway import ADMIN_KEY, ANTHROPIC_SLUG, OPENAI_SECRET, OPENAI_SLUG, Gateway, Upstream

both = pytest.mark.parametrize("model", [GPT, CLAUDE], ids=["openai", "anthropic"])


@pytest.mark.parametrize(
    ("options", "model", "provider", "reason"),
    [
        ({"virtualKey": OPENAI_SLUG}, "gpt-4o", "openai", "stop"),
        ({"provider": f"@{ANTHROPIC_SLUG}"}, "claude-sonnet-4-5", "anthropic", "end_turn"),
        ({"virtualKey": ANTHROPIC_SLUG, "strictOpenAiCompliance": True}, "claude-sonnet-4-5", "anthropic", "stop"),
        ({"config": "pc-openai"}, "gpt-4o", "openai", "stop"),
        ({"config": {"virtual_key": OPENAI_SLUG}}, "gpt-4o", "openai", "stop"),
        ({}, GPT, "openai", "stop"),
    ],
    ids=["virtual key", "provider", "strict", "saved config", "inline config", "model"],
)
def test_portkey_chats_and_reads_what_happened(
    options: dict[str, Any], model: str, provider: str, reason: str, gateway: Gateway, upstream: Upstream
) -> None:
    found = scenario("chat", gateway, model=model, options={**options, "traceID": "t-1"})
    assert found["answer"]["choices"][0]["message"]["content"] == SAID
    assert found["answer"]["choices"][0]["finish_reason"] == reason
    assert found["headers"] == {
        "trace-id": "t-1",
        "provider": provider,
        "last-used-option-index": "config",
        "retry-attempt-count": "0",
        "cache-status": "DISABLED",
    }


@both
def test_portkey_streams(model: str, gateway: Gateway) -> None:
    found = scenario("stream", gateway, model=model)
    assert found["text"] == SAID
    assert len(found["finish"]) == 1


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (f"@{OPENAI_SLUG}/gpt-3.5-turbo-instruct", "/v1/completions"),
        (f"@{ANTHROPIC_SLUG}/claude-2", "/v1/complete"),
        (CLAUDE, "/v1/messages"),
        (GPT, "/v1/chat/completions"),
    ],
)
def test_portkey_completes_prompts(model: str, path: str, gateway: Gateway, upstream: Upstream) -> None:
    found = scenario("completions", gateway, model=model)
    assert found["object"] == "text_completion"
    assert (found["text"].strip(), found["streamed"].strip()) == (SAID, SAID)
    assert {record.path for record in upstream.requests()} == {path}


def test_portkey_may_leave_the_model_to_the_virtual_key(gateway: Gateway, upstream: Upstream) -> None:
    scenario("withoutModel", gateway, options={"virtualKey": "openai-defaults"})
    assert upstream.last.model == "gpt-4o-mini"


def test_options_of_one_call_are_taken(gateway: Gateway) -> None:
    call = {"config": "pc-anthropic", "traceID": "t-2", "metadata": {"_user": "Zoë"}}
    found = scenario("perCall", gateway, options={"virtualKey": OPENAI_SLUG}, call=call)
    assert (found["trace-id"], found["provider"]) == ("t-2", "anthropic")


def test_a_raw_authorization_without_bearer_is_no_gateway_key(gateway: Gateway, upstream: Upstream) -> None:
    scenario("chat", gateway, model="gpt-4o", options={"virtualKey": OPENAI_SLUG, "Authorization": "sk-mine"})
    assert upstream.last.header("authorization") == f"Bearer {OPENAI_SECRET}"


@pytest.mark.parametrize(
    ("model", "status", "name"),
    [
        ("@nobody/gpt-4o", 400, "BadRequestError"),
        ("no-such-model", 404, "NotFoundError"),
        ("@openai-small/gpt-4o", 412, "APIError"),
        (f"{GPT}::status=429", 429, "RateLimitError"),
        (f"{GPT}::status=500", 500, "InternalServerError"),
        (f"{CLAUDE}::junk=1", 502, "InternalServerError"),
    ],
)
def test_failures_are_raised_with_their_status_and_not_repeated(
    model: str, status: int, name: str, gateway: Gateway, upstream: Upstream
) -> None:
    found = scenario("failure", gateway, model=model)
    assert (found["status"], found["name"]) == (status, name)
    assert found["message"]
    assert len(upstream.requests()) <= 1


def test_embeddings_and_models(gateway: Gateway) -> None:
    assert scenario("embeddings", gateway, model=f"@{OPENAI_SLUG}/text-embedding-3-small") == [1536, 1536]
    listed = scenario("models", gateway)
    assert GPT in listed
    assert CLAUDE in listed


@both
def test_openais_sdk(model: str, gateway: Gateway) -> None:
    found = scenario("openai", gateway, model=model)
    assert (found["text"], found["usage"]) == (SAID, 9)
    assert found["calls"] == ["weather", "time"]
    assert (found["stream"]["text"], found["stream"]["finish"]) == (SAID, ["stop"])
    streamed = found["toolStream"]["calls"]
    assert [streamed[index]["name"] for index in ("0", "1")] == ["weather", "time"]
    assert all(set(json.loads(call["arguments"])) == {"city"} for call in streamed.values())
    assert (found["failure"]["status"], found["failure"]["name"]) == (429, "RateLimitError")
    assert found["cut"]["name"] == "APIError"


def test_openais_sdk_with_portkeys_headers(gateway: Gateway, upstream: Upstream) -> None:
    answer = scenario("openaiWithPortkeyHeaders", gateway, options={"virtualKey": OPENAI_SLUG})
    assert answer["choices"][0]["message"]["content"] == SAID
    assert upstream.last.credential == OPENAI_SECRET


def test_openais_sdk_on_audio_files_and_moderations(gateway: Gateway) -> None:
    found = scenario("openaiRest", gateway, headers={"x-portkey-virtual-key": OPENAI_SLUG})
    assert found["speech"] == 4096
    assert found["heard"].startswith("a.mp3: 100000 bytes")
    assert found["uploaded"] == 3
    assert found["flagged"] is True


@pytest.mark.parametrize("model", [CLAUDE, GPT], ids=["anthropic", "openai"])
def test_anthropics_sdk(model: str, gateway: Gateway) -> None:
    found = scenario("anthropic", gateway, model=model)
    assert (found["text"], found["streamed"], found["stop"]) == (SAID, SAID, "end_turn")
    assert (found["usage"]["input_tokens"], found["usage"]["output_tokens"]) == (5, 4)
    assert found["calls"] == [
        {"type": "tool_use", "name": "weather", "keys": ["city"]},
        {"type": "tool_use", "name": "time", "keys": ["city"]},
    ]
    assert found["counted"] > 0
    assert found["failure"]["status"] == 429
    assert found["failure"]["error"]["error"]["type"] == "rate_limit_error"


def test_portkeys_administration(gateway: Gateway, upstream: Upstream) -> None:
    found = scenario("administration", gateway, key=ADMIN_KEY, upstream=upstream.url)
    seen = found["seen"]
    assert found["slug"].startswith("from-node-")
    assert (seen["virtualKey"]["note"], seen["virtualKey"]["name"]) == ("second", "From Node")
    assert found["slug"] in seen["virtualKeys"]
    assert found["config"].startswith("pc-from-node-")
    assert found["config"] in seen["configs"]
    assert "retry" in json.dumps(seen["config"])
    assert seen["apiKey"]["name"] == "renamed"
    assert found["apiKey"] in seen["apiKeys"]
    assert seen["used"] == SAID
    assert seen["refused"]["status"] == 401
    assert seen["gone"]["status"] == 404
    assert "sk-node-secret" not in json.dumps(found)
    assert upstream.last.credential == "sk-node-secret-0001"


def test_portkeys_integrations_and_providers(gateway: Gateway, upstream: Upstream) -> None:
    seen = scenario("integrations", gateway, key=ADMIN_KEY, upstream=upstream.url)
    assert seen["integration"]["description"] == "changed"
    assert (seen["provider"]["note"], seen["provider"]["integration_id"]) == ("changed", "node-integration")
    assert "node-integration" in seen["integrations"]
    assert {"node-integration", "node-provider"} <= set(seen["providers"])
    assert seen["gone"]["status"] == 404
