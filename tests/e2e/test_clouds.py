"""Bedrock and Azure OpenAI behind the gateway, over real sockets: what SDKs of both kinds read, what the clouds get."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import boto3
import botocore
import openai
import pytest
from botocore.config import Config

from tests.e2e.samples import ANTHROPIC_TOOLS, CITY, HELLO, OPENAI_TOOLS, PIXEL, SAID, USE_BOTH, text_of
from tests.fakes.gateway import SEED_KEY, Gateway, Upstream, at
from tests.fakes.issuer import Answer, Asked, Issuer, tokens
from tests.fakes.tls import Front
from tests.fakes.upstream import Scripted, ok

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "amazon.nova-pro-v1:0"
SECRET = "wJalrXUtnFEMI/K7MDENG"
AWS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": SECRET, "aws_region": "eu-central-1"}


def configuration(url: str) -> dict[str, Any]:
    azure = {"provider": "azure-openai", "key": "az-key", "custom_host": url}
    bedrock = {"provider": "bedrock", "custom_host": url, **AWS}
    return {
        "virtual_keys": [
            {"slug": "bedrock", **bedrock},
            {"slug": "bedrock-session", **bedrock, "aws_session_token": "session/token=="},
            {"slug": "bedrock-key", "provider": "bedrock", "key": "bedrock-api-key", "custom_host": url},
            {"slug": "bedrock-limited", **bedrock, "custom_host": at(url, status=429, retry_after=3)},
            {"slug": "bedrock-cut", **bedrock, "custom_host": at(url, truncate_events=3)},
            {"slug": "bedrock-failing", **bedrock, "custom_host": at(url, error_after=3)},
            {"slug": "azure", **azure, "azure_api_version": "2024-10-21"},
            {"slug": "azure-v1", **azure, "azure_api_version": "v1"},
            {
                "slug": "azure-listed",
                **azure,
                "deployments": [{"alias": "fast", "deployment_name": "gpt-4o-mini"}],
            },
            {"slug": "azure-refused", **azure, "key": "invalid-key"},
            {"slug": "sagemaker", "provider": "sagemaker", "custom_host": url, **AWS},
        ],
        "api_keys": [
            {"name": "seed", "key": SEED_KEY, "scopes": ["inference"]},
            {"name": "narrow", "key": "lw-narrow", "scopes": ["inference"], "models": [NOVA, "gpt-4o-mini"]},
            {"name": "boto", "key": "lw-boto", "scopes": ["inference"], "config": "pc-bedrock"},
        ],
        "configs": [{"slug": "pc-bedrock", "config": {"virtual_key": "bedrock"}}],
        "logs": {"level": "info"},
    }


@pytest.fixture(scope="module")
def clouds(session_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("clouds"), configuration(session_upstream.url)) as gateway:
        yield gateway


@pytest.fixture
def chat(clouds: Gateway, upstream: Upstream) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=SEED_KEY, base_url=clouds.v1, max_retries=0) as client:
        yield client


@pytest.fixture
def messages(clouds: Gateway, upstream: Upstream) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key=SEED_KEY, base_url=clouds.url, max_retries=0) as client:
        yield client


models = pytest.mark.parametrize("model", [CLAUDE, NOVA], ids=["claude", "nova"])


# -- Bedrock


@models
@pytest.mark.parametrize("slug", ["bedrock", "bedrock-session", "bedrock-key"])
def test_a_chat_is_answered_by_bedrock(chat: openai.OpenAI, upstream: Upstream, slug: str, model: str) -> None:
    answer = chat.chat.completions.create(model=f"@{slug}/{model}", messages=HELLO)
    assert answer.choices[0].message.content == SAID
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (5, 4)
    assert upstream.last.path == f"/model/{model.replace(':', '%3A')}/converse"
    shown = upstream.last.header("authorization") or ""
    assert SECRET not in str(upstream.last.headers)
    if slug == "bedrock-key":
        assert shown == "Bearer bedrock-api-key"
    else:
        assert "/eu-central-1/bedrock/aws4_request" in shown
        token = upstream.last.header("x-amz-security-token")
        assert token == ("session/token==" if slug == "bedrock-session" else None)


@models
def test_a_chat_is_streamed_from_binary_events(chat: openai.OpenAI, upstream: Upstream, model: str) -> None:
    stream = chat.chat.completions.create(
        model=f"@bedrock/{model}", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert text_of(chunks) == SAID
    assert chunks[-1].usage.completion_tokens == 4
    assert upstream.last.path.endswith("/converse-stream")


@models
def test_parallel_tools_are_called_and_their_results_taken(chat: openai.OpenAI, model: str) -> None:
    history: list[Any] = [{"role": "user", "content": USE_BOTH}]
    first = chat.chat.completions.create(model=f"@bedrock/{model}", messages=history, tools=OPENAI_TOOLS)
    calls = first.choices[0].message.tool_calls
    assert calls is not None
    assert [call.function.name for call in calls] == ["weather", "time"]
    history.append(first.choices[0].message.model_dump(exclude_none=True))
    history += [{"role": "tool", "tool_call_id": call.id, "content": f"result {n}"} for n, call in enumerate(calls)]
    second = chat.chat.completions.create(model=f"@bedrock/{model}", messages=history, tools=OPENAI_TOOLS)
    assert "result 0" in (second.choices[0].message.content or "")


def test_images_and_schemas_reach_bedrock(chat: openai.OpenAI, upstream: Upstream) -> None:
    content = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]
    answer = chat.chat.completions.create(
        model=f"@bedrock/{CLAUDE}",
        messages=[{"role": "user", "content": content}],  # type: ignore[list-item]
        response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}},
    )
    assert '"city"' in (answer.choices[0].message.content or "")
    sent = upstream.last.json()
    assert sent["messages"][0]["content"][1] == {"image": {"format": "png", "source": {"bytes": PIXEL}}}


def test_text_completions_reach_bedrock(chat: openai.OpenAI) -> None:
    answer = chat.completions.create(model=f"@bedrock/{NOVA}", prompt="Say this is a test")
    assert answer.choices[0].text == SAID


def test_anthropics_client_gets_anthropics_own_answer(messages: anthropic.Anthropic, upstream: Upstream) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    answer = messages.messages.create(
        model=f"@bedrock/{CLAUDE}",
        messages=HELLO,
        max_tokens=2000,
        thinking=thinking,
        extra_headers={"anthropic-beta": "interleaved-thinking-2025-05-14,one,context-1m-2025-08-07"},
    )
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert answer.usage.input_tokens == 5
    sent = upstream.last.json()
    assert upstream.last.path.endswith("/invoke")
    assert sent["anthropic_version"] == "bedrock-2023-05-31"
    assert sent["anthropic_beta"] == ["interleaved-thinking-2025-05-14", "context-1m-2025-08-07"]
    assert "model" not in sent
    assert sent["thinking"] == thinking


def test_anthropics_client_gets_anthropics_own_events(messages: anthropic.Anthropic, upstream: Upstream) -> None:
    with messages.messages.stream(model=f"@bedrock/{CLAUDE}", messages=HELLO, max_tokens=100) as stream:
        assert "".join(stream.text_stream) == SAID
        final = stream.get_final_message()
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens == 4
    assert upstream.last.path.endswith("/invoke-with-response-stream")


def test_anthropics_client_on_another_familys_model(messages: anthropic.Anthropic, upstream: Upstream) -> None:
    answer = messages.messages.create(
        model=f"@bedrock/{NOVA}", messages=[{"role": "user", "content": USE_BOTH}], max_tokens=99, tools=ANTHROPIC_TOOLS
    )
    assert [block.name for block in answer.content if block.type == "tool_use"] == ["weather", "time"]
    assert upstream.last.path.endswith("/converse")
    with messages.messages.stream(model=f"@bedrock/{NOVA}", messages=HELLO, max_tokens=100) as stream:
        assert "".join(stream.text_stream) == SAID


def test_tokens_are_counted_by_bedrock(messages: anthropic.Anthropic, upstream: Upstream) -> None:
    counted = messages.messages.count_tokens(model=f"@bedrock/{CLAUDE}", messages=HELLO)
    assert counted.input_tokens == 5
    assert upstream.last.path == f"/model/{CLAUDE.removeprefix('us.').replace(':', '%3A')}/count-tokens"


def test_a_list_of_embeddings_is_as_many_calls_in_order(chat: openai.OpenAI, upstream: Upstream) -> None:
    texts = [f"text {n}" for n in range(20)]
    answer = chat.embeddings.create(model="@bedrock/amazon.titan-embed-text-v2:0", input=texts)
    assert [each.index for each in answer.data] == list(range(20))
    alone = chat.embeddings.create(model="@bedrock/amazon.titan-embed-text-v2:0", input=texts[7])
    assert answer.data[7].embedding == alone.data[0].embedding
    assert answer.usage.prompt_tokens == 40


def test_one_refused_call_of_several_is_the_answer(chat: openai.OpenAI, upstream: Upstream) -> None:
    with pytest.raises(openai.RateLimitError):
        chat.embeddings.create(model="@bedrock-limited/amazon.titan-embed-text-v2:0", input=["a"] * 20)
    assert len(upstream.requests()) == 8  # those that were under way; no further ones


def test_a_throttled_request_is_a_rate_limit_error_with_its_wait(chat: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as refused:
        chat.chat.completions.create(model=f"@bedrock-limited/{NOVA}", messages=HELLO)
    assert refused.value.response.headers["retry-after"] == "3"
    assert "Too many requests" in refused.value.message


@pytest.mark.parametrize("slug", ["bedrock-failing", "bedrock-cut"])
def test_a_stream_that_breaks_ends_with_one_error_event(clouds: Gateway, upstream: Upstream, slug: str) -> None:
    body = {"model": f"@{slug}/{NOVA}", "messages": HELLO, "stream": True}
    answer = clouds.post("/v1/chat/completions", body)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.text.count('"error"') == 1
    assert "[DONE]" not in answer.text
    assert '"finish_reason":"' not in answer.text


def test_what_only_passes_through_is_signed_over_its_body(clouds: Gateway, upstream: Upstream) -> None:
    path = "/v1/endpoints/mine/invocations?x=1"
    clouds.post(path, {"inputs": "hi"}, headers={"x-portkey-virtual-key": "sagemaker"})
    assert upstream.last.path == "/endpoints/mine/invocations"
    assert upstream.last.header("x-amz-content-sha256") == upstream.last.sha256
    assert "/sagemaker/aws4_request" in (upstream.last.header("authorization") or "")


def test_a_client_may_bring_its_own_keys_in_headers_but_not_the_machines(clouds: Gateway, upstream: Upstream) -> None:
    headers = {"x-portkey-provider": "bedrock", "x-portkey-aws-auth-type": "serviceRole"}
    refused = clouds.post("/v1/chat/completions", {"model": NOVA, "messages": HELLO}, headers=headers)
    assert refused.status_code == 403
    assert "machine" in refused.text


# -- Azure


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("@azure/gpt-4o", "/openai/deployments/gpt-4o/chat/completions"),
        ("@azure-v1/gpt-4o", "/openai/v1/chat/completions"),
        ("@azure-listed/fast", "/openai/deployments/gpt-4o-mini/chat/completions"),
    ],
)
def test_a_chat_reaches_its_deployment(chat: openai.OpenAI, upstream: Upstream, model: str, path: str) -> None:
    answer = chat.chat.completions.create(model=model, messages=HELLO)
    assert answer.choices[0].message.content == SAID
    assert upstream.last.path == path
    assert upstream.last.header("api-key") == "az-key"
    assert upstream.last.header("authorization") is None
    assert upstream.last.query == ("" if "v1" in path else "api-version=2024-10-21")


def test_responses_reach_azure(chat: openai.OpenAI, upstream: Upstream) -> None:
    answer = chat.responses.create(model="@azure-v1/gpt-4o", input="Say this is a test")
    assert answer.output_text == SAID
    assert upstream.last.path == "/openai/v1/responses"
    assert chat.responses.create(model="@azure/gpt-4o", input="Say this is a test").output_text == SAID
    assert upstream.last.path == "/openai/deployments/gpt-4o/chat/completions"
    assert chat.responses.create(model=f"@bedrock/{NOVA}", input="Say this is a test").output_text == SAID


def test_azures_first_chunk_without_choices_passes(clouds: Gateway, upstream: Upstream) -> None:
    body = {"model": "@azure/gpt-4o", "messages": HELLO, "stream": True}
    answer = clouds.post("/v1/chat/completions", body)
    assert '"prompt_filter_results"' in answer.text
    assert answer.text.endswith("data: [DONE]\n\n")


def test_anthropics_client_on_azure(messages: anthropic.Anthropic) -> None:
    with messages.messages.stream(model="@azure/gpt-4o", messages=HELLO, max_tokens=100) as stream:
        assert "".join(stream.text_stream) == SAID


def test_embeddings_reach_azure(chat: openai.OpenAI, upstream: Upstream) -> None:
    answer = chat.embeddings.create(model="@azure/text-embedding-3-small", input=["a", "b"])
    assert len(answer.data) == 2
    assert upstream.last.path == "/openai/deployments/text-embedding-3-small/embeddings"


def test_an_error_of_azures_is_its_own(chat: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError, match="invalid subscription key"):
        chat.chat.completions.create(model="@azure-refused/gpt-4o", messages=HELLO)


# -- AWS's own SDK, with a key of the gateway: unsigned in a header, and over TLS in place of a Bedrock API key


@pytest.fixture
def boto(clouds: Gateway, upstream: Upstream) -> Any:
    config = Config(signature_version=botocore.UNSIGNED, retries={"max_attempts": 0})
    client = boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=clouds.v1, config=config)

    def show_key(params: dict[str, Any], **_: Any) -> None:
        params["headers"]["x-portkey-api-key"] = "lw-boto"

    client.meta.events.register("before-call.bedrock-runtime", show_key)
    return client


@pytest.fixture
def boto_with_a_key(
    clouds: Gateway, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """boto3 with the gateway's key for a Bedrock API key, which it sends over TLS alone."""
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "lw-boto")
    with Front(tmp_path, clouds.port) as front:
        client = boto3.Session().client(
            "bedrock-runtime", endpoint_url=f"{front.url}/v1", region_name="us-east-1", verify=front.authority
        )
        yield client
        client.close()


