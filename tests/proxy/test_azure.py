"""Where Azure's deployments are, compiled from a virtual key's fields."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.providers import PROVIDERS
from adapters.types import Dialect
from proxy.config.access import Access
from proxy.config.plan import Plan
from proxy.config.snapshot import Snapshot
from proxy.config.target import Target
from proxy.errors import Refused
from proxy.limits import Limiters
from proxy.ports import ApiKeyRow, ConfigRow, Rows, Secret, VirtualKeyRow

CHAT = Dialect.OPENAI_CHAT


def azure(row: str = "azure-openai", credential: str = "key", **fields: Any) -> Target:
    operator = fields.pop("operator", True)
    if row == "azure-openai":
        fields = {"azure_resource_name": "acme", **fields}
    return Target(Access(PROVIDERS[row], credential, fields=fields, operator=operator))


def path(target: Target, model: str = "gpt-4o", client: Dialect = CHAT) -> str:
    wire = target.wire_for(client, target.model_for(model) or "")
    assert wire is not None
    return wire.path


def test_a_deployment_is_the_model_below_an_api_version() -> None:
    target = azure(azure_api_version="2025-01-01-preview")
    assert target.origin.host == "acme.openai.azure.com"
    assert path(target) == "/openai/deployments/gpt-4o/chat/completions?api-version=2025-01-01-preview"
    assert path(azure(), "e", Dialect.OPENAI_EMBEDDINGS) == "/openai/deployments/e/embeddings?api-version=2024-10-21"
    text = path(azure(), "gpt-35-turbo-instruct", Dialect.OPENAI_COMPLETIONS)
    assert text.startswith("/openai/deployments/gpt-35-turbo-instruct/completions?")
    assert target.headers["api-key"] == "key"


def test_a_deployment_that_the_virtual_key_names_serves_every_model() -> None:
    assert path(azure(azure_deployment_id="prod 1"), "whatever").startswith("/openai/deployments/prod%201/chat/")
    old = azure(resource_name="other", deployment_id="d", api_version="2024-06-01")
    assert path(old) == "/openai/deployments/d/chat/completions?api-version=2024-06-01"


def test_the_v1_api_has_neither_deployments_nor_a_version() -> None:
    target = azure(azure_api_version="v1")
    assert path(target) == "/openai/v1/chat/completions"
    assert target.passed_path("/responses", "", "gpt-5") == "/openai/v1/responses"


def test_responses_are_azures_own_where_its_version_has_them() -> None:
    responses = Dialect.OPENAI_RESPONSES
    assert path(azure(azure_api_version="v1"), "gpt-5", responses) == "/openai/v1/responses"
    new = path(azure(azure_api_version="2025-04-01-preview", azure_deployment_id="d"), "gpt-5", responses)
    assert new == "/openai/responses?api-version=2025-04-01-preview"
    assert path(azure(), "gpt-5", responses).startswith("/openai/deployments/gpt-5/chat/completions")


def test_several_deployments_go_by_their_aliases() -> None:
    listed = [
        {"alias": "fast", "deploymentName": "gpt-4o-mini-eu"},
        {"alias": "best", "deployment_name": "gpt-5-eu", "is_default": True},
    ]
    target = azure(deployments=listed)
    assert path(target, "fast").startswith("/openai/deployments/gpt-4o-mini-eu/")
    assert target.default_model == "best"
    with pytest.raises(Refused, match="deployment_name"):
        azure(deployments=[{"alias": "x"}])


def test_a_deployment_may_have_an_api_version_to_itself() -> None:
    listed = [
        {"alias": "old", "deploymentName": "gpt-4o-eu", "apiVersion": "2024-06-01"},
        {"alias": "new", "deployment_name": "gpt-5-eu", "api_version": "2025-04-01-preview"},
        {"alias": "newest", "deployment_name": "gpt-6-eu", "api_version": "v1"},
        {"alias": "plain", "deployment_name": "gpt-4-eu"},
    ]
    for general in ({}, {"api_version": "2024-10-21"}, {"azure_api_version": "2024-10-21"}):
        target = azure(deployments=listed, **general)
        assert path(target, "old") == "/openai/deployments/gpt-4o-eu/chat/completions?api-version=2024-06-01"
        assert path(target, "new", Dialect.OPENAI_RESPONSES) == "/openai/responses?api-version=2025-04-01-preview"
        assert path(target, "newest") == "/openai/v1/chat/completions"
        assert path(target, "plain") == "/openai/deployments/gpt-4-eu/chat/completions?api-version=2024-10-21"
        images = target.passed_path("/images/generations", "", "gpt-4o-eu")
        assert images == "/openai/deployments/gpt-4o-eu/images/generations?api-version=2024-06-01"
    assert path(azure(azure_api_version="v1", deployments=listed), "old").endswith("?api-version=2024-06-01")
    assert path(azure(azure_api_version="v1", deployments=listed), "plain") == "/openai/v1/chat/completions"
    with pytest.raises(Refused, match="api_version"):
        azure(deployments=[{**listed[0], "apiVersion": 2024}])


def test_what_only_passes_through_gets_the_version_and_its_deployment() -> None:
    target = azure()
    assert target.passed_path("/responses", "", "gpt-5") == "/openai/responses?api-version=2024-10-21"
    assert target.passed_path("/files", "api-version=mine", "") == "/openai/files?api-version=mine"
    images = target.passed_path("/images/generations", "", "dall-e")
    assert images == "/openai/deployments/dall-e/images/generations?api-version=2024-10-21"
    audio = azure(azure_deployment_id="whisper").passed_path("/audio/transcriptions", "", "")
    assert audio == "/openai/deployments/whisper/audio/transcriptions?api-version=2024-10-21"


def test_foundry_speaks_openai_or_anthropic_as_its_address_says() -> None:
    models = azure("azure-ai", azure_foundry_url="https://acme.services.ai.azure.com/models")
    assert path(models) == "/models/chat/completions?api-version=2024-05-01-preview"
    assert (models.headers["api-key"], models.headers["extra-parameters"]) == ("key", "pass-through")

    claude = azure("azure-ai", azure_foundry_url="https://acme.services.ai.azure.com/anthropic")
    assert path(claude, "claude-sonnet-4-5", Dialect.ANTHROPIC_MESSAGES) == "/anthropic/v1/messages"
    assert path(claude, "claude-sonnet-4-5") == "/anthropic/v1/messages"
    assert claude.headers["x-api-key"] == "key"
    assert claude.headers["anthropic-version"] == "2023-06-01"

    own = azure("azure-ai", azure_foundry_url="https://x.eastus2.models.ai.azure.com", azure_deployment_name="d")
    assert path(own).startswith("/chat/completions?")
    assert (own.headers["authorization"], own.headers["azureml-model-deployment"]) == ("Bearer key", "d")

    v1 = azure("azure-ai", azure_foundry_url="https://acme.openai.azure.com/openai/v1/")
    assert path(v1) == "/openai/v1/chat/completions"


def test_an_address_that_a_client_gives_is_a_custom_host() -> None:
    assert azure("azure-ai", azure_foundry_url="https://8.8.8.8/models", operator=False).origin.guarded
    assert not azure("azure-ai", azure_foundry_url="http://10.0.0.1/models").origin.guarded
    with pytest.raises(Refused):
        azure("azure-ai", azure_foundry_url="http://10.0.0.1/models", operator=False)
    with pytest.raises(Refused, match="azure_foundry_url"):
        azure("azure-ai")


def test_snowflake_is_a_row() -> None:
    cortex = azure("cortex", snowflake_account="org-acct")
    assert cortex.origin.host == "org-acct.snowflakecomputing.com"
    assert path(cortex) == "/api/v2/cortex/v1/chat/completions"
    claude = cortex.wire_for(Dialect.ANTHROPIC_MESSAGES, "claude-sonnet-4-5")
    assert claude is not None
    assert (claude.path, claude.codec.identity) == ("/api/v2/cortex/v1/messages", True)
    llama = cortex.wire_for(Dialect.ANTHROPIC_MESSAGES, "llama3.1-70b")
    assert llama is not None
    assert llama.path == "/api/v2/cortex/v1/chat/completions"


def test_a_requests_config_may_not_move_a_stored_credential() -> None:
    row = VirtualKeyRow(
        slug="azure", name="a", provider="azure-openai", key=Secret("stored"), fields={"azure_resource_name": "acme"}
    )
    key = ApiKeyRow(id="k", name="k", digest="00" * 32, scopes=("inference",))
    snapshot = Snapshot(Rows(virtual_keys=(row,), api_keys=(key,)), Limiters())
    known = next(iter(snapshot.keys.values()))
    plain = snapshot.inline(b'{"virtual_key":"azure"}', known)
    assert isinstance(plain, Plan)
    with pytest.raises(Refused, match="azure_resource_name"):
        snapshot.inline(b'{"virtual_key":"azure","azure_resource_name":"evil"}', known)
    saved = ConfigRow(slug="pc-a", name="a", config={"virtual_key": "azure", "azure_resource_name": "other"})
    snapshot = Snapshot(Rows(virtual_keys=(row,), configs=(saved,)), Limiters())
    plan = snapshot.saved("pc-a")
    assert isinstance(plan, Plan)
    assert plan.root.leaves()[0].target.origin.host == "other.openai.azure.com"
