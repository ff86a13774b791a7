"""Vertex AI behind every client, and embeddings at Google: addresses, bodies, tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors
from google.oauth2.credentials import Credentials

from tests.e2e.samples import ANTHROPIC_TOOLS, GEMINI, HELLO, SAID, TEST, USE_BOTH, text_of
from tests.fakes.gateway import OPENAI_SLUG, SEED_KEY, Gateway, Launch, Upstream

PROJECT = "/v1/projects/p-1/locations/europe-west1"
BETA = "/v1beta1/projects/p-1/locations/europe-west1"
VERTEX_EMBEDDERS = ("@vertex/gemini-embedding-001", "@vertex/text-embedding-005")


@pytest.fixture(scope="module")
def vertex(session_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    fields = {"vertex_project_id": "p-1", "vertex_region": "europe-west1"}
    config: dict[str, Any] = {
        "virtual_keys": [
            {
                "slug": "vertex",
                "provider": "vertex-ai",
                "key": "ya29.token",
                "custom_host": session_upstream.url,
                **fields,
            }
        ],
        "api_keys": [{"name": "seed", "key": SEED_KEY, "scopes": ["inference"]}],
    }
    with Gateway(tmp_path_factory.mktemp("vertex"), config) as running:
        yield running


def clients(gateway: Gateway) -> tuple[openai.OpenAI, anthropic.Anthropic]:
    return (
        openai.OpenAI(base_url=gateway.v1, api_key=gateway.api_key, max_retries=0),
        anthropic.Anthropic(base_url=gateway.url, api_key=gateway.api_key, max_retries=0),
    )


PLACES = {
    "gemini-2.5-flash": (f"{BETA}/publishers/google/models/gemini-2.5-flash:generateContent", None),
    "google.gemini-2.5-flash": (f"{BETA}/publishers/google/models/gemini-2.5-flash:generateContent", None),
    "anthropic.claude-sonnet-4-5": (f"{PROJECT}/publishers/anthropic/models/claude-sonnet-4-5:rawPredict", None),
    "mistralai.mistral-medium-3": (
        f"{PROJECT}/publishers/mistralai/models/mistral-medium-3:rawPredict",
        "mistral-medium-3",
    ),
    "meta.llama-4-maverick": (f"{BETA}/endpoints/openapi/chat/completions", "meta/llama-4-maverick"),
    "endpoints.123": (f"{BETA}/endpoints/123/chat/completions", "123"),
}


@pytest.mark.parametrize("model", PLACES)
def test_every_publishers_models_answer_every_client(vertex: Gateway, upstream: Upstream, model: str) -> None:
    path, name = PLACES[model]
    chat, messages = clients(vertex)
    with chat, messages:
        answer = chat.chat.completions.create(model=f"@vertex/{model}", messages=HELLO, max_tokens=100)
        assert answer.choices[0].message.content == SAID
        assert upstream.last.path == path
        assert upstream.last.header("authorization") == "Bearer ya29.token"
        assert upstream.last.json().get("model") == name
        stream = chat.chat.completions.create(model=f"@vertex/{model}", messages=HELLO, stream=True, max_tokens=100)
        assert text_of(stream) == SAID
        said = messages.messages.create(model=f"@vertex/{model}", messages=HELLO, max_tokens=100)
        assert said.content[0].text == SAID
    with genai.Client(api_key=vertex.api_key, http_options={"base_url": vertex.url}) as gemini:
        assert gemini.models.generate_content(model=f"@vertex/{model}", contents=TEST).text == SAID


def test_anthropics_clients_lose_nothing_on_anthropics_models(vertex: Gateway, upstream: Upstream) -> None:
    _, client = clients(vertex)
    tools: list[Any] = ANTHROPIC_TOOLS
    with client:
        with client.messages.stream(
            model="@vertex/anthropic.claude-sonnet-4-5",
            max_tokens=4000,
            messages=[{"role": "user", "content": USE_BOTH}],
            tools=tools,
            thinking={"type": "enabled", "budget_tokens": 1024},
            extra_headers={"anthropic-beta": "context-1m-2025-08-07"},
            extra_body={"something_new": {"a": 1}},
        ) as stream:
            answer = stream.get_final_message()
        assert [block.type for block in answer.content] == ["thinking", "tool_use", "tool_use"]
        assert answer.content[0].signature  # type: ignore[union-attr]
        sent = upstream.last.json()
        assert upstream.last.path.endswith(":streamRawPredict")
        assert upstream.last.header("anthropic-beta") == "context-1m-2025-08-07"
        assert sent["anthropic_version"] == "vertex-2023-10-16"
        assert sent["something_new"] == {"a": 1}
        assert "model" not in sent
        counted = client.messages.count_tokens(model="@vertex/anthropic.claude-sonnet-4-5", messages=HELLO)
        assert counted.input_tokens == 5
        assert upstream.last.path == f"{PROJECT}/publishers/anthropic/models/count-tokens:rawPredict"
        with pytest.raises(anthropic.RateLimitError):
            client.messages.create(model="@vertex/anthropic.claude-x::status=429", messages=HELLO, max_tokens=9)


def test_anthropics_sdk_for_vertex_works_on_what_passes_through(vertex: Gateway, upstream: Upstream) -> None:
    headers = {"x-portkey-virtual-key": "vertex"}
    with anthropic.AnthropicVertex(
        base_url=vertex.v1,
        region="europe-west1",
        project_id="p-1",
        access_token=vertex.api_key,
        default_headers=headers,
    ) as client:
        asked: dict[str, Any] = {"model": "claude-sonnet-4-6", "messages": HELLO, "max_tokens": 9}
        assert text_of_message(client.messages.create(**asked)) == SAID
        assert upstream.last.path == f"{PROJECT}/publishers/anthropic/models/claude-sonnet-4-6:rawPredict"
        assert upstream.last.credential == "ya29.token"
        with client.messages.stream(**asked) as stream:
            assert text_of_message(stream.get_final_message()) == SAID


def test_googles_sdk_for_vertex_works_on_what_passes_through(vertex: Gateway, upstream: Upstream) -> None:
    options: Any = {"base_url": vertex.url, "headers": {"x-portkey-virtual-key": "vertex"}}
    credentials: Any = Credentials(vertex.api_key)  # type: ignore[no-untyped-call]
    place = {"project": "p-1", "location": "europe-west1"}
    with genai.Client(vertexai=True, credentials=credentials, http_options=options, **place) as client:
        asked: dict[str, Any] = {"model": "gemini-2.5-flash", "contents": TEST}
        assert client.models.generate_content(**asked).text == SAID
        assert upstream.last.path == f"{BETA}/publishers/google/models/gemini-2.5-flash:generateContent"
        assert upstream.last.credential == "ya29.token"
        assert "".join(each.text or "" for each in client.models.generate_content_stream(**asked)) == SAID
        elsewhere: Any = {"http_options": {"headers": {"x-portkey-virtual-key": "?"}}}
        with pytest.raises(errors.ClientError, match="INVALID_ARGUMENT"):
            client.models.generate_content(**asked, config=elsewhere)


def text_of_message(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_texts_are_embedded_on_vertex(vertex: Gateway, upstream: Upstream) -> None:
    chat, _ = clients(vertex)
    with chat:
        many = chat.embeddings.create(model="@vertex/text-embedding-005", input=["a b", "c"], dimensions=4)
        assert [len(each.embedding) for each in many.data] == [4, 4]
        assert many.usage.prompt_tokens == 3
        assert upstream.last.path == f"{BETA}/publishers/google/models/text-embedding-005:predict"
        single = chat.embeddings.create(model="@vertex/gemini-embedding-001", input=["a b", "c"])
        assert [each.index for each in single.data] == [0, 1]
        assert single.data[0].embedding != single.data[1].embedding
        assert len(upstream.last.json()["instances"]) == 1


def test_texts_are_embedded_on_gemini(gateway: Gateway, upstream: Upstream) -> None:
    model = GEMINI.replace("gemini-2.5-flash", "gemini-embedding-001")
    with openai.OpenAI(base_url=gateway.v1, api_key=gateway.api_key, max_retries=0) as client:
        found = client.embeddings.create(model=model, input=["a", "b", "c"], dimensions=5)
        assert [len(each.embedding) for each in found.data] == [5, 5, 5]
        assert len({tuple(each.embedding) for each in found.data}) == 3
        assert upstream.last.path == "/v1beta/models/gemini-embedding-001:batchEmbedContents"


@pytest.mark.parametrize(
    "model",
    [GEMINI.replace("2.5-flash", "embedding-001"), f"@{OPENAI_SLUG}/text-embedding-3-small", *VERTEX_EMBEDDERS],
)
def test_googles_sdk_embeds_anywhere(gateway: Gateway, vertex: Gateway, model: str) -> None:
    at = vertex if model in VERTEX_EMBEDDERS else gateway
    with genai.Client(api_key=at.api_key, http_options={"base_url": at.url}) as client:
        found = client.models.embed_content(model=model, contents=["a", "b"])
        assert len(found.embeddings or []) == 2
        assert all(each.values for each in found.embeddings or [])


def test_a_region_and_a_project_are_needed(launch: Launch, upstream: Upstream) -> None:
    keys = [{"slug": "vertex", "provider": "vertex-ai", "key": "ya29.token", "custom_host": upstream.url}]
    api_keys = [{"name": "seed", "key": SEED_KEY, "scopes": ["inference"]}]
    gateway = launch({"virtual_keys": keys, "api_keys": api_keys})
    chat, _ = clients(gateway)
    with chat, pytest.raises(openai.BadRequestError) as caught:
        chat.chat.completions.create(model="@vertex/gemini-2.5-flash", messages=HELLO)
    assert "vertex_project_id" in json.dumps(caught.value.body)


DOCUMENT: Any = {
    "type": "document",
    "title": "q3_report.pdf",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
}


def test_files_keep_their_names_on_vertex(vertex: Gateway, upstream: Upstream) -> None:
    _, client = clients(vertex)
    with client:
        asked: Any = [{"role": "user", "content": [{"type": "text", "text": TEST}, DOCUMENT]}]
        answer = client.messages.with_raw_response.create(
            model="@vertex/gemini-2.5-flash", messages=asked, max_tokens=100
        )
    assert "x-loopway-dropped-params" not in answer.headers
    blob = upstream.last.json()["contents"][0]["parts"][1]["inlineData"]
    assert blob == {"mimeType": "application/pdf", "data": "JVBERi0=", "displayName": "q3_report.pdf"}


def test_strictness_tells_geminis_clients_of_other_dialects_to_leave_the_name_out(
    launch: Launch, upstream: Upstream
) -> None:
    gateway = launch(
        {
            "virtual_keys": [{"slug": "gemini", "provider": "google", "key": "k", "custom_host": upstream.url}],
            "api_keys": [{"name": "seed", "key": SEED_KEY, "scopes": ["inference"]}],
        }
    )
    _, client = clients(gateway)
    with client:
        asked: Any = [{"role": "user", "content": [{"type": "text", "text": TEST}, DOCUMENT]}]
        strict = {"x-loopway-strict-params": "true"}
        ask: Any = {"model": "@gemini/gemini-2.5-flash", "messages": asked, "max_tokens": 100}
        answer = client.messages.with_raw_response.create(**ask)
        assert answer.headers["x-loopway-dropped-params"] == "messages[].content[].title"
        with pytest.raises(anthropic.BadRequestError, match=r"messages\[\]\.content\[\]\.title: leave it out"):
            client.messages.create(**ask, extra_headers=strict)