@pytest.mark.parametrize("client", ["boto", "boto_with_a_key"])
def test_boto3_converses_through_the_gateway(client: str, request: pytest.FixtureRequest, upstream: Upstream) -> None:
    boto = request.getfixturevalue(client)
    asked = {"modelId": CLAUDE, "messages": [{"role": "user", "content": [{"text": "Say this is a test"}]}]}
    answer = boto.converse(**asked)
    assert answer["output"]["message"]["content"] == [{"text": SAID}]
    assert "/eu-central-1/bedrock/aws4_request" in (upstream.last.header("authorization") or "")
    events = list(boto.converse_stream(**asked)["stream"])
    deltas = [event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event]
    assert "".join(deltas) == SAID
    assert events[-1]["metadata"]["usage"]["outputTokens"] == 4


@pytest.mark.parametrize(
    ("slug", "path", "body", "status"),
    [
        ("bedrock", f"/v1/model/{CLAUDE}/converse", {"messages": []}, 412),
        ("bedrock", f"/v1/model/{CLAUDE.replace(':', '%3A')}/converse", {"model": NOVA, "messages": []}, 412),
        ("bedrock", f"/v1/Model/{CLAUDE}/converse", {"messages": []}, 412),
        ("bedrock", "/v1/elsewhere", {"messages": []}, 412),
        ("bedrock", f"/v1/model/{NOVA}/converse", {"messages": [{"role": "user", "content": [{"text": "x"}]}]}, 200),
        ("azure", "/v1/deployments/gpt-4o/chat/completions", {"model": "gpt-4o-mini", "messages": HELLO}, 412),
        ("azure", "/v1/deployments/gpt-4o-mini/chat/completions", {"messages": HELLO}, 200),
        ("azure", "/v1/responses", {"model": "gpt-4o", "input": "x"}, 412),
    ],
)
def test_an_allow_list_looks_into_paths(
    clouds: Gateway, upstream: Upstream, slug: str, path: str, body: Any, status: int
) -> None:
    headers = {"x-portkey-virtual-key": slug, "x-portkey-api-key": "lw-narrow"}
    assert clouds.post(path, body, headers=headers).status_code == status
    assert len(upstream.requests()) == (status == 200)


