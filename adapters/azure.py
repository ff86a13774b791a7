"""Where Azure's models are: which paths a deployment has, for the provider rows of the table.

Azure OpenAI: deployments below an `api-version`, or the `v1` API that names the model in the body
(https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle). Azure AI Foundry: an endpoint that the user
names, of models behind one address or of one model, in OpenAI's shape or Anthropic's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import Raw

from adapters.anthropic.thoughts import serves_claude
from adapters.betas import FOUNDRY as FOUNDRY_BETAS
from adapters.errors import InvalidRequest
from adapters.quirks import Quirks
from adapters.types import Dialect

if TYPE_CHECKING:
    from adapters.provider import Fields, Provider

VERSION = "2024-10-21"
"""The api-version of those who name none: the last that is generally available."""

FOUNDRY_VERSION = "2024-05-01-preview"

_OPENAI: dict[Dialect, str] = {
    Dialect.OPENAI_CHAT: "/chat/completions",
    Dialect.OPENAI_COMPLETIONS: "/completions",
    Dialect.OPENAI_EMBEDDINGS: "/embeddings",
}
V1 = {**_OPENAI, Dialect.OPENAI_RESPONSES: "/responses"}
_RESPONSES_SINCE = "2025-03-01"
_QUERY = "?api-version={azure_api_version}"
DEPLOYED: dict[Dialect, str] = {dialect: f"/deployments/{{model}}{path}{_QUERY}" for dialect, path in _OPENAI.items()}
PASSED: dict[str, str] = {
    "/images/": "/deployments/{model}/images/",
    "/audio/": "/deployments/{model}/audio/",
}
"""Paths that are only passed through and belong to a deployment."""


def openai(row: Provider, fields: Fields) -> Provider:
    """The row for an api-version and, where the user names one, a deployment for whatever model is asked for."""
    if fields.get("azure_api_version") == "v1":
        return msgspec.structs.replace(
            row, base_url=f"{row.base_url}/v1", paths={**V1, Dialect.OPENAI_MODELS: "/models"}, passed={}, query=""
        )
    if str(fields.get("azure_api_version", "")) >= _RESPONSES_SINCE:
        responses = {**row.paths, Dialect.OPENAI_RESPONSES: f"/responses{_QUERY}"}
        row = msgspec.structs.replace(row, paths=responses)
    deployment = fields.get("azure_deployment_id")
    if not deployment:
        return row
    # Responses have the deployment in the body.
    quirks = {**row.quirks, Dialect.OPENAI_RESPONSES: Quirks(patch=_naming(str(deployment)), touches=("model",))}
    return msgspec.structs.replace(row, paths=_placed(row.paths), passed=_placed(row.passed), quirks=quirks)


def _naming(deployment: str) -> Callable[[dict[str, Raw]], tuple[str, ...]]:
    name = Raw(msgspec.json.encode(deployment))

    def patch(fields: dict[str, Raw]) -> tuple[str, ...]:
        fields["model"] = name
        return ()

    return patch


def _placed(paths: Mapping[Any, str]) -> dict[Any, str]:
    return {key: path.replace("{model}", "{azure_deployment_id}") for key, path in paths.items()}


def foundry(row: Provider, fields: Fields) -> Provider:
    """The row for the endpoint that the user names. An address with "anthropic" in it speaks Anthropic's dialect."""
    url = str(fields.get("azure_foundry_url", ""))
    if not url:
        return row
    if "?" in url:
        raise InvalidRequest(
            "azure_foundry_url must end with its path: azure_api_version is a field.", "azure_foundry_url"
        )
    if "anthropic" in url:
        below = "" if url.rstrip("/").endswith("/v1") else "/v1"
        return msgspec.structs.replace(
            row,
            paths={
                Dialect.ANTHROPIC_MESSAGES: f"{below}/messages",
                Dialect.ANTHROPIC_COUNT_TOKENS: f"{below}/messages/count_tokens",
            },
            headers=(("anthropic-version", "2023-06-01"),),
            quirks=serves_claude(FOUNDRY_BETAS),
            query="",
        )
    headers = [("extra-parameters", str(fields.get("azure_extra_parameters") or "pass-through"))]
    if fields.get("azure_deployment_name"):
        headers.append(("azureml-model-deployment", str(fields["azure_deployment_name"])))
    if url.rstrip("/").endswith("/openai/v1"):
        return msgspec.structs.replace(row, paths=V1, query="")
    return msgspec.structs.replace(row, headers=tuple(headers))


FOUNDRY: dict[Dialect, str] = {
    dialect: path + _QUERY for dialect, path in _OPENAI.items() if dialect is not Dialect.OPENAI_COMPLETIONS
}


class Listed(NamedTuple):
    """The deployments that a user lists: their names by alias, the alias of the default one, and the api-versions of
    those that have one to themselves, by name."""

    aliases: dict[str, str]
    default: str | None
    versions: dict[str, str]


def deployments(listed: Any) -> Listed:
    """Reads `[{alias, deploymentName, apiVersion, isDefault}]`. Raises InvalidRequest."""
    aliases: dict[str, str] = {}
    default: str | None = None
    versions: dict[str, str] = {}
    for number, each in enumerate(listed if isinstance(listed, list) else []):
        where = f"deployments[{number}]"
        if not isinstance(each, Mapping):
            raise InvalidRequest("A deployment is an object.", where)
        alias, name = (_either(each, snake, camel) for snake, camel in _NAMES)
        if not isinstance(alias, str) or not isinstance(name, str) or not alias or not name:
            raise InvalidRequest("A deployment needs `alias` and `deployment_name`.", where)
        aliases[alias] = name
        version = _either(each, "api_version", "apiVersion")
        if version and (not isinstance(version, str) or versions.setdefault(name, version) != version):
            raise InvalidRequest("A deployment has one `api_version`, as text.", f"{where}.api_version")
        if _either(each, "is_default", "isDefault"):
            default = alias
    return Listed(aliases, default, versions)


_NAMES = (("alias", "alias"), ("deployment_name", "deploymentName"))


def _either(each: Mapping[str, Any], snake: str, camel: str) -> Any:
    return each.get(snake, each.get(camel))
