"""Config objects: fallback, retry, timeouts, parameters, and what their answers say of the way taken."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.e2e.conftest import Make
from tests.e2e.samples import HELLO, SAID, TEST, text_of
from tests.fakes.gateway import ANTHROPIC_SLUG, OPENAI_SLUG, Gateway, Upstream

OPENAI = {"virtual_key": OPENAI_SLUG, "override_params": {"model": "gpt-4o"}}
ANTHROPIC = {"virtual_key": ANTHROPIC_SLUG, "override_params": {"model": "claude-sonnet-4-5", "max_tokens": 50}}
BUSY = {"virtual_key": "anthropic-overloaded", "override_params": {"model": "claude-sonnet-4-5"}}
DOWN = {"virtual_key": "openai-overloaded"}
CHAT = {"model": "gpt-4o", "messages": HELLO}


def fallback(*targets: dict[str, Any], codes: list[int] | None = None, **more: Any) -> dict[str, str]:
    """The header of an inline fallback config."""
    strategy: dict[str, Any] = {"mode": "fallback"}
    if codes is not None:
        strategy["on_status_codes"] = codes
    return {"x-portkey-config": json.dumps({"strategy": strategy, "targets": list(targets), **more})}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_overloaded_anthropic_is_replaced_by_openai(stream: bool, openai_client: Make, upstream: Upstream) -> None:
    raw = openai_client(fallback(BUSY, OPENAI, codes=[529])).chat.completions.with_raw_response.create(
        model="gpt-4o", messages=HELLO, stream=stream
    )
    answer = raw.parse()
    assert (text_of(answer) if stream else answer.choices[0].message.content) == SAID
    assert raw.headers["x-portkey-last-used-option-index"] == "config.targets[1]"
    assert raw.headers["x-portkey-provider"] == "openai"
    assert [record.status for record in upstream.requests()] == [529, 200]


def test_an_anthropic_client_falls_back_to_openai_too(anthropic_client: Make) -> None:
    client = anthropic_client(fallback(BUSY, OPENAI))
    answer = client.messages.create(model="claude-sonnet-5-5", messages=HELLO, max_tokens=100)
    assert answer.content[0].text == SAID


def test_text_completions_fall_back_from_openai_to_anthropic(openai_client: Make, upstream: Upstream) -> None:
    targets = (
        {"virtual_key": "openai-overloaded"},
        {"virtual_key": ANTHROPIC_SLUG, "override_params": {"model": "claude-2"}},
    )
    answer = openai_client(fallback(*targets)).completions.create(
        model="gpt-3.5-turbo-instruct", prompt=TEST, max_tokens=100
    )
    assert answer.choices[0].text.strip() == SAID
    assert [record.route for record in upstream.requests()] == ["/v1/completions", "/v1/complete"]


def test_the_first_target_that_works_is_named(gateway: Gateway) -> None:
    answer = gateway.post("/v1/chat/completions", CHAT, headers=fallback(OPENAI, ANTHROPIC))
    assert answer.headers["x-portkey-last-used-option-index"] == "config.targets[0]"


def test_nested_targets_are_named_by_their_path(gateway: Gateway) -> None:
    inner = {"strategy": {"mode": "fallback"}, "targets": [DOWN, DOWN, OPENAI]}
    answer = gateway.post("/v1/chat/completions", CHAT, headers=fallback(inner, ANTHROPIC))
    assert answer.headers["x-portkey-last-used-option-index"] == "config.targets[0].targets[2]"


def test_a_single_target_is_named_config(gateway: Gateway) -> None:
    answer = gateway.post("/v1/chat/completions", CHAT, headers={"x-portkey-config": json.dumps(OPENAI)})
    assert answer.headers["x-portkey-last-used-option-index"] == "config"


def test_a_status_that_is_not_listed_ends_the_search(gateway: Gateway, upstream: Upstream) -> None:
    answer = gateway.post("/v1/chat/completions", CHAT, headers=fallback(DOWN, OPENAI, codes=[429]))
    assert answer.status_code == 503
    assert len(upstream.requests()) == 1


def test_a_listed_success_is_passed_over(gateway: Gateway, upstream: Upstream) -> None:
    answer = gateway.post("/v1/chat/completions", CHAT, headers=fallback(OPENAI, ANTHROPIC, codes=[200]))
    assert answer.status_code == 200
    assert [record.route for record in upstream.requests()] == ["/v1/chat/completions", "/v1/messages"]


def test_when_all_fail_the_last_answer_counts(gateway: Gateway) -> None:
    answer = gateway.post("/v1/chat/completions", CHAT, headers=fallback(DOWN, BUSY))
    assert answer.status_code == 529
    assert answer.headers["x-portkey-last-used-option-index"] == "config.targets[1]"
    assert answer.json()["error"]["message"]
    assert answer.json()["status"] == "failure"


def test_an_unreachable_provider_is_passed_over(launch: Any, upstream: Upstream) -> None:
    gone = {"slug": "gone", "provider": "openai", "key": "k", "custom_host": "http://127.0.0.1:9/v1"}
    here = {"slug": "here", "provider": "openai", "key": "k", "custom_host": f"{upstream.url}/v1"}
    gateway = launch({"virtual_keys": [gone, here], "api_keys": [{"name": "a", "key": "lw-a"}]})
    headers = {"x-portkey-api-key": "lw-a", **fallback({"virtual_key": "gone"}, {"virtual_key": "here"})}
    assert gateway.post("/v1/chat/completions", CHAT, headers=headers).status_code == 200
    alone = gateway.post("/v1/chat/completions", CHAT, headers={"x-portkey-virtual-key": "gone"}, key="lw-a")
    assert alone.status_code == 502
    assert alone.headers["x-portkey-trace-id"]


def test_a_streams_first_event_decides_on_the_fallback(openai_client: Make, upstream: Upstream) -> None:
    broken = {"virtual_key": ANTHROPIC_SLUG, "override_params": {"model": "claude-sonnet-4-5::error_after=0"}}
    stream = openai_client(fallback(broken, OPENAI)).chat.completions.create(
        model="gpt-4o", messages=HELLO, stream=True
    )
    assert text_of(stream) == SAID
    assert len(upstream.requests()) == 2


# Retry


def retry(slug: str, attempts: int, codes: list[int] | None = None) -> dict[str, str]:
    """The header of a config with a retry."""
    policy: dict[str, Any] = {"attempts": attempts, "use_retry_after_header": True}
    if codes is not None:
        policy["on_status_codes"] = codes
    return {"x-portkey-config": json.dumps({"virtual_key": slug, "retry": policy})}


def test_retries_are_counted_up_to_the_one_that_works(gateway: Gateway, upstream: Upstream) -> None:
    body = {"model": "gpt-4o::status=429,retry_after_ms=20,fail_first=2,key=a", "messages": HELLO}
    answer = gateway.post("/v1/chat/completions", body, headers=retry(OPENAI_SLUG, 3))
    assert answer.status_code == 200
    assert answer.headers["x-portkey-retry-attempt-count"] == "2"
    assert len(upstream.requests()) == 3


def test_retries_that_are_used_up_count_as_minus_one(gateway: Gateway, upstream: Upstream) -> None:
    answer = gateway.post("/v1/chat/completions", CHAT, headers=retry("openai-limited", 2))
    assert answer.status_code == 429
    assert answer.headers["x-portkey-retry-attempt-count"] == "-1"
    assert len(upstream.requests()) == 3


def test_the_providers_retry_after_is_waited_for(gateway: Gateway, upstream: Upstream) -> None:
    body = {"model": "gpt-4o::status=429,retry_after_ms=300,fail_first=1,key=b", "messages": HELLO}
    gateway.post("/v1/chat/completions", body, headers=retry(OPENAI_SLUG, 1))
    first, second = upstream.requests()
    assert first.ended_at is not None
    assert second.accepted_at - first.ended_at >= 0.25


def test_a_retry_after_beyond_a_minute_is_not_waited_for(gateway: Gateway, upstream: Upstream) -> None:
    body = {"model": "gpt-4o::status=429,retry_after=600", "messages": HELLO}
    answer = gateway.post("/v1/chat/completions", body, headers=retry(OPENAI_SLUG, 3))
    assert answer.status_code == 429
    assert answer.headers["x-portkey-retry-attempt-count"] == "-1"
    assert answer.headers["retry-after"] == "600"
    assert len(upstream.requests()) == 1


def test_only_listed_codes_are_retried(gateway: Gateway, upstream: Upstream) -> None:
    answer = gateway.post("/v1/chat/completions", CHAT, headers=retry("openai-overloaded", 3, [429]))
    assert answer.status_code == 503
    assert answer.headers["x-portkey-retry-attempt-count"] == "0"
    assert len(upstream.requests()) == 1


def test_a_request_that_works_counts_no_retry(gateway: Gateway) -> None:
    answer = gateway.post("/v1/chat/completions", CHAT, headers={"x-portkey-config": "pc-patient"})
    assert answer.headers["x-portkey-retry-attempt-count"] == "0"


# Timeouts


@pytest.mark.parametrize("how", ["header", "config"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_provider_that_is_too_slow_is_408(how: str, stream: bool, gateway: Gateway, upstream: Upstream) -> None:
    body = {"model": "gpt-4o::stall_after=0", "messages": HELLO, "stream": stream}
    headers = {"x-portkey-virtual-key": OPENAI_SLUG, "x-portkey-request-timeout": "200"}
    if how == "config":
        headers = {"x-portkey-config": json.dumps({"virtual_key": OPENAI_SLUG, "request_timeout": 200})}
    began = time.monotonic()
    answer = gateway.post("/v1/chat/completions", body, headers=headers)
    assert answer.status_code == 408
    assert time.monotonic() - began < 30
    assert answer.json()["error"]["type"] == "timeout_error"
    assert answer.json()["error"]["message"] == "Request exceeded the timeout sent in the request: 200ms"
    assert answer.json()["status"] == "failure"
    upstream.until(lambda stats: stats["open"] == 0)


def test_portkeys_request_timeout_raises_its_error(portkey: Make) -> None:
    client = portkey(virtual_key=OPENAI_SLUG, request_timeout=200)
    with pytest.raises(Exception, match="Request exceeded the timeout") as raised:
        client.chat.completions.create(model="gpt-4o::stall_after=0", messages=HELLO)
    assert getattr(raised.value, "status_code", None) == 408


def test_a_timeout_leads_to_the_next_target(gateway: Gateway, upstream: Upstream) -> None:
    slow = {"virtual_key": OPENAI_SLUG, "override_params": {"model": "gpt-4o::stall_after=0"}, "request_timeout": 200}
    answer = gateway.post("/v1/chat/completions", CHAT, headers=fallback(slow, ANTHROPIC, codes=[408]))
    assert answer.status_code == 200
    assert answer.headers["x-portkey-last-used-option-index"] == "config.targets[1]"


def test_a_stream_that_has_begun_is_not_timed_out(openai_client: Make) -> None:
    client = openai_client({"x-portkey-virtual-key": OPENAI_SLUG, "x-portkey-request-timeout": "1500"})
    stream = client.chat.completions.create(model="gpt-4o::gap=200,chunks=10", messages=HELLO, stream=True)
    assert text_of(stream).startswith(SAID)


# Parameters


def test_params_of_the_target_override_the_clients(gateway: Gateway, upstream: Upstream) -> None:
    config = {"virtual_key": OPENAI_SLUG, "override_params": {"model": "gpt-4o-mini", "temperature": 0}}
    body = {"model": "gpt-4o", "messages": HELLO, "temperature": 1, "seed": 7}
    gateway.post("/v1/chat/completions", body, headers={"x-portkey-config": json.dumps(config)})
    assert upstream.last.json() == {"model": "gpt-4o-mini", "messages": HELLO, "temperature": 0, "seed": 7}


def test_every_target_sees_the_clients_originals(gateway: Gateway, upstream: Upstream) -> None:
    first = {**DOWN, "override_params": {"temperature": 0}}
    body = {"model": "gpt-4o", "messages": HELLO, "temperature": 1}
    gateway.post("/v1/chat/completions", body, headers=fallback(first, {"virtual_key": OPENAI_SLUG}))
    assert [record.json()["temperature"] for record in upstream.requests()] == [0, 1]


def test_a_slug_in_the_overridden_model_addresses_the_target(gateway: Gateway, upstream: Upstream) -> None:
    config = {"override_params": {"model": f"@{ANTHROPIC_SLUG}/claude-sonnet-4-5"}}
    answer = gateway.post("/v1/chat/completions", CHAT, headers={"x-portkey-config": json.dumps(config)})
    assert answer.status_code == 200
    assert upstream.last.path == "/v1/messages"
    assert upstream.last.model == "claude-sonnet-4-5"


# Findings


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{", "valid json"),
        ("pc-opnai", "pc-openai"),
        ("nonsense", "JSON object or the slug"),
        ({"virtual_key": "open-ai-key-6317bd"}, OPENAI_SLUG),
        ({"strategy": {"mode": "fallbak"}, "targets": [OPENAI]}, "fallback"),
        ({"virtual_key": OPENAI_SLUG, "retry": {"attempts": "many"}}, "retry,attempts"),
        ({"strategy": {"mode": "fallback"}, "targets": [OPENAI, {"virtual_key": 3}]}, "targets,1,virtual_key"),
    ],
    ids=str,
)
def test_a_wrong_config_is_refused_with_its_place(config: Any, said: str, gateway: Gateway, upstream: Upstream) -> None:
    text = config if isinstance(config, str) else json.dumps(config)
    answer = gateway.post("/v1/chat/completions", CHAT, headers={"x-portkey-config": text})
    assert answer.status_code == 400
    assert said in answer.text
    assert answer.headers["x-portkey-trace-id"]
    assert upstream.requests() == []


def test_the_sdk_raises_what_the_gateway_found(portkey: Make) -> None:
    with pytest.raises(Exception, match="Error code: 400") as raised:
        portkey(config={"strategy": {"mode": "none"}, "targets": []}).chat.completions.create(
            model="gpt-4o", messages=HELLO
        )
    assert "mode" in str(raised.value)