# -- fetched credentials, through a whole gateway


async def test_a_herd_of_requests_fetches_one_token(upstream: Upstream, launch: Any) -> None:
    async with Issuer(tokens()) as issuer:
        virtual_key = {
            "slug": "azure",
            "provider": "azure-openai",
            "custom_host": upstream.url,
            "azure_entra_tenant_id": "contoso",
            "azure_entra_client_id": "app",
            "azure_entra_client_secret": "s3cret",
        }
        config = {"virtual_keys": [virtual_key], "api_keys": configuration("")["api_keys"][:1]}
        gateway = launch(config, environment={"AZURE_AUTHORITY_HOST": issuer.url})
        async with openai.AsyncOpenAI(api_key=SEED_KEY, base_url=gateway.v1, max_retries=0) as client:
            answers = await asyncio.gather(
                *(client.chat.completions.create(model="@azure/gpt-4o", messages=HELLO) for _ in range(100))
            )
        assert {answer.choices[0].message.content for answer in answers} == {SAID}
        assert len(issuer.asked) == 1
        assert {each.header("authorization") for each in upstream.requests()} == {"Bearer token-1"}
        assert "s3cret" not in gateway.log()


async def test_an_issuer_that_refuses_is_a_401_that_says_so_and_no_secret(upstream: Upstream, launch: Any) -> None:
    async def answer(asked: Asked) -> Answer:
        return 401, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret."}

    async with Issuer(answer) as issuer:
        refusing = {
            "slug": "azure",
            "provider": "azure-openai",
            "custom_host": upstream.url,
            "azure_entra_tenant_id": "contoso",
            "azure_entra_client_id": "app",
            "azure_entra_client_secret": "s3cret",
        }
        spare = {"slug": "spare", "provider": "azure-openai", "custom_host": upstream.url, "key": "az-key"}
        fallback = {"strategy": {"mode": "fallback"}, "targets": [{"virtual_key": "azure"}, {"virtual_key": "spare"}]}
        config = {"virtual_keys": [refusing, spare], "api_keys": configuration("")["api_keys"][:1]}
        gateway = launch(config, environment={"AZURE_AUTHORITY_HOST": issuer.url})
        body = {"model": "@azure/gpt-4o", "messages": HELLO}
        refused = await asyncio.to_thread(gateway.post, "/v1/chat/completions", body)
        assert refused.status_code == 401
        assert "AADSTS7000215" in refused.text
        assert "s3cret" not in refused.text + gateway.log()
        assert upstream.requests() == []
        body = {"model": "gpt-4o", "messages": HELLO}
        headers = {"x-portkey-config": json.dumps(fallback)}
        rescued = await asyncio.to_thread(gateway.post, "/v1/chat/completions", body, headers=headers)
        assert rescued.status_code == 200


