"""Cohere and rerankers behind the gateway: their SDK's provider, OpenAI's and Anthropic's clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import cohere
import httpx
import openai
import pytest
from mistralai.client import Mistral

from tests.e2e.samples import ANTHROPIC_TOOLS, HELLO, OPENAI_TOOLS, SAID, TEST, USE_BOTH, text_of
from tests.fakes.gateway import Gateway, Upstream, standard

MODEL = "@cohere-1/command-a"


@pytest.fixture(scope="module")
def behind(session_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with virtual keys of Cohere and of two that rank."""
    config = standard(session_upstream.url)
    config["virtual_keys"] += [
        {"slug": "cohere-1", "provider": "cohere", "key": "co-secret", "custom_host": f"{session_upstream.url}/v2"},
        {"slug": "jina-1", "provider": "jina", "key": "j", "custom_host": f"{session_upstream.url}/v1"},
        {"slug": "voyage-1", "provider": "voyage", "key": "v", "custom_host": f"{session_upstream.url}/v1"},
    ]
    with Gateway(tmp_path_factory.mktemp("cohere"), config) as running:
        yield running


def test_cohere_answers_openais_sdk(behind: Gateway, upstream: Upstream) -> None:
    client = openai.OpenAI(api_key=behind.api_key, base_url=behind.v1, max_retries=0)
    answer = client.chat.completions.create(model=MODEL, messages=HELLO)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (SAID, "stop")
    assert upstream.last.path == "/v2/chat"
    assert upstream.last.credential == "co-secret"
    stream = client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
    assert text_of(stream) == SAID

    messages: list[Any] = [{"role": "user", "content": USE_BOTH}]
    first = client.chat.completions.create(model=MODEL, messages=messages, tools=OPENAI_TOOLS).choices[0].message
    assert first.tool_calls is not None
    messages.append(first.model_dump(exclude_none=True))
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "fine"} for call in first.tool_calls]
    second = client.chat.completions.create(model=MODEL, messages=messages, tools=OPENAI_TOOLS)
    assert second.choices[0].message.content == "The tool said: fine"

    vectors = client.embeddings.create(model="@cohere-1/embed-v4.0", input=["a", "b"])
    assert [len(each.embedding) for each in vectors.data] == [8, 8]
    client.close()
    with Mistral(api_key=behind.api_key, server_url=behind.url) as other:
        same = other.embeddings.create(model="@cohere-1/embed-v4.0", inputs=["a", "b"])
        assert [len(each.embedding or ()) for each in same.data] == [8, 8]


def test_cohere_answers_anthropics_sdk(behind: Gateway) -> None:
    client = anthropic.Anthropic(api_key=behind.api_key, base_url=behind.url, max_retries=0)
    messages: list[Any] = [{"role": "user", "content": USE_BOTH}]
    with client.messages.stream(model=MODEL, max_tokens=100, messages=messages, tools=ANTHROPIC_TOOLS) as stream:
        made = stream.get_final_message()
    assert [block.name for block in made.content if block.type == "tool_use"] == ["weather", "time"]
    assert made.stop_reason == "tool_use"
    client.close()


def test_cohere_answers_responses(behind: Gateway) -> None:
    client = openai.OpenAI(api_key=behind.api_key, base_url=behind.v1, max_retries=0)
    with client.responses.stream(model=MODEL, input=TEST) as stream:
        assert stream.get_final_response().output_text == SAID
    client.close()


@pytest.mark.parametrize("model", ["@cohere-1/rerank-v3.5", "@jina-1/jina-reranker-v2", "@voyage-1/rerank-2"])
def test_documents_are_ranked(model: str, behind: Gateway) -> None:
    body = {
        "model": model,
        "query": "the horse",
        "documents": ["a cow", "the horse", "the cow"],
        "return_documents": True,
    }
    answer = httpx.post(f"{behind.v1}/rerank", json=body, headers={"x-portkey-api-key": behind.api_key})
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [each["index"] for each in results] == [1, 2, 0]
    assert results[0]["document"] == {"text": "the horse"}


def test_errors_of_cohere_reach_other_clients_with_their_status(behind: Gateway) -> None:
    client = openai.OpenAI(api_key=behind.api_key, base_url=behind.v1, max_retries=0)
    with pytest.raises(openai.RateLimitError) as limited:
        client.chat.completions.create(model=f"{MODEL}::status=429", messages=HELLO, user="u")
    assert limited.value.response.headers["x-loopway-dropped-params"] == "user"
    with pytest.raises(openai.APIError):
        text_of(client.chat.completions.create(model=f"{MODEL}::error_after=3", messages=HELLO, stream=True))
    client.close()


@pytest.mark.parametrize("through", [False, True], ids=["the mock", "the gateway"])
def test_coheres_own_sdk_is_answered(behind: Gateway, upstream: Upstream, through: bool) -> None:
    model, base = (MODEL, behind.v1) if through else ("command-a", upstream.url)
    client = cohere.ClientV2(api_key=behind.api_key if through else "x", base_url=base)
    asked: Any = [{"role": "user", "content": TEST}]
    answer: Any = client.chat(model=model, messages=asked)
    assert answer.message.content[0].text == SAID
    events: Any = client.chat_stream(model=model, messages=asked)
    assert "".join(each.delta.message.content.text for each in events if each.type == "content-delta") == SAID
    vectors: Any = client.embed(model=model, texts=["a"], input_type="search_query", embedding_types=["float"])
    assert len(vectors.embeddings.float_[0]) == 8
    assert client.rerank(model=model, query="q", documents=["a", "b"], top_n=1).results[0].index == 0
    assert [each.path for each in upstream.requests()] == ["/v2/chat", "/v2/chat", "/v2/embed", "/v2/rerank"]
    if through:
        assert upstream.last.credential == "co-secret"
        with pytest.raises(cohere.TooManyRequestsError):
            client.chat(model=f"{MODEL}::status=429", messages=asked)
