"""What goes wrong is said clearly, in the dialect of the route, with the status that the SDKs know."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.conftest import Make
from tests.e2e.samples import CLAUDE, GPT, HELLO, TEST
from tests.fakes.gateway import ADMIN_KEY, ANTHROPIC_SECRET, OPENAI_SECRET, OPENAI_SLUG, Gateway, Upstream, virtual_key

CHAT = {"model": GPT, "messages": HELLO}


def both_shapes(body: Any) -> dict[str, Any]:
    """The error of an OpenAI route's body, which must have OpenAI's shape and Portkey's at once."""
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["status"] == "failure"
    assert body["message"] == body["error"]["message"]
    error: dict[str, Any] = body["error"]
    return error


@pytest.mark.parametrize("body", [b"", b"{", b'{"model": "gpt-4o", }', b"[]", b'"x"', b"\xff\xfe"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"])
def test_malformed_json_is_400(path: str, body: bytes, gateway: Gateway, upstream: Upstream) -> None:
    answer = gateway.post(path, body)
    assert answer.status_code == 400
    assert "JSON" in both_shapes(answer.json())["message"]
    assert upstream.requests() == []


def test_malformed_json_is_400_in_anthropics_shape(gateway: Gateway) -> None:
    answer = gateway.post("/v1/messages", b"{")
    assert answer.status_code == 400
    assert answer.json()["type"] == "error"
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_value_of_the_wrong_type_is_told_with_its_place(gateway: Gateway) -> None:
    answer = gateway.post("/v1/chat/completions", {**CHAT, "model": CLAUDE, "temperature": "hot"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "temperature"
    assert answer.json()["error"]["message"] == "Expected `float`, got `str`."


def test_sdks_show_what_is_wrong_with_a_config(gateway: Gateway) -> None:
    config = {"x-portkey-config": '{"strategy": {"mode": "fallback"}, "targets": []}'}
    with (
        openai.OpenAI(api_key=gateway.api_key, base_url=gateway.v1, default_headers=config) as client,
        pytest.raises(openai.BadRequestError, match=r"Invalid config passed: path: targets, message: .*at least one"),
    ):
        client.chat.completions.create(**CHAT)  # type: ignore[call-overload]
    answer = gateway.post("/v1/chat/completions", CHAT, headers=config).json()
    assert (answer["message"], len(answer["errors"])) == ("Invalid config passed", 1)


@pytest.mark.parametrize("path", ["/v1/v1/messages", "/v1beta/v1beta/models/x:generateContent", "/v1/v1beta/models"])
def test_a_version_that_comes_twice_is_told_from_an_unknown_path(
    path: str, gateway: Gateway, upstream: Upstream
) -> None:
    answer = gateway.post(path, {}, headers={"x-portkey-virtual-key": OPENAI_SLUG})
    assert answer.status_code == 404
    version = path.split("/")[1]
    assert f"the base URL must end without /{version}," in answer.json()["error"]["message"]
    assert upstream.requests() == []


def test_anthropics_sdks_learn_that_a_conversation_is_not_kept(gateway: Gateway) -> None:
    """By this code their tool runner knows to send all messages instead."""
    body = {**CHAT, "max_tokens": 9, "thread": {"type": "create"}}
    answer = gateway.post("/v1/messages", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["error_code"] == "thread_unsupported_request"


def test_a_slash_too_many_is_told_from_other_malformed_paths(gateway: Gateway) -> None:
    answer = gateway.post("/v1//chat/completions", CHAT)
    assert (answer.status_code, "`//`" in answer.json()["error"]["message"]) == (400, True)


def test_the_wrong_content_type_is_400(gateway: Gateway) -> None:
    answer = gateway.post("/v1/chat/completions", b"a=b", headers={"content-type": "text/plain"})
    assert answer.status_code == 400
    assert "content type" in both_shapes(answer.json())["message"]


@pytest.mark.parametrize(
    "headers",
    [{"x-portkey-virtual-key": "open-ai-key-6317bd"}, {"x-portkey-provider": "@open-ai-key-6317bd"}, {}],
    ids=["virtual key", "provider", "model"],
)
def test_an_unknown_slug_is_400_and_near_ones_are_named(headers: dict[str, str], gateway: Gateway) -> None:
    body = CHAT if headers else {**CHAT, "model": "@open-ai-key-6317bd/gpt-4o"}
    answer = gateway.post("/v1/chat/completions", body, headers=headers)
    assert answer.status_code == 400
    assert OPENAI_SLUG in both_shapes(answer.json())["message"]


def test_an_unknown_provider_is_400_and_near_ones_are_named(gateway: Gateway) -> None:
    headers = {"x-portkey-api-key": gateway.api_key, "x-portkey-provider": "opnai", "authorization": "Bearer sk"}
    answer = gateway.post("/v1/chat/completions", {**CHAT, "model": "gpt-4o"}, headers=headers)
    assert answer.status_code == 400
    assert "openai" in both_shapes(answer.json())["message"]


def test_a_plain_provider_without_a_credential_is_400(gateway: Gateway) -> None:
    body = {**CHAT, "model": "gpt-4o"}
    answer = gateway.post("/v1/chat/completions", body, headers={"x-portkey-provider": "openai"})
    assert answer.status_code == 400
    assert "credential" in both_shapes(answer.json())["message"]


def test_an_unknown_model_is_404(openai_client: Make) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        openai_client().chat.completions.create(model="no-such-model", messages=HELLO)
    assert raised.value.code == "model_not_found"
    assert raised.value.param == "model"
    assert "no-such-model" in raised.value.message


def test_an_unknown_model_of_the_provider_is_its_404(openai_client: Make) -> None:
    with pytest.raises(openai.NotFoundError, match="nonexistent-model"):
        openai_client().chat.completions.create(model=f"@{OPENAI_SLUG}/nonexistent-model", messages=HELLO)


@pytest.mark.parametrize(
    ("key", "model"), [(None, "@openai-small/gpt-4o"), ("lw-models", f"@{OPENAI_SLUG}/gpt-5-mini")], ids=["slug", "key"]
)
def test_a_model_outside_the_allow_list_is_412(
    key: str | None, model: str, openai_client: Make, upstream: Upstream
) -> None:
    client = openai_client(api_key=key) if key else openai_client()
    with pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(model=model, messages=HELLO)
    assert raised.value.status_code == 412
    assert raised.value.type == "model_not_allowed_error"
    assert "gpt-4o" in raised.value.message
    assert upstream.requests() == []


def test_a_model_on_the_allow_list_passes(openai_client: Make) -> None:
    answer = openai_client().chat.completions.create(model="@openai-small/gpt-4o-mini", messages=HELLO)
    assert answer.choices[0].message.content


def test_a_missing_key_is_401(gateway: Gateway, upstream: Upstream) -> None:
    answer = gateway.post("/v1/chat/completions", CHAT, key="")
    assert answer.status_code == 401
    assert "API key" in both_shapes(answer.json())["message"]
    assert upstream.requests() == []


def test_a_wrong_key_is_401_for_every_sdk(openai_client: Make, anthropic_client: Make, portkey: Make) -> None:
    with pytest.raises(openai.AuthenticationError, match="Invalid API Key"):
        openai_client(api_key="lw-wrong").chat.completions.create(model=GPT, messages=HELLO)
    with pytest.raises(anthropic.AuthenticationError, match="Invalid API Key"):
        anthropic_client(api_key="lw-wrong").messages.create(model=CLAUDE, messages=HELLO, max_tokens=9)
    with pytest.raises(anthropic.AuthenticationError) as elsewhere:
        anthropic_client(api_key="lw-wrong").messages.batches.list()
    assert elsewhere.value.type == "authentication_error"
    with pytest.raises(Exception, match="Error code: 401"):
        portkey(api_key="lw-wrong", virtual_key=OPENAI_SLUG).completions.create(model="x", prompt=TEST)
    with pytest.raises(Exception, match="Invalid API Key"):
        portkey(api_key="lw-wrong").virtual_keys.list()


def test_a_missing_scope_is_403(openai_client: Make, portkey: Make, gateway: Gateway) -> None:
    with pytest.raises(openai.PermissionDeniedError, match=r"completions\.write"):
        openai_client(api_key=ADMIN_KEY).chat.completions.create(model=GPT, messages=HELLO)
    with pytest.raises(Exception, match=r"virtual_keys\.list"):
        portkey().virtual_keys.list()
    both_shapes(gateway.get("/v1/virtual-keys").json())


def test_a_virtual_key_that_the_key_may_not_use_is_403(openai_client: Make, upstream: Upstream) -> None:
    client = openai_client(api_key="lw-narrow")
    with pytest.raises(openai.PermissionDeniedError) as raised:
        client.chat.completions.create(model=CLAUDE, messages=HELLO)
    assert raised.value.code == "virtual_key_not_allowed"
    assert upstream.requests() == []
    assert client.chat.completions.create(model=GPT, messages=HELLO).choices


def test_an_unknown_path_is_404_in_both_shapes(gateway: Gateway) -> None:
    answer = gateway.get("/nowhere")
    assert answer.status_code == 404
    both_shapes(answer.json())


def test_too_large_a_body_is_413(launch: Any, upstream: Upstream) -> None:
    gateway = launch({"api_keys": [{"name": "a", "key": "lw-a"}], "server": {"max_body_size": "64KB"}})
    answer = gateway.post("/v1/chat/completions", {**CHAT, "x": "x" * 100_000}, key="lw-a")
    assert answer.status_code == 413
    both_shapes(answer.json())


@pytest.mark.parametrize(
    ("mode", "status"),
    [("reset_after=0", 502), ("fin_after=0", 502), ("junk=1", 502), ("wrong=1", 502), ("redirect=http://x", 502)],
)
def test_a_provider_that_breaks_is_502(mode: str, status: int, gateway: Gateway) -> None:
    answer = gateway.post("/v1/chat/completions", {"model": f"{CLAUDE}::{mode}", "messages": HELLO})
    assert answer.status_code == status
    assert both_shapes(answer.json())["type"] == "upstream_error"


def test_errors_name_no_credential(gateway: Gateway) -> None:
    for model in ("@nobody/x", "x", f"{GPT}::status=500", f"{CLAUDE}::junk=1", "@openai-small/x", f"{GPT}::status=401"):
        text = gateway.post("/v1/chat/completions", {"model": model, "messages": HELLO}).text
        assert OPENAI_SECRET not in text.replace("sk-openai-", "")
        assert ANTHROPIC_SECRET not in text
    log = gateway.log()
    for secret in (gateway.api_key, ADMIN_KEY, ANTHROPIC_SECRET):
        assert secret not in log


# Concurrency


@pytest.mark.parametrize(
    ("where", "code"), [("api_keys", "api_key_concurrency_limit"), ("virtual_keys", "virtual_key_concurrency_limit")]
)
def test_more_at_once_than_allowed_is_429(where: str, code: str, launch: Any, upstream: Upstream) -> None:
    config: dict[str, Any] = {
        "virtual_keys": [virtual_key(OPENAI_SLUG, "openai", upstream.url)],
        "api_keys": [{"name": "a", "key": "lw-a"}],
    }
    config[where][0]["limits"] = {"concurrency": 1}
    gateway = launch(config)
    with openai.OpenAI(base_url=gateway.v1, api_key="lw-a", max_retries=0) as client:
        stream = client.chat.completions.create(model=f"{GPT}::gap=50,chunks=600", messages=HELLO, stream=True)
        next(iter(stream))
        with pytest.raises(openai.RateLimitError) as raised:
            client.chat.completions.create(model=GPT, messages=HELLO)
        assert raised.value.code == code
        assert int(raised.value.response.headers["retry-after"]) >= 1
        stream.close()
        upstream.until(lambda stats: stats["open"] == 0)
        answer = gateway.until(
            lambda: (found := gateway.post("/v1/chat/completions", CHAT, key="lw-a")).status_code == 200 and found,
            "the permit is back",
        )
    assert answer.json()["choices"]
