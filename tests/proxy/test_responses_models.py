"""Which models are reached over Responses alone: by the provider's row, or because the operator says so."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.providers import PROVIDERS
from adapters.types import Dialect
from proxy.config.access import Access, Rules
from proxy.config.snapshot import Snapshot
from proxy.config.target import Target
from proxy.errors import Refused
from proxy.limits import Limiters
from proxy.ports import Rows, Secret, VirtualKeyRow

CONVERSATIONS = (
    Dialect.OPENAI_CHAT,
    Dialect.OPENAI_COMPLETIONS,
    Dialect.ANTHROPIC_MESSAGES,
    Dialect.GEMINI_GENERATE,
    Dialect.GEMINI_STREAM_ARRAY,
)


def target(provider: str = "openai", **fields: Any) -> Target:
    host = fields.pop("custom_host", None)
    mode = fields.pop("completions_mode", "auto")
    return Target(Access(PROVIDERS[provider], "key", custom_host=host, fields=fields), Rules(completions_mode=mode))


def path(at: Target, model: str, client: Dialect = Dialect.OPENAI_CHAT) -> str:
    wire = at.wire_for(client, model)
    assert wire is not None
    return wire.path


@pytest.mark.parametrize("client", CONVERSATIONS)
@pytest.mark.parametrize(
    "model",
    [
        "o1-pro", "o3-pro-2025-06-10", "o3-deep-research", "o4-mini-deep-research-2025-06-26", "gpt-5-pro",
        "gpt-5.2-pro-2025-12-11", "gpt-5-codex", "gpt-5.1-codex-max", "codex-mini-latest", "computer-use-preview",
    ],
)  # fmt: skip
def test_every_client_reaches_models_that_only_responses_serve(model: str, client: Dialect) -> None:
    assert path(target(), model, client) == "/v1/responses"


@pytest.mark.parametrize(
    "model", ["gpt-4o", "gpt-5", "gpt-5-mini", "gpt-5.1-chat-latest", "o3", "o4-mini", "gpt-5.4-nano", "ft:gpt-4o:a"]
)
def test_all_other_models_stay_where_they_were(model: str) -> None:
    assert path(target(), model) == "/v1/chat/completions"
    wire = target().wire_for(Dialect.OPENAI_CHAT, model)
    assert wire is not None
    assert wire.codec.identity


def test_responses_clients_pass_as_they_are_for_every_model() -> None:
    for model in ("gpt-4o", "gpt-5-pro"):
        wire = target().wire_for(Dialect.OPENAI_RESPONSES, model)
        assert wire is not None
        assert (wire.path, wire.codec.identity) == ("/v1/responses", True)


def test_who_wants_the_text_endpoint_gets_it() -> None:
    legacy = target(completions_mode="legacy")
    assert path(legacy, "gpt-5-codex", Dialect.OPENAI_COMPLETIONS) == "/v1/completions"


def test_azures_models_too_where_its_version_has_responses() -> None:
    azure = {"azure_resource_name": "acme"}
    assert path(target("azure-openai", **azure, azure_api_version="v1"), "gpt-5-codex") == "/openai/v1/responses"
    new = path(target("azure-openai", **azure, azure_api_version="2025-04-01-preview"), "gpt-5-codex")
    assert new == "/openai/responses?api-version=2025-04-01-preview"
    old = path(target("azure-openai", **azure), "gpt-5-codex")
    assert old.startswith("/openai/deployments/gpt-5-codex/chat/completions")
    foundry = target("azure-ai", azure_foundry_url="https://acme.services.ai.azure.com/openai/v1")
    assert path(foundry, "gpt-5-codex") == "/openai/v1/responses"


def test_a_deployment_for_every_model_is_named_in_the_body() -> None:
    at = target(
        "azure-openai", azure_resource_name="a", azure_api_version="2025-04-01-preview", azure_deployment_id="d"
    )
    for client in (Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES):
        wire = at.wire_for(client, "gpt-5-codex")
        assert wire is not None
        assert wire.quirks is not None
        body = b'{"model": "gpt-5-codex", "input": 1.50}'
        assert wire.quirks.apply(body) == (b'{"model":"d","input":1.50}', ())


def test_the_operators_patterns_take_the_place_of_the_rows() -> None:
    named = target(responses_models="my-codex*, *-research")
    assert path(named, "my-codex-eu") == path(named, "deep-research") == "/v1/responses"
    assert path(named, "gpt-5-pro") == "/v1/chat/completions"
    assert path(target(responses_models=","), "gpt-5-pro") == "/v1/chat/completions"


def test_a_compatible_host_has_responses_beside_its_chat_for_these_models_alone() -> None:
    host = target("openai-compatible", custom_host="https://llm.example.com/v1", responses_models="gpt-oss*")
    assert path(host, "gpt-oss-120b") == "/v1/responses"
    assert path(host, "llama") == "/v1/chat/completions"
    assert path(host, "gpt-oss-120b", Dialect.OPENAI_RESPONSES) == "/v1/responses"
    assert path(host, "llama", Dialect.OPENAI_RESPONSES) == "/v1/chat/completions"


def test_a_provider_without_such_a_place_is_refused() -> None:
    with pytest.raises(Refused, match="no Responses here") as refused:
        target("anthropic", responses_models="*")
    assert (refused.value.status, refused.value.param) == (400, "responses_models")


def test_a_virtual_key_carries_the_patterns() -> None:
    row = VirtualKeyRow(slug="a", name="a", provider="openai", key=Secret("k"), fields={"responses_models": "mine"})
    plan = Snapshot(Rows(virtual_keys=(row,)), Limiters()).plans["a"]
    assert plan.single is not None
    assert path(plan.single.target, "mine") == "/v1/responses"


@pytest.mark.parametrize(
    ("provider", "model", "client", "where"),
    [
        ("deepseek", "deepseek-v4-flash", Dialect.OPENAI_RESPONSES, "https://api.deepseek.com/responses"),
        ("deepseek", "deepseek-v4-flash", Dialect.OPENAI_CHAT, "https://api.deepseek.com/chat/completions"),
        ("bedrock-mantle", "openai.gpt-oss-120b", Dialect.OPENAI_RESPONSES, "mantle/v1/responses"),
        ("bedrock-mantle", "openai.gpt-oss-120b", Dialect.OPENAI_CHAT, "mantle/v1/chat/completions"),
        ("bedrock-mantle", "openai.gpt-5.6-luna", Dialect.OPENAI_RESPONSES, "mantle/openai/v1/responses"),
        ("bedrock-mantle", "openai.gpt-5.6-luna", Dialect.OPENAI_CHAT, "mantle/openai/v1/responses"),
        ("bedrock-mantle", "openai.gpt-5.6-luna", Dialect.ANTHROPIC_MESSAGES, "mantle/openai/v1/responses"),
        ("bedrock-mantle", "xai.grok-4.3", Dialect.OPENAI_CHAT, "mantle/openai/v1/chat/completions"),
        ("bedrock-mantle", "amazon.nova-pro", Dialect.OPENAI_CHAT, "mantle/v1/chat/completions"),
        ("bedrock-mantle", "qwen.qwen3-32b", Dialect.OPENAI_RESPONSES, "mantle/v1/chat/completions"),
        ("bedrock-mantle", "anthropic.claude-opus-4-8", Dialect.ANTHROPIC_MESSAGES, "mantle/anthropic/v1/messages"),
        ("bedrock-mantle", "anthropic.claude-opus-4-8", Dialect.OPENAI_CHAT, "mantle/anthropic/v1/messages"),
        ("bedrock", "us.openai.gpt-5.5", Dialect.OPENAI_RESPONSES, "runtime/openai/v1/responses"),
        ("bedrock", "us.openai.gpt-5.5", Dialect.GEMINI_GENERATE, "runtime/openai/v1/responses"),
        ("bedrock", "openai.gpt-oss-120b-1:0", Dialect.OPENAI_CHAT, "runtime/model/openai.gpt-oss-120b-1%3A0/converse"),
        ("bedrock", "meta.llama3", Dialect.OPENAI_RESPONSES, "runtime/model/meta.llama3/converse"),
    ],
)
def test_rows_say_which_models_have_responses_and_where(provider: str, model: str, client: Dialect, where: str) -> None:
    at = target(provider)
    hosts = {
        "mantle": "https://bedrock-mantle.us-east-1.api.aws",
        "runtime": "https://bedrock-runtime.us-east-1.amazonaws.com",
    }
    name, slash, rest = where.partition("/")
    assert (
        f"{at.origin.scheme}://{at.origin.authority}{path(at, model, client)}" == hosts.get(name, name) + slash + rest
    )


def test_stored_responses_are_asked_for_where_they_are_made() -> None:
    assert target("deepseek").passed_path("/responses/resp_1", "", "") == "/responses/resp_1"
    assert target("bedrock-mantle").passed_path("/responses/resp_1", "", "") == "/v1/responses/resp_1"
    assert target("bedrock").passed_path("/responses/resp_1", "", "") == "/openai/v1/responses/resp_1"
    assert target("bedrock").passed_path("/model/m/converse", "", "m") == "/model/m/converse"


def test_mantle_is_signed_for_by_its_own_name() -> None:
    keys = {"aws_access_key_id": "AKID", "aws_secret_access_key": "secret", "aws_region": "us-west-2"}
    at = Target(Access(PROVIDERS["bedrock-mantle"], "", fields=keys))
    assert (at.origin.authority, at.signing.service) == ("bedrock-mantle.us-west-2.api.aws", "bedrock-mantle")
