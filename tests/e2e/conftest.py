"""The SDKs of users, pointed at the shared gateway and closed after each test."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.fakes.gateway import Gateway

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from portkey_ai import Portkey

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from google import genai

Make = Callable[..., Any]


@pytest.fixture
def portkey(gateway: Gateway) -> Iterator[Make]:
    """Makes Portkey clients: `portkey(virtual_key=…)`, with the key of the seed programs unless another is named."""
    made: list[Portkey] = []

    def make(**options: Any) -> Portkey:
        client = Portkey(**{"api_key": gateway.api_key, "base_url": gateway.v1, **options})
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()
        client.openai_client.close()


@pytest.fixture
def openai_client(gateway: Gateway) -> Iterator[Make]:
    """Makes clients of OpenAI's SDK: `openai_client()`, `openai_client({"x-portkey-config": "pc-…"})`."""
    made: list[openai.OpenAI] = []

    def make(headers: dict[str, str] | None = None, **options: Any) -> openai.OpenAI:
        given = {"api_key": gateway.api_key, "base_url": gateway.v1, "max_retries": 0, **options}
        made.append(openai.OpenAI(default_headers=headers, **given))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def anthropic_client(gateway: Gateway) -> Iterator[Make]:
    """Makes clients of Anthropic's SDK; `headers` as above."""
    made: list[anthropic.Anthropic] = []

    def make(headers: dict[str, str] | None = None, **options: Any) -> anthropic.Anthropic:
        given = {"api_key": gateway.api_key, "base_url": gateway.url, "max_retries": 0, **options}
        made.append(anthropic.Anthropic(default_headers=headers, **given))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def gemini_client(gateway: Gateway) -> Iterator[Make]:
    """Makes clients of Google's SDK; `headers` as above."""
    made: list[genai.Client] = []

    def make(headers: dict[str, str] | None = None, **options: Any) -> genai.Client:
        http = {"base_url": gateway.url, "headers": headers or {}}
        made.append(genai.Client(**{"api_key": gateway.api_key, "http_options": http, **options}))
        return made[-1]

    yield make
    for client in made:
        client.close()
