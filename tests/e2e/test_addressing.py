"""The many ways in which a request says where it goes, and which of them wins."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.conftest import Make
from tests.e2e.samples import CLAUDE, GPT, HELLO, SAID
from tests.fakes.gateway import ANTHROPIC_SECRET, ANTHROPIC_SLUG, OPENAI_SECRET, OPENAI_SLUG, Gateway, Upstream

CHAT = {"model": "gpt-4o", "messages": HELLO}
INLINE = {"virtual_key": OPENAI_SLUG}


@pytest.mark.parametrize(
    "options",
    [
        {"virtual_key": OPENAI_SLUG},
        {"provider": f"@{OPENAI_SLUG}"},
        {"provider": f"@{OPENAI_SLUG}/anything"},
        {"config": "pc-openai"},
        {"config": INLINE},
        {"config": json.dumps(INLINE)},
        {"config": {"provider": f"@{OPENAI_SLUG}"}},
        {"config": {"strategy": {"mode": "single"}, "targets": [{"virtual_key": OPENAI_SLUG}]}},
        {"config": {"virtual_key": OPENAI_SLUG, "override_params": {"model": "gpt-4o"}}},
        {"api_key": "lw-configured"},
    ],
    ids=str,
)
def test_portkeys_options_reach_the_same_provider(options: dict[str, Any], portkey: Make, upstream: Upstream) -> None:
    answer = portkey(**options).chat.completions.create(model="gpt-4o", messages=HELLO)
    assert answer.choices[0].message.content == SAID
    sent = upstream.last
    assert (sent.path, sent.model, sent.credential) == ("/v1/chat/completions", "gpt-4o", OPENAI_SECRET)


def test_options_of_one_call_win_over_those_of_the_client(portkey: Make, upstream: Upstream) -> None:
    client = portkey(virtual_key=ANTHROPIC_SLUG)
    client.with_options(virtual_key=OPENAI_SLUG).chat.completions.create(model="gpt-4o", messages=HELLO)
    assert upstream.last.path == "/v1/chat/completions"


@pytest.mark.parametrize("slug", [OPENAI_SLUG, ANTHROPIC_SLUG])
def test_the_model_in_the_body_names_the_virtual_key(slug: str, openai_client: Make, upstream: Upstream) -> None:
    openai_client().chat.completions.create(model=f"@{slug}/a/model/with/slashes", messages=HELLO)
    assert upstream.last.model == "a/model/with/slashes"
    assert upstream.last.path == ("/v1/chat/completions" if slug == OPENAI_SLUG else "/v1/messages")


def test_the_model_in_the_query_names_the_virtual_key(gateway: Gateway, upstream: Upstream) -> None:
    answer = gateway.post("/v1/chat/completions", {"messages": HELLO}, params={"model": f"@{OPENAI_SLUG}/gpt-4o"})
    assert answer.status_code == 200
    assert upstream.last.model == "gpt-4o"


def test_the_slug_in_the_body_is_stripped_whoever_decides(gateway: Gateway, upstream: Upstream) -> None:
    for headers in (
        {"x-portkey-virtual-key": OPENAI_SLUG},
        {"x-portkey-provider": f"@{OPENAI_SLUG}"},
        {"x-portkey-config": "pc-openai"},
    ):
        answer = gateway.post("/v1/chat/completions", {"model": CLAUDE, "messages": HELLO}, headers=headers)
        assert answer.status_code == 200
        assert upstream.last.path == "/v1/chat/completions"
        assert upstream.last.model == "claude-sonnet-4-5"


def test_names_that_look_like_slugs_but_are_models_stay_whole(gateway: Gateway, upstream: Upstream) -> None:
    for model in ("@cf/meta/llama-3", "@hf/thebloke/x"):
        body = {"model": model, "messages": HELLO}
        gateway.post("/v1/chat/completions", body, headers={"x-portkey-virtual-key": OPENAI_SLUG})
        assert upstream.last.model == model


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({"x-portkey-provider": f"@{OPENAI_SLUG}", "x-portkey-virtual-key": ANTHROPIC_SLUG}, "/v1/chat/completions"),
        ({"x-portkey-virtual-key": ANTHROPIC_SLUG}, "/v1/messages"),
        ({"x-portkey-config": "pc-anthropic", "x-portkey-virtual-key": OPENAI_SLUG}, "/v1/messages"),
        ({"x-portkey-config": "pc-anthropic", "x-portkey-provider": f"@{OPENAI_SLUG}"}, "/v1/messages"),
        ({"x-portkey-config": '{"retry": {"attempts": 1}}', "x-portkey-virtual-key": ANTHROPIC_SLUG}, "/v1/messages"),
        ({"x-portkey-api-key": "lw-configured", "x-portkey-config": "pc-anthropic"}, "/v1/messages"),
        ({"x-loopway-virtual-key": ANTHROPIC_SLUG}, "/v1/messages"),
        ({}, "/v1/chat/completions"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_the_order_of_precedence(headers: dict[str, str], path: str, gateway: Gateway, upstream: Upstream) -> None:
    body = {"model": GPT, "messages": HELLO}
    answer = gateway.post("/v1/chat/completions", body, headers={"x-portkey-api-key": gateway.api_key, **headers})
    assert answer.status_code == 200, answer.text
    assert upstream.last.path == path


def test_a_default_config_serves_a_client_that_knows_nothing(openai_client: Make, upstream: Upstream) -> None:
    answer = openai_client(api_key="lw-configured").chat.completions.create(model="whatever", messages=HELLO)
    assert answer.choices[0].message.content == SAID
    assert [record.route for record in upstream.requests()] == ["/v1/messages", "/v1/chat/completions"]


def test_a_fixed_default_config_cannot_be_replaced(openai_client: Make, upstream: Upstream) -> None:
    client = openai_client({"x-portkey-config": "pc-openai"}, api_key="lw-fixed")
    with pytest.raises(openai.BadRequestError, match="Cannot override default config"):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert upstream.requests() == []


def test_a_default_model_stands_in_for_none(portkey: Make, upstream: Upstream) -> None:
    portkey(virtual_key="openai-defaults").chat.completions.create(messages=HELLO)
    assert upstream.last.model == "gpt-4o-mini"


def test_portkeys_placeholders_are_left_out(gateway: Gateway, upstream: Upstream) -> None:
    body = {"model": "gpt-4o", "messages": HELLO, "temperature": "portkey-default", "max_tokens": "portkey-default"}
    headers = {"x-portkey-virtual-key": OPENAI_SLUG, "x-portkey-package-version": "portkey-2.3.4"}
    answer = gateway.post("/v1/chat/completions", body, headers=headers)
    assert answer.status_code == 200
    assert upstream.last.json() == {"model": "gpt-4o", "messages": HELLO}


@pytest.mark.parametrize("placeholder", ["OPENAI_API_KEY", "sk-of-the-client", "Bearer x"])
def test_a_clients_authorization_never_replaces_the_stored_credential(
    placeholder: str, gateway: Gateway, upstream: Upstream
) -> None:
    for headers in (
        {"x-portkey-virtual-key": OPENAI_SLUG},
        {"x-portkey-provider": f"@{OPENAI_SLUG}"},
        {"x-portkey-config": json.dumps(INLINE)},
    ):
        given = {"authorization": f"Bearer {placeholder}", "x-portkey-api-key": gateway.api_key, **headers}
        assert gateway.post("/v1/chat/completions", CHAT, headers=given).status_code == 200
        assert upstream.last.header("authorization") == f"Bearer {OPENAI_SECRET}"


@pytest.mark.parametrize(
    "header", ["x-portkey-api-key", "x-loopway-api-key", "authorization", "x-api-key", "api-key", "x-goog-api-key"]
)
def test_every_sdks_place_for_a_key_is_read(header: str, gateway: Gateway, upstream: Upstream) -> None:
    answer = httpx.post(
        f"{gateway.v1}/chat/completions",
        json={"model": GPT, "messages": HELLO},
        headers={header: gateway.api_key},
        trust_env=False,
    )
    assert answer.status_code == 200
    assert upstream.last.credential == OPENAI_SECRET


def test_a_plain_provider_takes_the_clients_own_credential(launch: Any, upstream: Upstream) -> None:
    config = {"api_keys": [{"name": "any", "key": "lw-any"}]}
    gateway = launch(config, environment={"TRUSTED_CUSTOM_HOSTS": "127.0.0.1"})
    for provider, path, headers in (
        ("openai", "/v1/chat/completions", {"authorization": "Bearer sk-mine"}),
        ("openai", "/v1/chat/completions", {"authorization": "sk-mine"}),
        ("anthropic", "/v1/messages", {"x-api-key": "sk-mine"}),
    ):
        given = {
            "x-portkey-api-key": "lw-any",
            "x-portkey-provider": provider,
            "x-portkey-custom-host": f"{upstream.url}/v1",
            **headers,
        }
        answer = gateway.post("/v1/chat/completions", CHAT, headers=given)
        assert answer.status_code == 200, answer.text
        assert (upstream.last.path, upstream.last.credential) == (path, "sk-mine")


def test_an_azure_style_client_is_served(gateway: Gateway, upstream: Upstream) -> None:
    answer = httpx.post(
        f"{gateway.v1}/messages",
        json={"model": CLAUDE, "messages": HELLO, "max_tokens": 10},
        headers={"api-key": gateway.api_key},
        trust_env=False,
    )
    assert answer.status_code == 200
    assert upstream.last.header("x-api-key") == ANTHROPIC_SECRET