async def test_an_error_type_in_a_header_is_the_errors_type(tmp_path: Path) -> None:
    said = b'{"message":"The security token included in the request is expired"}'
    fields = {"x_amzn_errortype": "ExpiredTokenException:http://internal.amazon.com/coral/", "connection": "close"}
    async with Scripted([ok(said, 403, **fields)]) as cloud:
        config = {
            "virtual_keys": [{"slug": "bedrock", "provider": "bedrock", "custom_host": cloud.url, **AWS}],
            "api_keys": [{"name": "seed", "key": SEED_KEY, "scopes": ["inference"]}],
        }
        with Gateway(tmp_path, config) as gateway:
            async with openai.AsyncOpenAI(api_key=SEED_KEY, base_url=gateway.v1, max_retries=0) as client:
                with pytest.raises(openai.APIStatusError) as refused:
                    await client.chat.completions.create(model=f"@bedrock/{NOVA}", messages=HELLO)
    error = refused.value
    assert error.status_code == 403
    assert "security token" in error.message
    assert error.type == "ExpiredTokenException"


async def test_embeddings_of_nomic_are_openais(tmp_path: Path) -> None:
    said = b'{"embeddings":[[0.5,-1.0],[0.25,2.0]],"usage":{"prompt_tokens":9,"total_tokens":9}}'
    async with Scripted(play=lambda asked: [ok(said)]) as cloud:
        config = {
            "virtual_keys": [{"slug": "nomic", "provider": "nomic", "custom_host": f"{cloud.url}/v1", "key": "nk"}],
            "api_keys": [{"name": "seed", "key": SEED_KEY, "scopes": ["inference"]}],
        }
        with Gateway(tmp_path, config) as gateway:
            async with openai.AsyncOpenAI(api_key=SEED_KEY, base_url=gateway.v1, max_retries=0) as client:
                answer = await client.embeddings.create(model="@nomic/nomic-embed-text-v1.5", input=["a", "b"])
        assert cloud.requests[-1].line == "POST /v1/embedding/text HTTP/1.1"
        assert cloud.requests[-1].header("authorization") == "Bearer nk"
    assert [each.embedding for each in answer.data] == [[0.5, -1.0], [0.25, 2.0]]
    assert answer.usage.prompt_tokens == 9


async def test_tokens_that_only_the_answers_head_counts_are_counted(tmp_path: Path) -> None:
    said = json.dumps({"embeddings": {"float": [[0.5], [1.0]]}, "response_type": "embeddings_by_type"}).encode()
    fields: dict[str, str] = {}
    async with Scripted(play=lambda asked: [ok(said, **fields)]) as cloud:
        config = {
            "virtual_keys": [{"slug": "bedrock", "provider": "bedrock", "custom_host": cloud.url, **AWS}],
            "api_keys": [{"name": "seed", "key": SEED_KEY, "scopes": ["inference"]}],
        }
        with Gateway(tmp_path, config) as gateway:
            async with openai.AsyncOpenAI(api_key=SEED_KEY, base_url=gateway.v1, max_retries=0) as client:
                for header, tokens in ((None, 0), ("11", 11), ("", 0), ("-3", 0), ("9" * 40, 0)):
                    fields = {} if header is None else {"x_amzn_bedrock_input_token_count": header}
                    answer = await client.embeddings.create(model="@bedrock/cohere.embed-v4:0", input=["a", "b"])
                    assert answer.usage.prompt_tokens == answer.usage.total_tokens == tokens, header
