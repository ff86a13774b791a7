"""The table of providers: one row each. An OpenAI-compatible provider is its name, address and key; no code.

Base URLs carry the API version. A `custom_host` without a path gets the row's; one with a path is taken as it is.

Where an address depends on more than the row, the row has placeholders: `{aws_region}` in `base_url` and in paths is a
provider field of the virtual key, of the config's leaf or of the request's headers; `{model}` in paths is the model,
percent-encoded. Rows without placeholders are compiled once and for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from adapters import auth, azure, vertex
from adapters.anthropic.thoughts import serves_claude
from adapters.bedrock.models import without_region
from adapters.betas import MANTLE
from adapters.errors import InvalidRequest
from adapters.quirks import Prefill, Quirks
from adapters.types import Dialect

Paths = Mapping[Dialect, str]
Fields = Mapping[str, Any]
"""Provider fields by name, as a virtual key or a config object's leaf has them."""

Variant = Callable[["Provider", Fields], "Provider"]

_CHAT: Paths = {Dialect.OPENAI_CHAT: "/chat/completions", Dialect.OPENAI_MODELS: "/models"}
_TEXT: Paths = {**_CHAT, Dialect.OPENAI_COMPLETIONS: "/completions"}
_EMBED: Paths = {**_CHAT, Dialect.OPENAI_EMBEDDINGS: "/embeddings"}
_ALL: Paths = {**_TEXT, Dialect.OPENAI_EMBEDDINGS: "/embeddings"}
_RESPONSES: Paths = {Dialect.OPENAI_RESPONSES: "/responses"}
_RERANK: Paths = {Dialect.RERANK: "/rerank"}

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


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One provider. `paths` says which dialects it speaks, and where below `base_url`.

    `chat_only` and `text_only` are model patterns that decide where a text completion goes when both endpoints exist:
    to chat through the prompt bridge, or to the legacy endpoint and nowhere else. `responses_only` are those of models
    that have no chat endpoint: every client's conversation with them goes to `openai.responses`, if there is a path.

    `stream_paths` are the paths of streamed calls where they differ. `only` restricts a dialect to models that fit one
    of its patterns. `defaults` are values of provider fields that nobody gave. `signer` names how a request is
    authenticated where a fixed header line cannot do it (`proxy.config.signing` has the table). `variant` gives the row
    that is meant by the fields: another address for another kind of deployment, say. It raises InvalidRequest.
    `url_field` is a provider field that holds the whole address, as `custom_host` would. `query` is added to paths that
    are only passed through and bring none; `passed` gives the beginnings of such paths that are elsewhere here.
    `naming` gives the name that a model has in the paths of a dialect, where that is not its name. `prefixes` are what
    stands before the paths of models that fit the patterns.
    `quirks` says, for a dialect, what this provider wants otherwise. A row without `paths` is for passing through only.
    """

    name: str
    base_url: str
    key_env: str
    docs: str
    auth: auth.Auth = auth.bearer
    paths: Paths
    headers: tuple[tuple[str, str], ...] = ()
    host_required: bool = False
    key_required: bool = True
    chat_only: tuple[str, ...] = ()
    text_only: tuple[str, ...] = ()
    responses_only: tuple[str, ...] = ()
    stream_paths: Paths = {}
    only: Mapping[Dialect, tuple[str, ...]] = {}
    defaults: tuple[tuple[str, str], ...] = ()
    signer: str | None = None
    variant: Variant | None = None
    url_field: str | None = None
    query: str = ""
    passed: Mapping[str, str] = {}
    naming: Mapping[Dialect, Callable[[str], str]] = {}
    prefixes: Mapping[str, tuple[str, ...]] = {}
    quirks: Mapping[Dialect, Quirks] = {}

    @property
    def takes_fields(self) -> bool:
        """Whether provider fields say where requests go or how they are signed."""
        return self.signer is not None or self.variant is not None or "{" in self.base_url

    @property
    def by_model(self) -> bool:
        """Whether the address or the dialect depends on the model, or on whether the answer is streamed."""
        return bool(self.stream_paths or self.only or self.prefixes) or any(
            "{model}" in path for path in self.paths.values()
        )


def matches(model: str, patterns: tuple[str, ...]) -> bool:
    """Whether a model name fits one of the shell patterns (`gpt-5*`), case-sensitively."""
    return any(fnmatchcase(model, pattern) for pattern in patterns)


def over_responses(row: Provider, asked: str) -> Provider:
    """The row where the operator says which models only Responses serve: `asked` are patterns, separated by commas.

    A host that has chat in OpenAI's place has Responses beside it; those of a row without are for these models alone.
    Raises InvalidRequest where there is no such place.
    """
    patterns = tuple(each.strip() for each in asked.split(",") if each.strip())
    if Dialect.OPENAI_RESPONSES in row.paths or not patterns:
        return msgspec.structs.replace(row, responses_only=patterns)
    chat, end = row.paths.get(Dialect.OPENAI_CHAT, ""), "/chat/completions"
    if end not in chat or "{model}" in chat:
        raise InvalidRequest(f"The provider {row.name!r} has no Responses here.", "responses_models")
    paths = {**row.paths, Dialect.OPENAI_RESPONSES: chat.replace(end, "/responses")}
    only = {**row.only, Dialect.OPENAI_RESPONSES: patterns}
    return msgspec.structs.replace(row, paths=paths, only=only, responses_only=patterns)


def _row(
    name: str,
    base_url: str,
    docs: str,
    paths: Paths = _CHAT,
    *,
    quirks: Mapping[Dialect, Quirks] | None = None,
    shown: auth.Auth = auth.bearer,
) -> Provider:
    """An OpenAI-compatible provider, or one that is only passed through to; without an address, one must be given."""
    key_env = name.upper().replace("-", "_") + "_API_KEY"
    return Provider(
        name=name,
        base_url=base_url,
        key_env=key_env,
        docs=docs,
        paths=paths,
        auth=shown,
        host_required=not base_url,
        quirks=quirks or {},
    )


_REMEMBERS: Mapping[Dialect, Quirks] = {Dialect.OPENAI_CHAT: Quirks(thoughts="reasoning_content")}
"""Models that refuse a history of tool calls without what they thought (DeepSeek's, Kimi), or do worse (GLM). Others,
such as Groq and OpenAI, refuse the field, so that nobody else gets it."""


_PREFIX = Quirks(prefill=Prefill(mark="prefix", echoes=True))
"""Mistral refuses an assistant's last message without the mark, and repeats it with it."""

_PARTIAL = Prefill(mark="partial")
"""https://platform.moonshot.ai/docs/api/partial and https://www.alibabacloud.com/help/en/model-studio/partial-mode"""


def _goes_on(prefill: Prefill, thoughts: str = "") -> Mapping[Dialect, Quirks]:
    """A provider whose chats go on from an assistant's last message."""
    return {Dialect.OPENAI_CHAT: Quirks(thoughts=thoughts, prefill=prefill)}


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
        paths={**_ALL, **_RESPONSES},
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
        paths={**_ALL, **_RERANK},
        host_required=True,
        key_required=False,
    ),
    Provider(
        name="ollama",
        base_url="http://127.0.0.1:11434/v1",
        key_env="OLLAMA_API_KEY",
        docs="https://docs.ollama.com/openai",
        paths=_ALL,
        quirks={Dialect.OPENAI_CHAT: Quirks(thoughts="reasoning")},
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
        quirks=serves_claude(MANTLE),
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
        paths={Dialect.OPENAI_CHAT: "/cortex/v1/chat/completions"},
    ),
    _row("github", "https://models.inference.ai.azure.com", "https://docs.github.com/github-models", _EMBED),
    _row("302ai", "https://api.302.ai/v1", "https://doc.302.ai"),
    _row("aibadgr", "https://aibadgr.com/api/v1", "https://aibadgr.com"),
    _row("anyscale", "https://api.endpoints.anyscale.com/v1", "https://docs.anyscale.com", _ALL),
    _row(
        "cerebras",
        "https://api.cerebras.ai/v1",
        "https://inference-docs.cerebras.ai",
        quirks={
            Dialect.OPENAI_CHAT: Quirks(
                thoughts="reasoning", drop=("frequency_penalty", "presence_penalty", "logit_bias", "service_tier")
            )
        },
    ),
    _row("cometapi", "https://api.cometapi.com/v1", "https://api.cometapi.com", _EMBED),
    _row(
        "dashscope",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        "https://help.aliyun.com",
        _EMBED,
        quirks=_goes_on(_PARTIAL),
    ),
    _row("deepbricks", "https://api.deepbricks.ai/v1", "https://deepbricks.ai"),
    _row("deepinfra", "https://api.deepinfra.com/v1/openai", "https://deepinfra.com/docs"),
    _row(
        "deepseek",
        "https://api.deepseek.com",
        "https://api-docs.deepseek.com",
        # https://api-docs.deepseek.com/guides/responses_api knows no `/v1`; chat is at either.
        {**_CHAT, **_RESPONSES},
        quirks=_goes_on(Prefill(mark="prefix", below="/beta"), "reasoning_content"),
    ),
    _row("featherless-ai", "https://api.featherless.ai/v1", "https://featherless.ai/docs", _TEXT),
    _row(
        "fireworks-ai",
        "https://api.fireworks.ai/inference/v1",
        "https://docs.fireworks.ai",
        {**_ALL, **_RESPONSES},
        # https://docs.fireworks.ai/guides/reasoning: its models think on where they left off.
        quirks=_REMEMBERS,
    ),
    _row(
        "groq",
        "https://api.groq.com/openai/v1",
        "https://console.groq.com/docs",
        {**_CHAT, **_RESPONSES},
        quirks={
            # https://console.groq.com/docs/prefilling
            Dialect.OPENAI_CHAT: Quirks(drop=("logprobs", "top_logprobs", "logit_bias"), prefill=Prefill())
        },
    ),
    Provider(
        name="huggingface",
        base_url="https://router.huggingface.co/v1",
        key_env="HUGGINGFACE_API_KEY",
        docs="https://huggingface.co/docs/inference-providers",
        paths={**_CHAT, **_RESPONSES},
        url_field="huggingface_base_url",
    ),
    _row("hyperbolic", "https://api.hyperbolic.xyz/v1", "https://docs.hyperbolic.xyz"),
    _row("inference-net", "https://api.inference.net/v1", "https://docs.inference.net"),
    _row("iointelligence", "https://api.intelligence.io.solutions/api/v1", "https://docs.io.net", _EMBED),
    _row("kluster-ai", "https://api.kluster.ai/v1", "https://docs.kluster.ai", _EMBED),
    _row("krutrim", "https://cloud.olakrutrim.com/v1", "https://cloud.olakrutrim.com"),
    _row("lambda", "https://api.lambdalabs.com/v1", "https://docs.lambdalabs.com", _TEXT),
    _row("lemonfox-ai", "https://api.lemonfox.ai/v1", "https://www.lemonfox.ai/apis"),
    _row("lepton", "https://api.lepton.ai/api/v1", "https://www.lepton.ai/docs", _TEXT),
    _row("lingyi", "https://api.lingyiwanwu.com/v1", "https://platform.lingyiwanwu.com/docs"),
    _row("matterai", "https://api.matterai.so/v1", "https://docs.matterai.so"),
    _row("modal", "", "https://modal.com/docs", _ALL),
    _row(
        "monsterapi",
        "https://llm.monsterapi.ai/v1",
        "https://developer.monsterapi.ai",
        quirks={
            Dialect.OPENAI_CHAT: Quirks(rename={"max_tokens": "max_length", "max_completion_tokens": "max_length"})
        },
    ),
    _row(
        "moonshot",
        "https://api.moonshot.cn/v1",
        "https://platform.moonshot.cn/docs",
        quirks=_goes_on(_PARTIAL, "reasoning_content"),
    ),
    _row("ncompass", "https://api.ncompass.tech/v1", "https://docs.ncompass.tech"),
    _row("nebius", "https://api.studio.nebius.ai/v1", "https://docs.nebius.com/studio", _ALL),
    _row("nextbit", "https://api.nextbit256.com/v1", "https://www.nextbit256.com/docs", _TEXT),
    _row("novita-ai", "https://api.novita.ai/v3/openai", "https://novita.ai/docs", _TEXT),
    _row("nscale", "https://inference.api.nscale.com/v1", "https://docs.nscale.com"),
    _row(
        "openrouter",
        "https://openrouter.ai/api/v1",
        "https://openrouter.ai/docs",
        {**_TEXT, **_RESPONSES},
        # Passes the message on; what a model makes of it is known of Anthropic's alone.
        quirks={
            Dialect.OPENAI_CHAT: Quirks(thoughts="reasoning", details=True, prefill=Prefill(models=("anthropic/*",)))
        },
    ),
    _row("ovhcloud", "https://oai.endpoints.kepler.ai.cloud.ovh.net/v1", "https://endpoints.ai.cloud.ovh.net"),
    _row("perplexity-ai", "https://api.perplexity.ai", "https://docs.perplexity.ai"),
    _row("sambanova", "https://api.sambanova.ai/v1", "https://docs.sambanova.ai"),
    _row("siliconflow", "https://api.siliconflow.cn/v1", "https://docs.siliconflow.cn", {**_EMBED, **_RERANK}),
    _row("together-ai", "https://api.together.xyz/v1", "https://docs.together.ai", {**_ALL, **_RERANK}),
    _row("upstage", "https://api.upstage.ai/v1/solar", "https://console.upstage.ai/docs", _EMBED),
    _row(
        "voyage",
        "https://api.voyageai.com/v1",
        "https://docs.voyageai.com",
        {Dialect.OPENAI_EMBEDDINGS: "/embeddings", Dialect.VOYAGE_RERANK: "/rerank"},
    ),
    _row(
        "jina", "https://api.jina.ai/v1", "https://docs.jina.ai", {Dialect.OPENAI_EMBEDDINGS: "/embeddings", **_RERANK}
    ),
    _row("x-ai", "https://api.x.ai/v1", "https://docs.x.ai", {**_ALL, **_RESPONSES}),
    _row("z-ai", "https://api.z.ai/api/paas/v4", "https://docs.z.ai", quirks=_REMEMBERS),
    _row("ai21", "https://api.ai21.com/studio/v1", "https://docs.ai21.com/reference"),
    _row(
        "bytez",
        "https://api.bytez.com/models/v2/openai/v1",
        "https://docs.bytez.com/http-reference",
        shown=auth.unschemed,
    ),
    _row("databricks", "", "https://docs.databricks.com/machine-learning/model-serving", _ALL),
    _row("latitude", "", "https://docs.latitude.so", _CHAT),
    _row("predibase", "", "https://docs.predibase.com/user-guide/inference", _TEXT),
    _row("reka-ai", "https://api.reka.ai/v1", "https://docs.reka.ai/chat/overview"),
    _row("recraft-ai", "https://external.api.recraft.ai/v1", "https://www.recraft.ai/docs", {}),
    Provider(
        name="oracle",
        base_url="https://inference.generativeai.{oracle_region}.oci.oraclecloud.com/openai/v1",
        key_env="ORACLE_API_KEY",
        docs="https://docs.oracle.com/en-us/iaas/Content/generative-ai/openai-compatible-api.htm",
        paths={Dialect.OPENAI_CHAT: "/chat/completions", **_RESPONSES},
        defaults=(("oracle_region", "us-chicago-1"),),
    ),
    Provider(
        name="workers-ai",
        base_url="https://api.cloudflare.com/client/v4/accounts/{workers_ai_account_id}/ai/v1",
        key_env="WORKERS_AI_API_KEY",
        docs="https://developers.cloudflare.com/workers-ai/configuration/open-ai-compatibility",
        paths={Dialect.OPENAI_CHAT: "/chat/completions", Dialect.OPENAI_EMBEDDINGS: "/embeddings"},
    ),
    _row("meshy", "https://api.meshy.ai/openapi/v2", "https://docs.meshy.ai", {}),
    _row("milvus", "", "https://milvus.io/api-reference/restful", {}),
    _row(
        "nomic",
        "https://api-atlas.nomic.ai/v1",
        "https://docs.nomic.ai/reference/api",
        {Dialect.NOMIC_EMBED: "/embedding/text"},
    ),
    _row("pinecone", "https://api.pinecone.io", "https://docs.pinecone.io/reference/api", {}, shown=auth.api_key),
    _row("qdrant", "", "https://api.qdrant.tech", {}, shown=auth.api_key),
    _row("replicate", "https://api.replicate.com/v1", "https://replicate.com/docs/reference/http", {}),
    _row("segmind", "https://api.segmind.com/v1", "https://docs.segmind.com", {}, shown=auth.x_api_key),
    _row("stability-ai", "https://api.stability.ai", "https://platform.stability.ai/docs/api-reference", {}),
    _row("triton", "", "https://docs.nvidia.com/deeplearning/triton-inference-server", {}),
    _row("tripo3d", "https://api.tripo3d.ai/v2/openapi", "https://platform.tripo3d.ai/docs", {}),
    _row(
        "zhipu", "https://open.bigmodel.cn/api/paas/v4", "https://open.bigmodel.cn/dev/api", _EMBED, quirks=_REMEMBERS
    ),
)

