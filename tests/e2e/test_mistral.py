"""Mistral behind the gateway: OpenAI's SDK and Mistral's own."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from mistralai.client import Mistral

from tests.e2e.samples import HELLO, SAID, TEST
from tests.fakes.gateway import Gateway, Launch, Upstream, standard

MODEL = "@mistral-1/mistral-large-latest"


@pytest.fixture(scope="module")
def behind(session_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with a virtual key of Mistral."""
    config = standard(session_upstream.url)
    config["virtual_keys"] += [
        {"slug": "mistral-1", "provider": "mistral-ai", "key": "mi-secret", "custom_host": f"{session_upstream.url}/v1"}
    ]
    with Gateway(tmp_path_factory.mktemp("mistral"), config) as running:
        yield running


def test_openais_fields_have_mistrals_names(behind: Gateway, upstream: Upstream) -> None:
    client = openai.OpenAI(api_key=behind.api_key, base_url=behind.v1, max_retries=0)
    answer = client.chat.completions.create(model=MODEL, messages=HELLO, seed=7, max_completion_tokens=50)
    assert answer.choices[0].message.content == SAID
    sent = upstream.last.json()
    assert (sent["random_seed"], sent["max_tokens"]) == (7, 50)
    assert upstream.last.credential == "mi-secret"
    client.close()


def test_mistrals_own_sdk_is_answered(behind: Gateway, upstream: Upstream) -> None:
    with Mistral(api_key=behind.api_key, server_url=behind.url) as client:
        answer = client.chat.complete(model=MODEL, messages=[{"role": "user", "content": TEST}], random_seed=3)
        assert answer.choices is not None
        assert answer.choices[0].message is not None
        assert answer.choices[0].message.content == SAID
        assert upstream.last.json()["random_seed"] == 3
        stream = client.chat.stream(model=MODEL, messages=[{"role": "user", "content": TEST}])
        text = "".join(str(event.data.choices[0].delta.content or "") for event in stream if event.data.choices)
        assert text == SAID


def test_code_is_filled_in_the_middle(behind: Gateway, upstream: Upstream) -> None:
    client = openai.OpenAI(api_key=behind.api_key, base_url=behind.v1, max_retries=0)
    answer = client.completions.create(model="@mistral-1/codestral-latest", prompt="def f(", suffix="return x")
    assert answer.choices[0].text
    assert upstream.last.path == "/v1/fim/completions"
    assert upstream.last.json()["suffix"] == "return x"
    client.close()


def test_a_header_sends_any_models_text_completions_to_the_middle(launch: Launch, upstream: Upstream) -> None:
    gateway = launch({"api_keys": [{"name": "a", "key": "lw-a"}], "server": {"trusted_custom_hosts": ["127.0.0.1"]}})
    addressed = {
        "x-portkey-api-key": "lw-a",
        "x-portkey-provider": "mistral-ai",
        "x-portkey-custom-host": f"{upstream.url}/v1",
    }
    asked = {"x-portkey-mistral-fim-completion": "true"}
    with openai.OpenAI(api_key="mi-mine", base_url=gateway.v1, max_retries=0, default_headers=addressed) as client:
        client.completions.create(model="mistral-small-latest", prompt="def f(")
        assert upstream.last.path == "/v1/chat/completions"
        answer = client.completions.create(
            model="mistral-small-latest", prompt="def f(", suffix="return x", extra_headers=asked
        )
    assert answer.choices[0].text
    assert (upstream.last.path, upstream.last.credential) == ("/v1/fim/completions", "mi-mine")
    assert upstream.last.json()["suffix"] == "return x"
