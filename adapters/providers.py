"""The table of providers: one row each. Here are those that have a dialect, an address or credentials of their own;
those that are OpenAI's chat at another address are in `adapters.hosts`.

Base URLs carry the API version. A `custom_host` without a path gets the row's; one with a path is taken as it is.

Where an address depends on more than the row, the row has placeholders: `{aws_region}` in `base_url` and in paths is a
provider field of the virtual key, of the config's leaf or of the request's headers; `{model}` in paths is the model,
percent-encoded. Rows without placeholders are compiled once and for all.
"""

from __future__ import annotations

from typing import Any

import msgspec

from adapters import auth, azure, hosts, vertex
from adapters.anthropic.thoughts import serves_claude
from adapters.bedrock.models import without_region
from adapters.betas import MANTLE
from adapters.provider import Fields, Provider
from adapters.quirks import Prefill, Quirks
from adapters.types import Dialect

RESPONSES_ONLY = (
    "o[1-9]-pro*", "o[1-9]*-deep-research*", "gpt-[5-9]*-pro", "gpt-[5-9]*-pro-*", "gpt-[5-9]*-codex*", "codex-mini*",
    "computer-use-preview*", "gpt-[5-9]*-cyber*", "gpt-daybreak-*", "gpt-*rosalind*", "gpt-6.2-astra-law*",
)  # fmt: skip
"""OpenAI's models that only its Responses serve: chat answers `This model is only supported in v1/responses` (404), on
Azure `OperationNotSupported` (400). From the list of models in OpenAI's own SDK (`types/shared/all_models.py`: those
that are no chat models) and from what users were answered."""

_BEDROCK_RESPONSES = ("openai.gpt-[5-9]*", "*.openai.gpt-[5-9]*", "openai.gpt-daybreak-*", "*.openai.gpt-daybreak-*")
"""OpenAI's closed models on Bedrock, by their ids and those of inference profiles: neither Converse nor InvokeModel has
them. https://docs.aws.amazon.com/bedrock/latest/userguide/inference-responses-api.html"""

_CHAT_ONLY = ("gpt-3.5-turbo", "gpt-3.5-turbo-[01]*", "gpt-4*", "gpt-5*", "chatgpt-*", "o[1-9]*")

_PREFIX = Quirks(prefill=Prefill(mark="prefix", echoes=True))
"""Mistral refuses an assistant's last message without the mark, and repeats it with it."""


def _aws(row: Provider, fields: Fields) -> Provider:
    """AWS's regions in China have a domain of their own."""
    if not str(fields.get("aws_region", "")).startswith("cn-"):
        return row
    return msgspec.structs.replace(row, base_url=f"{row.base_url}.cn")


def _mistral(row: Provider, fields: Fields) -> Provider:
    """The row where the user sends text completions of every model to fill in the middle, not those of code models
    alone."""
    asked = fields.get("mistral_fim_completion")
    return msgspec.structs.replace(row, text_only=("*",)) if asked in (True, "true") else row


_PROJECT = "/v1/projects/{vertex_project_id}/locations/{vertex_region}"
_BETA_PROJECT = f"/v1beta1{_PROJECT.removeprefix('/v1')}"
_GOOGLES = f"{_BETA_PROJECT}/publishers/google/models/{{model}}"


def _vertex(row: Provider, fields: Fields) -> Provider:
    """Some regions have hosts of other forms, and a service account names its project."""
    account: Any = fields.get("vertex_service_account_json")
    if isinstance(account, dict) and isinstance(account.get("project_id"), str):
        row = msgspec.structs.replace(row, defaults=(("vertex_project_id", account["project_id"]),))
    region = fields.get("vertex_region")
    if isinstance(region, str) and region in vertex.OTHER_HOSTS:
        row = msgspec.structs.replace(row, base_url=f"https://{vertex.OTHER_HOSTS[region]}")
    return row