_KNOW_DEVELOPERS = frozenset(
    ("openai", "azure-openai", "azure-ai", "bedrock", "bedrock-mantle", "github", "groq", "openrouter", "x-ai")
)
"""Who takes messages of developers for what they are. Others refuse the role (DeepSeek: `unknown variant`, Z.ai: 1214),
or leave such a message out (Ollama)."""

_KNOW_MAX_TOKENS = frozenset(
    (
        "ollama", "deepseek", "zhipu", "z-ai", "together-ai", "perplexity-ai", "siliconflow", "novita-ai", "deepinfra",
        "hyperbolic",
    )
)  # fmt: skip
"""Who documents `max_tokens` alone, and passes OpenAI's newer name over as if no limit had been asked for."""


def _as_spoken(row: Provider) -> Provider:
    """The row with what most hosts of OpenAI's chat have not taken over from OpenAI."""
    quirks = row.quirks.get(Dialect.OPENAI_CHAT, Quirks())
    if Dialect.OPENAI_CHAT not in row.paths or row.name in _KNOW_DEVELOPERS:
        return row
    rename = {"max_completion_tokens": "max_tokens"} if row.name in _KNOW_MAX_TOKENS else {}
    made = msgspec.structs.replace(quirks, developers=False, rename={**rename, **quirks.rename})
    return msgspec.structs.replace(row, quirks={**row.quirks, Dialect.OPENAI_CHAT: made})


PROVIDERS: dict[str, Provider] = {row.name: _as_spoken(row) for row in _ROWS}

RETIRED: dict[str, str] = {
    "palm": "Google has switched the PaLM API off; use the provider google with a Gemini model.",
    "portkey": "Batches run by a hosted gateway are not offered here; name the provider that shall run them.",
}
"""Names that programs of the field still use, for APIs that are no more; and what to do instead."""
