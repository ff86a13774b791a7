"""The first programs that users of the SDKs write, changed in nothing but the base URL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.programs import node, python
from tests.fakes.gateway import OPENAI_SLUG, SEED_KEY, Gateway, Upstream, virtual_key

TEXT = "This is a test."
KEYS = [{"name": "seed", "key": SEED_KEY}, {"name": "placeholder", "key": "PORTKEY_API_KEY"}]


def config(url: str, provider: str, **more: Any) -> dict[str, Any]:
    """The keys and slugs that the programs name, whatever they are; `VIRTUAL_KEY` is one of `provider`."""
    keys = [virtual_key(OPENAI_SLUG, "openai", url), virtual_key("VIRTUAL_KEY", provider, url, **more)]
    return {"virtual_keys": keys, "api_keys": KEYS}


@pytest.fixture(scope="module")
def homes(session_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Gateway]]:
    """Three gateways: VIRTUAL_KEY is OpenAI's, Anthropic's, or Anthropic's with a modern model behind `claude-2`."""
    url = session_upstream.url
    configs = {
        "openai": config(url, "openai"),
        "legacy": config(url, "anthropic"),
        "bridged": config(url, "anthropic", aliases={"claude-2": "claude-sonnet-4-5"}),
    }
    running = {name: Gateway(tmp_path_factory.mktemp(name), each) for name, each in configs.items()}
    for gateway in running.values():
        gateway.__enter__()
    yield running
    for gateway in running.values():
        gateway.stop()


def of_python(printed: str) -> dict[str, Any]:
    """The completion that a Python program printed."""
    found: dict[str, Any] = json.loads(printed)
    return found


@pytest.mark.parametrize("program", ["openai.py", "openai.mjs"])
def test_the_openai_program_prints_a_text_completion(
    program: str, homes: dict[str, Gateway], upstream: Upstream
) -> None:
    if program.endswith(".py"):
        completion = of_python(python(program, homes["openai"]))
        assert completion["object"] == "text_completion"
        assert completion["choices"][0]["text"] == TEXT
    else:
        printed = node(program, homes["openai"])
        assert "object: 'text_completion'" in printed
        assert TEXT in printed
    assert upstream.last.path == "/v1/completions"
    assert upstream.last.credential == "sk-openai"
    assert upstream.last.json() == {"model": "gpt-3.5-turbo-instruct", "prompt": "Say this is a test"}


@pytest.mark.parametrize("program", ["anthropic.py", "anthropic.mjs"])
def test_the_anthropic_program_reaches_the_legacy_text_endpoint(
    program: str, homes: dict[str, Gateway], upstream: Upstream
) -> None:
    if program.endswith(".py"):
        completion = of_python(python(program, homes["legacy"]))
        assert completion["object"] == "text_completion"
        assert completion["choices"][0]["text"].strip() == TEXT
    else:
        printed = node(program, homes["legacy"])
        assert "object: 'text_completion'" in printed
        assert TEXT in printed
    assert upstream.last.path == "/v1/complete"
    assert upstream.last.header("x-api-key") == "sk-ant-secret"
    assert upstream.last.header("anthropic-version") == "2023-06-01"
    assert upstream.last.header("authorization") is None
    assert upstream.last.json() == {
        "model": "claude-2",
        "prompt": "\n\nHuman: Say this is a test\n\nAssistant:",
        "max_tokens_to_sample": 250,
    }


@pytest.mark.parametrize("program", ["anthropic.py", "anthropic.mjs"])
def test_an_alias_brings_the_anthropic_program_to_a_model_of_today(
    program: str, homes: dict[str, Gateway], upstream: Upstream
) -> None:
    if program.endswith(".py"):
        completion = of_python(python(program, homes["bridged"]))
        assert completion["object"] == "text_completion"
        assert completion["choices"][0]["text"].strip() == TEXT
    else:
        printed = node(program, homes["bridged"])
        assert "object: 'text_completion'" in printed
        assert TEXT in printed
    assert upstream.last.path == "/v1/messages"
    sent = upstream.last.json()
    assert sent["model"] == "claude-sonnet-4-5"
    assert sent["max_tokens"] == 250
    assert sent["messages"] == [{"role": "user", "content": "Say this is a test"}]