_ROWS: tuple[Provider, ...] = (
    Provider(
        name="openai",
        base_url="https://api.openai.com/v1",
        key_env="OPENAI_API_KEY",
        docs="https://platform.openai.com/docs/api-reference",
        paths={**hosts.ALL, **hosts.RESPONSES},
        chat_only=_CHAT_ONLY,
        responses_only=RESPONSES_ONLY,
    ),
    Provider(
        name="anthropic",
        base_url="https://api.anthropic.com/v1",
        key_env="ANTHROPIC_API_KEY",
        docs="https://docs.anthropic.com/en/api/messages",
        auth=auth.x_api_key,
        paths={
            Dialect.ANTHROPIC_MESSAGES: "/messages",
            Dialect.ANTHROPIC_COUNT_TOKENS: "/messages/count_tokens",
            Dialect.ANTHROPIC_COMPLETE: "/complete",
            Dialect.OPENAI_MODELS: "/models",
        },
        headers=(("anthropic-version", "2023-06-01"),),
        quirks=serves_claude(),
        text_only=("claude-2*", "claude-1*", "claude-v1*", "claude-v2*", "claude-instant*"),
    ),
    Provider(
        name="google",
        base_url="https://generativelanguage.googleapis.com/v1beta",
        key_env="GEMINI_API_KEY",
        docs="https://ai.google.dev/api/generate-content",
        auth=auth.x_goog_api_key,
        paths={
            Dialect.GEMINI_GENERATE: "/models/{model}:generateContent",
            Dialect.GEMINI_STREAM_ARRAY: "/models/{model}:streamGenerateContent",
            Dialect.GEMINI_COUNT_TOKENS: "/models/{model}:countTokens",
            Dialect.GEMINI_EMBED: "/models/{model}:embedContent",
            Dialect.GEMINI_BATCH_EMBED: "/models/{model}:batchEmbedContents",
            Dialect.GEMINI_MODELS: "/models?pageSize=1000",
        },
        stream_paths={Dialect.GEMINI_GENERATE: "/models/{model}:streamGenerateContent?alt=sse"},
        # Google's lists have the folder in the names.
        naming=dict.fromkeys(Dialect, lambda model: model.removeprefix("models/")),
    ),
    Provider(
        name="vertex-ai",
        base_url="https://{vertex_region}-aiplatform.googleapis.com",
        key_env="VERTEX_ACCESS_TOKEN",
        docs="https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest",
        paths={
            Dialect.GEMINI_GENERATE: f"{_GOOGLES}:generateContent",
            Dialect.GEMINI_STREAM_ARRAY: f"{_GOOGLES}:streamGenerateContent",
            Dialect.GEMINI_COUNT_TOKENS: f"{_GOOGLES}:countTokens",
            Dialect.VERTEX_PREDICT: f"{_GOOGLES}:predict",
            Dialect.VERTEX_ANTHROPIC: f"{_PROJECT}/publishers/anthropic/models/{{model}}:rawPredict",
            Dialect.VERTEX_COUNT_TOKENS: f"{_PROJECT}/publishers/anthropic/models/count-tokens:rawPredict",
            Dialect.MISTRAL_CHAT: f"{_PROJECT}/publishers/mistralai/models/{{model}}:rawPredict",
            Dialect.VERTEX_ENDPOINT: f"{_BETA_PROJECT}/endpoints/{{model}}/chat/completions",
            Dialect.VERTEX_OPENAPI: f"{_BETA_PROJECT}/endpoints/openapi/chat/completions",
        },
        stream_paths={
            Dialect.GEMINI_GENERATE: f"{_GOOGLES}:streamGenerateContent?alt=sse",
            Dialect.VERTEX_ANTHROPIC: f"{_PROJECT}/publishers/anthropic/models/{{model}}:streamRawPredict",
            Dialect.MISTRAL_CHAT: f"{_PROJECT}/publishers/mistralai/models/{{model}}:streamRawPredict",
        },
        only={
            Dialect.GEMINI_GENERATE: vertex.GOOGLES,
            Dialect.GEMINI_STREAM_ARRAY: vertex.GOOGLES,
            Dialect.GEMINI_COUNT_TOKENS: vertex.GOOGLES,
            Dialect.VERTEX_PREDICT: vertex.EMBEDDINGS,
            Dialect.VERTEX_ANTHROPIC: vertex.ANTHROPICS,
            Dialect.VERTEX_COUNT_TOKENS: vertex.ANTHROPICS,
            Dialect.MISTRAL_CHAT: vertex.MISTRALS,
            Dialect.VERTEX_ENDPOINT: vertex.ENDPOINTS,
            Dialect.VERTEX_OPENAPI: vertex.OPENAPI,
        },
        passed={"/projects/": "/v1/projects/"},
        naming=dict.fromkeys(Dialect, vertex.bare),
        quirks={
            Dialect.GEMINI_GENERATE: Quirks(file_names=True),
            Dialect.MISTRAL_CHAT: msgspec.structs.replace(vertex.NAMED, prefill=_PREFIX.prefill),
            Dialect.VERTEX_ENDPOINT: vertex.NAMED,
            Dialect.VERTEX_OPENAPI: vertex.PUBLISHED,
        },
        key_required=False,
        signer="google",
        variant=_vertex,
    ),
    Provider(
        name="openai-compatible",
        base_url="",
        key_env="OPENAI_COMPATIBLE_API_KEY",
        docs="https://platform.openai.com/docs/api-reference",
        paths={**hosts.ALL, **hosts.RERANK},
        quirks={Dialect.OPENAI_CHAT: hosts.COMMON},
        host_required=True,
        key_required=False,
    ),
    Provider(
        name="ollama",
        base_url="http://127.0.0.1:11434/v1",
        key_env="OLLAMA_API_KEY",
        docs="https://docs.ollama.com/openai",
        paths=hosts.ALL,
        quirks={
            # https://docs.ollama.com/openai lists what its endpoint reads; the rest of OpenAI's it does not heed.
            Dialect.OPENAI_CHAT: msgspec.structs.replace(
                hosts.OLDER, thoughts="reasoning", drop=("n", "tool_choice", "logit_bias", "user")
            )
        },
        key_required=False,
    ),
    Provider(
        name="cohere",
        base_url="https://api.cohere.com/v2",
        key_env="COHERE_API_KEY",
        docs="https://docs.cohere.com/reference",
        paths={
            Dialect.COHERE_CHAT: "/chat",
            Dialect.COHERE_EMBED: "/embed",
            Dialect.COHERE_RERANK: "/rerank",
        },
        passed={"/v2/": "/"},  # its own SDK's paths begin so
    ),
    Provider(
        name="mistral-ai",
        base_url="https://api.mistral.ai/v1",
        key_env="MISTRAL_API_KEY",
        docs="https://docs.mistral.ai",
        paths={
            Dialect.MISTRAL_CHAT: "/chat/completions",
            Dialect.MISTRAL_FIM: "/fim/completions",
            Dialect.OPENAI_EMBEDDINGS: "/embeddings",
            Dialect.OPENAI_MODELS: "/models",
        },
        text_only=("codestral*",),
        variant=_mistral,
        quirks={
            Dialect.MISTRAL_CHAT: _PREFIX,
            # https://docs.mistral.ai/api/#tag/embeddings
            Dialect.OPENAI_EMBEDDINGS: Quirks(rename={"dimensions": "output_dimension"}, drop=("user",)),
        },
    ),
    Provider(
        name="azure-openai",
        base_url="https://{azure_resource_name}.openai.azure.com/openai",
        key_env="AZURE_OPENAI_API_KEY",
        docs="https://learn.microsoft.com/azure/ai-foundry/openai/reference",
        auth=auth.api_key,
        paths=azure.DEPLOYED,
        key_required=False,
        defaults=(("azure_api_version", azure.VERSION),),
        signer="azure",
        variant=azure.openai,
        query="api-version={azure_api_version}",
        passed=azure.PASSED,
        chat_only=_CHAT_ONLY,
        responses_only=RESPONSES_ONLY,
    ),
    Provider(
        name="azure-ai",
        base_url="",
        key_env="AZURE_AI_API_KEY",
        docs="https://learn.microsoft.com/rest/api/aifoundry/modelinference/",
        auth=auth.api_key,
        paths=azure.FOUNDRY,
        key_required=False,
        defaults=(("azure_api_version", azure.FOUNDRY_VERSION),),
        signer="azure-ai",
        variant=azure.foundry,
        quirks={Dialect.OPENAI_CHAT: hosts.COMMON},
        url_field="azure_foundry_url",
        query="api-version={azure_api_version}",
        responses_only=RESPONSES_ONLY,
    ),
    Provider(
        name="bedrock",
        base_url="https://bedrock-runtime.{aws_region}.amazonaws.com",
        key_env="AWS_BEARER_TOKEN_BEDROCK",
        docs="https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html",
        paths={
            Dialect.BEDROCK_CONVERSE: "/model/{model}/converse",
            Dialect.BEDROCK_ANTHROPIC: "/model/{model}/invoke",
            Dialect.BEDROCK_COUNT_TOKENS: "/model/{model}/count-tokens",
            Dialect.BEDROCK_TITAN_EMBEDDINGS: "/model/{model}/invoke",
            Dialect.BEDROCK_COHERE_EMBEDDINGS: "/model/{model}/invoke",
            Dialect.OPENAI_RESPONSES: "/openai/v1/responses",
        },
        stream_paths={
            Dialect.BEDROCK_CONVERSE: "/model/{model}/converse-stream",
            Dialect.BEDROCK_ANTHROPIC: "/model/{model}/invoke-with-response-stream",
        },
        only={
            Dialect.BEDROCK_ANTHROPIC: ("*anthropic.claude*",),
            Dialect.BEDROCK_COUNT_TOKENS: ("*anthropic.claude*",),
            Dialect.BEDROCK_TITAN_EMBEDDINGS: ("*amazon.titan-embed*",),
            Dialect.BEDROCK_COHERE_EMBEDDINGS: ("*cohere.embed*",),
            Dialect.OPENAI_RESPONSES: _BEDROCK_RESPONSES,
        },
        passed={"/responses": "/openai/v1/responses"},
        responses_only=_BEDROCK_RESPONSES,
        naming={Dialect.BEDROCK_COUNT_TOKENS: without_region},
        key_required=False,
        defaults=(("aws_region", "us-east-1"),),
        signer="bedrock",
        variant=_aws,
    ),
    Provider(
        name="bedrock-mantle",
        base_url="https://bedrock-mantle.{aws_region}.api.aws",
        key_env="AWS_BEARER_TOKEN_BEDROCK",
        docs="https://docs.aws.amazon.com/bedrock/latest/userguide/bedrock-mantle.html",
        paths={
            Dialect.OPENAI_CHAT: "/v1/chat/completions",
            Dialect.OPENAI_RESPONSES: "/v1/responses",
            Dialect.OPENAI_MODELS: "/v1/models",
            Dialect.ANTHROPIC_MESSAGES: "/anthropic/v1/messages",
            Dialect.ANTHROPIC_COUNT_TOKENS: "/anthropic/v1/messages/count_tokens",
        },
        headers=(("anthropic-version", "2023-06-01"),),
        quirks={**serves_claude(MANTLE), Dialect.OPENAI_CHAT: hosts.COMMON},
        only={
            Dialect.OPENAI_CHAT: ("[!a]*", "a[!n]*"),  # all but Anthropic's
            # Which others have Responses, the model cards say one by one; for those there is chat.
            Dialect.OPENAI_RESPONSES: ("openai.gpt-*", "google.gemma-4-*", "xai.grok-*"),
            Dialect.ANTHROPIC_MESSAGES: ("anthropic.*",),
            Dialect.ANTHROPIC_COUNT_TOKENS: ("anthropic.*",),
        },
        responses_only=_BEDROCK_RESPONSES,
        prefixes={"/openai": ("openai.gpt-[5-9]*", "openai.gpt-daybreak-*", "google.gemma-4-*", "xai.grok-*")},
        passed={"/": "/v1/"},
        key_required=False,
        defaults=(("aws_region", "us-east-1"),),
        signer="bedrock-mantle",
    ),
    Provider(
        name="sagemaker",
        base_url="https://runtime.sagemaker.{aws_region}.amazonaws.com",
        key_env="AWS_SECRET_ACCESS_KEY",
        docs="https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html",
        paths={},
        key_required=False,
        defaults=(("aws_region", "us-east-1"),),
        signer="sagemaker",
        variant=_aws,
    ),
    Provider(
        name="cortex",
        base_url="https://{snowflake_account}.snowflakecomputing.com/api/v2",
        key_env="SNOWFLAKE_TOKEN",
        docs="https://docs.snowflake.com/user-guide/snowflake-cortex/cortex-rest-api",
        paths={
            Dialect.OPENAI_CHAT: "/cortex/v1/chat/completions",
            Dialect.ANTHROPIC_MESSAGES: "/cortex/v1/messages",
        },
        headers=(("anthropic-version", "2023-06-01"),),
        only={Dialect.ANTHROPIC_MESSAGES: ("claude-*",)},
        quirks={
            Dialect.OPENAI_CHAT: hosts.COMMON,
            Dialect.ANTHROPIC_MESSAGES: serves_claude()[Dialect.ANTHROPIC_MESSAGES],
        },
    ),
)

PROVIDERS: dict[str, Provider] = {row.name: row for row in (*_ROWS, *hosts.ROWS)}

RETIRED: dict[str, str] = {
    "palm": "Google has switched the PaLM API off; use the provider google with a Gemini model.",
    "portkey": "Batches run by a hosted gateway are not offered here; name the provider that shall run them.",
}
"""Names that programs of the field still use, for APIs that are no more; and what to do instead."""
