"""The cache as the SDKs see it: configs in every form, and what `get_headers()` reads."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from google.genai import types

from tests.e2e.conftest import Make
from tests.e2e.programs import scenario
from tests.e2e.samples import HELLO, SAID, TEST, text_of
from tests.fakes.gateway import ADMIN_KEY, ANTHROPIC_SLUG, GOOGLE_SLUG, OPENAI_SLUG, Gateway, Upstream, standard

CACHED = {"cache": {"mode": "simple", "max_age": 60}, "virtual_key": OPENAI_SLUG}
UPSTREAMS = {
    "google": (GOOGLE_SLUG, "gemini-2.5-flash"),
    "openai": (OPENAI_SLUG, "gpt-4o"),
    "anthropic": (ANTHROPIC_SLUG, "claude-sonnet-4-5"),
}
FORMS: dict[str, Any] = {"dict": CACHED, "JSON": json.dumps(CACHED)}


def _ask(client: Any, namespace: str, **options: Any) -> Any:
    return client.with_options(cache_namespace=namespace).chat.completions.create(
        model="gpt-4o", messages=HELLO, **options
    )


@pytest.mark.parametrize("form", FORMS)
def test_the_second_answer_is_a_hit_whatever_form_the_config_has(form: str, portkey: Make, upstream: Upstream) -> None:
    client = portkey(config=FORMS[form])
    first, second = [_ask(client, f"py-{form}").get_headers() for _ in range(2)]
    assert (first["cache-status"], second["cache-status"]) == ("MISS", "HIT")
    assert second["provider"] == "openai"
    assert second["last-used-option-index"] == "config"
    assert len(upstream.requests()) == 1


def test_a_saved_config_caches_as_well(portkey: Make, admin_config: str) -> None:
    client = portkey(config=admin_config)
    assert [_ask(client, "py-slug").get_headers()["cache-status"] for _ in range(2)] == ["MISS", "HIT"]


@pytest.fixture
def admin_config(portkey: Make) -> str:
    made = portkey(api_key=ADMIN_KEY).configs.create(name="cached", config=CACHED)
    slug: str = made.data["slug"]
    return slug


def test_a_stream_gets_what_a_whole_answer_left(portkey: Make, upstream: Upstream) -> None:
    client = portkey(config=CACHED)
    whole = _ask(client, "py-stream")
    assert text_of(_ask(client, "py-stream", stream=True)) == whole.choices[0].message.content == SAID
    assert len(upstream.requests()) == 1


def test_a_forced_refresh_is_an_option_of_the_sdk(portkey: Make) -> None:
    client = portkey(config=CACHED)
    _ask(client, "py-refresh")
    fresh = client.with_options(cache_namespace="py-refresh", cache_force_refresh=True)
    answer = fresh.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert answer.get_headers()["cache-status"] == "REFRESH"


def test_anthropics_sdk_reads_a_kept_message_as_a_stream(anthropic_client: Make, upstream: Upstream) -> None:
    config = json.dumps({**CACHED, "virtual_key": ANTHROPIC_SLUG})
    client = anthropic_client({"x-portkey-config": config, "x-portkey-cache-namespace": "anthropic"})
    asked: dict[str, Any] = {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": HELLO}
    whole = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        told = stream.get_final_message()
    assert [block.text for block in told.content] == [block.text for block in whole.content] == [SAID]
    assert told.stop_reason == whole.stop_reason
    assert told.usage.output_tokens == whole.usage.output_tokens
    assert len(upstream.requests()) == 1


def test_openais_sdk_reads_a_kept_response_as_a_stream(openai_client: Make, upstream: Upstream) -> None:
    client = openai_client({"x-portkey-config": json.dumps(CACHED), "x-portkey-cache-namespace": "responses"})
    asked: dict[str, Any] = {"model": "gpt-4o", "input": "Say this is a test"}
    whole = client.responses.create(**asked)
    with client.responses.stream(**asked) as stream:
        told = stream.get_final_response()
    assert told.output_text == whole.output_text
    assert told.id == whole.id
    assert len(upstream.requests()) == 1


@pytest.mark.parametrize("slug", ["google", "openai", "anthropic"])
def test_googles_sdk_reads_a_kept_answer_whole_and_as_a_stream(
    slug: str, gemini_client: Make, upstream: Upstream
) -> None:
    virtual_key, model = UPSTREAMS[slug]
    config = json.dumps({**CACHED, "virtual_key": virtual_key})
    models = gemini_client({"x-portkey-config": config, "x-portkey-cache-namespace": f"gemini-{slug}"}).models
    told = list(models.generate_content_stream(model=model, contents=TEST))
    whole = models.generate_content(model=model, contents=TEST)
    again = list(models.generate_content_stream(model=model, contents=TEST))
    assert "".join(event.text or "" for event in told) == whole.text == SAID
    assert "".join(event.text or "" for event in again) == SAID
    ends = [answer.candidates[0].finish_reason for answer in (told[-1], whole, again[-1])]
    assert ends == [types.FinishReason.STOP] * 3
    counts = {answer.usage_metadata.candidates_token_count for answer in (told[-1], whole, again[-1])}
    assert counts == {4}
    assert len(upstream.requests()) == 1


@pytest.mark.parametrize("form", FORMS)
def test_portkey_for_node_reads_a_hit(form: str, gateway: Gateway, upstream: Upstream) -> None:
    options = {"config": FORMS[form], "cacheNamespace": f"node-{form}"}
    seen = [scenario("chat", gateway, model="gpt-4o", options=options)["headers"]["cache-status"] for _ in range(2)]
    assert seen == ["MISS", "HIT"]
    assert len(upstream.requests()) == 1


def test_workers_answer_as_one(launch: Any, upstream: Upstream) -> None:
    config = {**standard(upstream.url), "configs": [{"slug": "pc-cached", "config": CACHED}]}
    gateway = launch(config, workers=3)
    # A worker that runs is not yet one that listens: until it does, the others neither ask it nor wait for it.
    sockets = gateway.data / "run"
    gateway.until(lambda: len(list(sockets.glob("cache-*.sock"))) == 3, "all workers listen to one another")
    headers = {"x-portkey-config": "pc-cached", "x-portkey-api-key": gateway.api_key}
    body = {"model": "gpt-4o::latency=500", "messages": HELLO}

    def ask(_: int) -> str:
        # A connection of its own, so that any worker may take it.
        answer = httpx.post(f"{gateway.v1}/chat/completions", json=body, headers=headers, timeout=30)
        assert answer.status_code == 200
        return answer.headers["x-portkey-cache-status"]

    with ThreadPoolExecutor(24) as pool:
        seen = list(pool.map(ask, range(24)))
    assert seen.count("MISS") == 1
    assert [ask(0) for _ in range(12)] == ["HIT"] * 12
    assert len(upstream.requests()) == 1
