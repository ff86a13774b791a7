"""Providers and integrations: the SDKs' newer names, on the same rows."""

from __future__ import annotations

from typing import Any

import pytest
from portkey_ai.api_resources.types.api_keys_type import ApiKeyGetResponse, ApiKeyListResponse
from portkey_ai.api_resources.types.configs_type import ConfigAddResponse, ConfigGetResponse
from portkey_ai.api_resources.types.integrations_type import (
    IntegrationDetailResponse,
    IntegrationListResponse,
    IntegrationModelsResponse,
    IntegrationWorkspacesResponse,
)
from portkey_ai.api_resources.types.providers_type import ProviderDetailResponse, ProviderListResponse
from portkey_ai.api_resources.types.virtual_keys_type import VirtualKeysListReponse

from proxy.errors import Refused
from proxy.ports import VirtualKeyRow
from tests.proxy.admin.gateway import Gateway

INTEGRATION = {
    "name": "OpenAI",
    "description": "ours",
    "ai_provider_id": "openai",
    "key": "sk-canary-1",
    "slug": "openai-main",
    "workspace_id": "w",
    "configurations": {"openai_project": "p", "custom_host": "https://eu.example.com/v1"},
    "create_default_provider": True,
}


async def row(gateway: Gateway, slug: str) -> VirtualKeyRow:
    return next(row for row in (await gateway.store.rows()).virtual_keys if row.slug == slug)


async def refused(gateway: Gateway, method: str, path: str, body: Any = None) -> Refused:
    with pytest.raises(Refused) as caught:
        await gateway.call(method, path, body)
    return caught.value


@pytest.fixture
async def integration(gateway: Gateway) -> str:
    slug: str = (await gateway.call("POST", "/v1/integrations", INTEGRATION))["slug"]
    return slug


async def test_an_integration_is_a_virtual_key(gateway: Gateway, integration: str) -> None:
    stored = await row(gateway, integration)
    assert (stored.provider, stored.note, stored.key.reveal()) == ("openai", "ours", "sk-canary-1")
    assert stored.custom_host == "https://eu.example.com/v1"
    view = await gateway.call("GET", f"/v1/integrations/{integration}")
    assert view["ai_provider_id"] == "openai"
    assert view["configurations"] == {"openai_project": "p", "custom_host": "https://eu.example.com/v1"}
    assert view["masked_key"] == "********"


async def test_a_provider_of_an_integration_has_its_credential_and_follows_it(
    gateway: Gateway, integration: str
) -> None:
    body = {"name": "team", "integration_id": integration, "usage_limits": {"credit_limit": 1}, "rate_limits": []}
    answer = await gateway.call("POST", "/v1/providers", body)
    slug = answer["slug"]
    assert answer["id"] == slug
    assert (await row(gateway, slug)).key.reveal() == "sk-canary-1"
    await gateway.call("PUT", f"/v1/integrations/{integration}", {"key": "sk-canary-2", "description": "d"})
    followed = await row(gateway, slug)
    assert followed.key.reveal() == "sk-canary-2"
    assert followed.name == "team"
    assert followed.limits.budget is not None
    assert (await gateway.call("GET", f"/v1/providers/{slug}"))["integration_id"] == integration
    error = await refused(gateway, "DELETE", f"/v1/integrations/{integration}")
    assert error.status == 409
    await gateway.call("DELETE", f"/v1/providers/{slug}?workspace_id=w")
    await gateway.call("DELETE", f"/v1/integrations/{integration}")


async def test_a_provider_can_be_made_without_an_integration(gateway: Gateway) -> None:
    body = {"name": "direct", "provider": "anthropic", "key": "sk-canary", "slug": "direct"}
    assert (await gateway.call("POST", "/v1/providers", body))["slug"] == "direct"
    await gateway.call("PUT", "/v1/providers/direct?workspace_id=w", {"note": "n", "reset_usage": True})
    assert (await row(gateway, "direct")).note == "n"
    error = await refused(gateway, "POST", "/v1/providers", {"name": "x", "integration_id": "direkt"})
    assert (error.status, error.param) == (400, "integration_id")
    assert "did you mean 'direct'" in error.message


async def test_the_models_of_an_integration_are_its_allow_list(gateway: Gateway, integration: str) -> None:
    path = f"/v1/integrations/{integration}/models"
    assert (await gateway.call("GET", path))["allow_all_models"] is True
    models = [{"slug": "gpt-5", "enabled": True}, {"slug": "gpt-4o", "enabled": True, "is_custom": False}]
    await gateway.call("PUT", path, {"allow_all_models": False, "models": models})
    assert (await row(gateway, integration)).models == ("gpt-5", "gpt-4o")
    await gateway.call("PUT", path, {"models": [{"slug": "gpt-5", "enabled": False}]})
    assert [model["slug"] for model in (await gateway.call("GET", path))["models"]] == ["gpt-4o"]
    await gateway.call("DELETE", f"{path}?slugs=gpt-4o")
    assert (await row(gateway, integration)).models == ()
    await gateway.call("PUT", path, {"allow_all_models": True})
    assert (await row(gateway, integration)).models is None
    assert (await refused(gateway, "DELETE", path)).param == "slugs"


async def test_there_is_one_workspace(gateway: Gateway, integration: str) -> None:
    path = f"/v1/integrations/{integration}/workspaces"
    assert len((await gateway.call("GET", path))["workspaces"]) == 1
    assert (await refused(gateway, "PUT", path, {"workspaces": []})).status == 400


async def test_rows_of_the_file_are_listed_and_not_changed(gateway: Gateway) -> None:
    for kind in ("providers", "integrations"):
        assert (await gateway.call("GET", f"/v1/{kind}"))["data"][0]["slug"] == "openai-file"
        for method in ("PUT", "DELETE"):
            assert (await refused(gateway, method, f"/v1/{kind}/openai-file", {})).status == 409
    assert (await refused(gateway, "PUT", "/v1/integrations/openai-file/models", {})).status == 409


async def test_the_python_sdk_reads_every_answer(gateway: Gateway, integration: str) -> None:
    limits = {"rate_limits": [{"type": "requests", "unit": "rpm", "value": 1}], "usage_limits": {"credit_limit": 1}}
    provider = (await gateway.call("POST", "/v1/providers", {"name": "p", "integration_id": integration, **limits}))[
        "slug"
    ]
    key = (await gateway.call("POST", "/v1/api-keys/workspace/service", {"name": "k", "scopes": ["admin"], **limits}))[
        "id"
    ]
    config = await gateway.call("POST", "/v1/configs", {"name": "c", "config": {"virtual_key": provider}})
    await gateway.call("PUT", f"/v1/integrations/{integration}/models", {"models": [{"slug": "m"}]})
    assert ConfigAddResponse(**config).version_id
    for shape, path in (
        (VirtualKeysListReponse, "virtual-keys"),
        (ProviderListResponse, "providers"),
        (ProviderDetailResponse, f"providers/{provider}"),
        (IntegrationListResponse, "integrations"),
        (IntegrationDetailResponse, f"integrations/{integration}"),
        (IntegrationModelsResponse, f"integrations/{integration}/models"),
        (IntegrationWorkspacesResponse, f"integrations/{integration}/workspaces"),
        (ApiKeyListResponse, "api-keys"),
        (ApiKeyGetResponse, f"api-keys/{key}"),
        (ConfigGetResponse, f"configs/{config['slug']}"),
    ):
        assert shape(**await gateway.call("GET", f"/v1/{path}")).object
