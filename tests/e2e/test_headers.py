"""What the gateway's own headers do, and what its answers tell the SDKs."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.conftest import Make
from tests.e2e.samples import CLAUDE, GPT, HELLO, SAID, TEST
from tests.fakes.gateway import ADMIN_KEY, OPENAI_SLUG, SEED_KEY, Gateway, Upstream

CHAT = {"model": GPT, "messages": HELLO}
TO_OPENAI = {"x-portkey-virtual-key": OPENAI_SLUG}

ANSWERS: dict[str, tuple[str, str, Any, dict[str, str], int]] = {
    "chat": ("POST", "/v1/chat/completions", CHAT, {}, 200),
    "stream": ("POST", "/v1/chat/completions", {**CHAT, "stream": True}, {}, 200),
    "completion": ("POST", "/v1/completions", {"model": f"@{OPENAI_SLUG}/davinci-002", "prompt": TEST}, {}, 200),
    "embedding": ("POST", "/v1/embeddings", {"model": f"@{OPENAI_SLUG}/text-embedding-3-small", "input": "a"}, {}, 200),
    "message": ("POST", "/v1/messages", {"model": CLAUDE, "messages": HELLO, "max_tokens": 9}, {}, 200),
    "count": ("POST", "/v1/messages/count_tokens", {"model": CLAUDE, "messages": HELLO}, {}, 200),
    "models": ("GET", "/v1/models", None, {}, 200),
    "passed through": ("GET", "/v1/assistants", None, TO_OPENAI, 200),
    "administration": ("GET", "/v1/virtual-keys", None, {"x-portkey-api-key": ADMIN_KEY}, 200),
    "health": ("GET", "/v1/health", None, {}, 200),
    "metrics": ("GET", "/metrics", None, {}, 200),
    "no key": ("POST", "/v1/chat/completions", CHAT, {"x-portkey-api-key": ""}, 401),
    "wrong key": ("POST", "/v1/chat/completions", CHAT, {"x-portkey-api-key": "lw-wrong"}, 401),
    "wrong key, unknown path": ("GET", "/nowhere", None, {"x-portkey-api-key": "lw-wrong"}, 401),
    "missing scope": ("GET", "/v1/virtual-keys", None, {}, 403),
    "missing inference scope": ("POST", "/v1/chat/completions", CHAT, {"x-portkey-api-key": ADMIN_KEY}, 403),
    "bad json": ("POST", "/v1/chat/completions", b"{", {}, 400),
    "unknown slug": ("POST", "/v1/chat/completions", {**CHAT, "model": "@nobody/gpt-4o"}, {}, 400),
    "unknown model": ("POST", "/v1/chat/completions", {**CHAT, "model": "no-such-model"}, {}, 404),
    "unknown path": ("GET", "/nowhere", None, {}, 404),
    "unknown method": ("DELETE", "/v1/virtual-keys", None, {"x-portkey-api-key": ADMIN_KEY}, 405),
    "model not allowed": ("POST", "/v1/chat/completions", {**CHAT, "model": "@openai-small/gpt-4o"}, {}, 412),
    "provider's 429": ("POST", "/v1/chat/completions", {**CHAT, "model": f"{GPT}::status=429"}, {}, 429),
    "provider's 500": ("POST", "/v1/chat/completions", {**CHAT, "model": f"{GPT}::status=500"}, {}, 500),
    "provider's nonsense": ("POST", "/v1/chat/completions", {**CHAT, "model": f"{CLAUDE}::junk=1"}, {}, 502),
    "provider's reset": ("POST", "/v1/chat/completions", {**CHAT, "model": f"{CLAUDE}::reset_after=0"}, {}, 502),
    "timeout": (
        "POST",
        "/v1/chat/completions",
        {**CHAT, "model": f"{GPT}::stall_after=0"},
        {"x-portkey-request-timeout": "100"},
        408,
    ),
}
answers = pytest.mark.parametrize(("method", "path", "body", "headers", "status"), ANSWERS.values(), ids=[*ANSWERS])


@answers
def test_every_answer_carries_the_clients_trace_id(
    method: str, path: str, body: Any, headers: dict[str, str], status: int, gateway: Gateway
) -> None:
    given = {"x-portkey-api-key": SEED_KEY, "x-portkey-trace-id": "trace-of-mine", **headers}
    answer = gateway.request(method, path, body, headers=given)
    assert answer.status_code == status, answer.text
    assert answer.headers.get_list("x-portkey-trace-id") == ["trace-of-mine"]


@answers
def test_every_answer_carries_a_trace_id_of_its_own(
    method: str, path: str, body: Any, headers: dict[str, str], status: int, gateway: Gateway
) -> None:
    given = {"x-portkey-api-key": SEED_KEY, **headers}
    found = {gateway.request(method, path, body, headers=given).headers["x-portkey-trace-id"] for _ in range(2)}
    assert len(found) == 2


def test_even_a_request_that_is_not_http_gets_a_trace_id(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as raw:
        raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a b\r\n\r\n")
        said = raw.makefile("rb").read()
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nx-portkey-trace-id: " in said


def test_the_trace_id_of_a_traceparent_is_taken(gateway: Gateway) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    given = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    answer = gateway.post("/v1/chat/completions", CHAT, headers={"x-portkey-api-key": SEED_KEY, **given})
    assert answer.headers["x-portkey-trace-id"] == trace


def test_the_sdk_reads_what_happened_from_the_answer(portkey: Make) -> None:
    client = portkey(virtual_key=OPENAI_SLUG, trace_id="t-1")
    answer = client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert answer.get_headers() == {
        "trace-id": "t-1",
        "provider": "openai",
        "last-used-option-index": "config",
        "retry-attempt-count": "0",
        "cache-status": "DISABLED",
    }


def test_headers_of_another_gateway_upstream_are_not_passed_on(gateway: Gateway) -> None:
    answer = gateway.post("/v1/chat/completions", {**CHAT, "model": f"{GPT}::headers=5"})
    for name in ("x-portkey-provider", "x-portkey-trace-id", "x-portkey-cache-status"):
        assert len(answer.headers.get_list(name)) == 1
    assert "set-cookie" not in answer.headers


def test_rate_limits_of_the_provider_are_passed_on(gateway: Gateway) -> None:
    answer = gateway.post("/v1/chat/completions", CHAT)
    assert answer.headers["x-ratelimit-remaining-requests"] == "9999"
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    "failure",
    [
        {"model": "@nobody/gpt-4o"},
        {"model": "no-such-model"},
        {"model": "@openai-overloaded/gpt-4o"},
        {"model": f"{GPT}::status=500"},
        {"model": f"{CLAUDE}::junk=1"},
        {"model": f"{GPT}::reset_after=0"},
    ],
    ids=lambda failure: failure["model"],
)
def test_the_sdk_does_not_repeat_what_the_gateway_answered(failure: dict[str, str], portkey: Make) -> None:
    client = portkey()
    sent: list[httpx.Request] = []
    client.openai_client._client.event_hooks["request"].append(sent.append)
    with pytest.raises(Exception, match="Error code"):
        client.chat.completions.create(messages=HELLO, **failure)
    assert len(sent) == 1


@pytest.mark.parametrize(
    ("option", "reason"), [({}, "end_turn"), ({"strict_open_ai_compliance": True}, "stop")], ids=["default", "strict"]
)
def test_portkeys_sdk_is_not_strict_unless_asked(option: dict[str, Any], reason: str, portkey: Make) -> None:
    client = portkey(virtual_key="anthropic-key-6317bc", **option)
    answer = client.chat.completions.create(model="claude-sonnet-4-5", messages=HELLO)
    assert answer.choices[0].finish_reason == reason


def test_plain_clients_get_the_strict_shape(openai_client: Make) -> None:
    answer = openai_client().chat.completions.create(model=CLAUDE, messages=HELLO)
    assert answer.choices[0].finish_reason == "stop"
    assert "content_blocks" not in answer.choices[0].message.model_extra


def test_named_headers_are_forwarded_and_no_others(gateway: Gateway, upstream: Upstream) -> None:
    given = {
        "x-portkey-api-key": SEED_KEY,
        "x-portkey-forward-headers": "X-Tenant, x-feature",
        "x-tenant": "acme",
        "x-feature": "on",
        "x-other": "no",
    }
    gateway.post("/v1/chat/completions", CHAT, headers=given)
    assert upstream.last.header("x-tenant") == "acme"
    assert upstream.last.header("x-feature") == "on"
    assert upstream.last.header("x-other") is None


def test_portkeys_forward_headers_option_works_as_it_sends_it(portkey: Make, upstream: Upstream) -> None:
    client = portkey(virtual_key=OPENAI_SLUG, forward_headers=["X-Foo", "x-bar"], x_foo="foo", **{"x-bar": "bar"})
    client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert upstream.last.header("x-foo") == "foo"
    assert upstream.last.header("x-bar") == "bar"


def test_a_config_can_name_headers_to_forward(gateway: Gateway, upstream: Upstream) -> None:
    config = {"virtual_key": OPENAI_SLUG, "forward_headers": ["x-tenant"]}
    given = {"x-portkey-api-key": SEED_KEY, "x-portkey-config": json.dumps(config), "x-tenant": "acme"}
    gateway.post("/v1/chat/completions", CHAT, headers=given)
    assert upstream.last.header("x-tenant") == "acme"


@pytest.mark.parametrize("name", ["host", "Content-Length", "cookie", "authorization", "metadata-flavor", "x-api-key"])
def test_some_headers_are_never_forwarded(name: str, gateway: Gateway, upstream: Upstream) -> None:
    given = {"x-portkey-api-key": SEED_KEY, "x-portkey-forward-headers": name}
    answer = gateway.post("/v1/chat/completions", CHAT, headers=given)
    assert answer.status_code == 400
    assert name in answer.json()["message"]
    assert upstream.requests() == []


@pytest.mark.parametrize("text", ["Zoë", "日本語", "naïve ☃ ключ"])
def test_metadata_of_any_script_is_taken_and_stays_here(text: str, gateway: Gateway, upstream: Upstream) -> None:
    for value in (json.dumps({"user": text}), json.dumps({"user": text}, ensure_ascii=False)):
        answer = httpx.post(
            f"{gateway.v1}/chat/completions",
            json=CHAT,
            headers=[(b"x-portkey-api-key", SEED_KEY.encode()), (b"x-portkey-metadata", value.encode())],
            trust_env=False,
        )
        assert answer.status_code == 200
    assert upstream.last.header("x-portkey-metadata") is None


def test_the_sdks_metadata_of_any_script_is_taken(portkey: Make) -> None:
    client = portkey(virtual_key=OPENAI_SLUG, metadata={"_user": "Zoë", "team": "ключ"})
    assert client.chat.completions.create(model="gpt-4o", messages=HELLO).choices[0].message.content == SAID


def test_a_trace_id_of_any_script_comes_back(gateway: Gateway) -> None:
    trace = "spür-☃".encode()
    answer = httpx.post(
        f"{gateway.v1}/chat/completions",
        json=CHAT,
        headers=[(b"x-portkey-api-key", SEED_KEY.encode()), (b"x-portkey-trace-id", trace)],
        trust_env=False,
    )
    found = [value for name, value in answer.headers.raw if name.lower() == b"x-portkey-trace-id"]
    assert found == [trace]


# Custom hosts


def test_a_host_of_the_client_is_refused_where_it_is_private(gateway: Gateway, upstream: Upstream) -> None:
    for host in (f"{upstream.url}/v1", "http://10.0.0.1/v1", "http://[::1]:80/v1", "http://169.254.169.254/latest"):
        given = {
            "x-portkey-api-key": SEED_KEY,
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": host,
            "authorization": "Bearer sk-mine",
        }
        answer = gateway.post("/v1/chat/completions", CHAT | {"model": "gpt-4o"}, headers=given)
        assert answer.status_code == 400, host
        assert "custom host" in answer.json()["message"]
    assert upstream.requests() == []


def test_a_host_of_the_client_never_gets_a_stored_credential(gateway: Gateway, upstream: Upstream) -> None:
    config = {"virtual_key": OPENAI_SLUG, "custom_host": "https://example.com/v1"}
    for headers in (
        {**TO_OPENAI, "x-portkey-custom-host": "https://example.com/v1"},
        {"x-portkey-config": json.dumps(config)},
    ):
        answer = gateway.post("/v1/chat/completions", CHAT, headers={"x-portkey-api-key": SEED_KEY, **headers})
        assert answer.status_code == 400
        assert "stored credential" in answer.json()["message"]
    assert upstream.requests() == []


def test_a_host_that_the_operator_trusts_may_be_named(launch: Any, upstream: Upstream) -> None:
    gateway = launch({"api_keys": [{"name": "a", "key": "lw-a"}], "server": {"trusted_custom_hosts": ["127.0.0.1"]}})
    client = openai.OpenAI(
        base_url=gateway.v1,
        api_key="sk-mine",
        max_retries=0,
        default_headers={
            "x-portkey-api-key": "lw-a",
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"{upstream.url}/v1",
        },
    )
    with client:
        answer = client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert answer.choices[0].message.content == SAID
    assert upstream.last.credential == "sk-mine"
