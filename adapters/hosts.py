"""The rows of the table that are OpenAI's chat at another address: a name, an address, where that is written, and which
endpoints there are. What a host wants otherwise stands in its row; where no source is named, it is that page.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from adapters import auth, patches
from adapters.provider import Paths, Provider
from adapters.quirks import Prefill, Quirks
from adapters.types import Dialect

CHAT: Paths = {Dialect.OPENAI_CHAT: "/chat/completions", Dialect.OPENAI_MODELS: "/models"}
TEXT: Paths = {**CHAT, Dialect.OPENAI_COMPLETIONS: "/completions"}
EMBED: Paths = {**CHAT, Dialect.OPENAI_EMBEDDINGS: "/embeddings"}
ALL: Paths = {**TEXT, Dialect.OPENAI_EMBEDDINGS: "/embeddings"}
RESPONSES: Paths = {Dialect.OPENAI_RESPONSES: "/responses"}
RERANK: Paths = {Dialect.RERANK: "/rerank"}

COMMON = Quirks(developers=False)
"""Most hosts of OpenAI's chat have not taken over the messages of developers: they refuse the role (DashScope:
`developer is not one of …`, DeepInfra: 422, Z.ai: 1214), leave such a message out (Ollama), or pass it on to models
that refuse it (OpenRouter, Azure AI Foundry). OpenAI's own models take a message of the system's as one of developers.
"""

OLDER = replace(COMMON, rename={"max_completion_tokens": "max_tokens"})
"""Those that document `max_tokens` alone, and pass OpenAI's newer name over as if no limit had been asked for."""

# The history of what a model thought goes to those that want it alone: some models refuse a history of tool calls
# without it (DeepSeek's, Kimi), or do worse (GLM), and some hosts refuse the field (OpenAI).

_PARTIAL = Prefill(mark="partial")
"""https://platform.moonshot.ai/docs/api/partial and https://www.alibabacloud.com/help/en/model-studio/partial-mode"""


def _row(
    name: str,
    base_url: str,
    docs: str,
    paths: Paths = CHAT,
    *,
    chat: Quirks = COMMON,
    quirks: Mapping[Dialect, Quirks] | None = None,
    shown: auth.Auth = auth.bearer,
    only: Mapping[Dialect, tuple[str, ...]] | None = None,
    ended: str = "",
) -> Provider:
    """A host, or one that is only passed through to; without an address, one must be given, and `ended` may say why.
    `chat` are the quirks of its chat, `quirks` those of whatever else it has."""
    key_env = name.upper().replace("-", "_") + "_API_KEY"
    of_chat = {Dialect.OPENAI_CHAT: chat} if Dialect.OPENAI_CHAT in paths else {}
    return Provider(
        name=name,
        base_url=base_url,
        key_env=key_env,
        docs=docs,
        paths=paths,
        auth=shown,
        host_required=not base_url,
        quirks={**of_chat, **(quirks or {})},
        only=only or {},
        ended=ended,
    )


ROWS: tuple[Provider, ...] = (
    _row("302ai", "https://api.302.ai/v1", "https://doc.302.ai"),
    _row("aibadgr", "https://aibadgr.com/api/v1", "https://aibadgr.com"),
    _row(
        "anyscale",
        "",
        "https://docs.anyscale.com/llm/serving",
        ALL,
        ended="Anyscale has no public endpoints any more; a service of your own has its own.",
    ),
    # The penalties and the rest that it once refused, it documents now.
    _row(
        "cerebras",
        "https://api.cerebras.ai/v1",
        "https://inference-docs.cerebras.ai/api-reference/chat-completions",
        TEXT,
        chat=replace(COMMON, thoughts="reasoning"),
    ),
    _row("cometapi", "https://api.cometapi.com/v1", "https://api.cometapi.com", EMBED),
    _row(
        "dashscope",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        "https://www.alibabacloud.com/help/en/model-studio/qwen-api-via-openai-chat-completions",
        EMBED,
        chat=replace(COMMON, prefill=_PARTIAL),
    ),
    _row("deepbricks", "https://api.deepbricks.ai/v1", "https://deepbricks.ai"),
    _row("deepinfra", "https://api.deepinfra.com/v1/openai", "https://deepinfra.com/docs/openai_api", ALL, chat=OLDER),
    _row(
        "deepseek",
        "https://api.deepseek.com",
        "https://api-docs.deepseek.com",
        # https://api-docs.deepseek.com/guides/responses_api knows no `/v1`; chat is at either.
        {**CHAT, **RESPONSES},
        chat=replace(OLDER, thoughts="reasoning_content", prefill=Prefill(mark="prefix", below="/beta")),
    ),
    _row("featherless-ai", "https://api.featherless.ai/v1", "https://featherless.ai/docs", TEXT),
    _row(
        "fireworks-ai",
        "https://api.fireworks.ai/inference/v1",
        "https://docs.fireworks.ai/api-reference/post-chatcompletions",
        {**ALL, **RESPONSES},
        # https://docs.fireworks.ai/guides/reasoning: its models think on where they left off.
        chat=replace(COMMON, thoughts="reasoning_content"),
    ),
    _row(
        "github",
        "",
        "https://docs.github.com/github-models",
        EMBED,
        ended="GitHub Models was switched off on 2026-07-30; use azure-ai, or the maker of the model.",
    ),
    _row(
        "groq",
        "https://api.groq.com/openai/v1",
        "https://console.groq.com/docs/api-reference#chat-create",
        {**CHAT, **RESPONSES},
        # The first three are answered with 400 (https://console.groq.com/docs/openai), the others with nothing: `not
        # yet supported by any of our models`. Prefilling: https://console.groq.com/docs/prefilling
        chat=Quirks(
            drop=("logprobs", "top_logprobs", "logit_bias", *patches.PENALTIES, "store", "metadata"), prefill=Prefill()
        ),
    ),
    Provider(
        name="huggingface",
        base_url="https://router.huggingface.co/v1",
        key_env="HUGGINGFACE_API_KEY",
        docs="https://huggingface.co/docs/inference-providers",
        paths={**CHAT, **RESPONSES},
        quirks={Dialect.OPENAI_CHAT: COMMON},
        url_field="huggingface_base_url",
    ),
    _row("hyperbolic", "https://api.hyperbolic.xyz/v1", "https://docs.hyperbolic.xyz", chat=OLDER),
    _row("inference-net", "https://api.inference.net/v1", "https://docs.inference.net"),
    _row("iointelligence", "https://api.intelligence.io.solutions/api/v1", "https://docs.io.net", EMBED),
    _row(
        "kluster-ai",
        "",
        "https://docs.kluster.ai",
        EMBED,
        ended="kluster.ai is no more since October 2026; name another provider of the same model.",
    ),
    _row("krutrim", "https://cloud.olakrutrim.com/v1", "https://cloud.olakrutrim.com"),
    _row(
        "lambda",
        "",
        "https://docs.lambda.ai",
        TEXT,
        ended="Lambda switched its inference API off on 2025-09-25; a server of your own has its own.",
    ),
    _row("lemonfox-ai", "https://api.lemonfox.ai/v1", "https://www.lemonfox.ai/apis"),
    _row(
        "lepton",
        "",
        "https://docs.nvidia.com/dgx-cloud/lepton",
        TEXT,
        ended="Lepton's API went with its company to NVIDIA; an endpoint of your own has its own.",
    ),
    _row("lingyi", "https://api.lingyiwanwu.com/v1", "https://platform.lingyiwanwu.com/docs"),
    _row("matterai", "https://api.matterai.so/v1", "https://docs.matterai.so"),
    _row("modal", "", "https://modal.com/docs", ALL),
    _row(
        "monsterapi",
        "",
        "https://developer.monsterapi.ai",
        chat=replace(COMMON, rename={"max_tokens": "max_length", "max_completion_tokens": "max_length"}),
        ended="MonsterAPI closed on 2026-06-30; name another provider of the same model.",
    ),
    _row(
        "moonshot",
        "https://api.moonshot.cn/v1",
        "https://platform.moonshot.cn/docs",
        chat=replace(COMMON, thoughts="reasoning_content", prefill=_PARTIAL),
    ),
    _row("ncompass", "https://api.ncompass.tech/v1", "https://docs.ncompass.tech"),
    _row(
        "nebius",
        "https://api.tokenfactory.nebius.com/v1",
        "https://docs.tokenfactory.nebius.com/api-reference/introduction",
        ALL,
    ),
    _row("nextbit", "https://api.nextbit256.com/v1", "https://www.nextbit256.com/docs", TEXT),
    _row(
        "novita-ai",
        "https://api.novita.ai/openai/v1",
        "https://novita.ai/docs/api-reference/model-apis-llm-create-chat-completion",
        {**ALL, **RERANK},
        chat=OLDER,
    ),
    _row("nscale", "https://inference.api.nscale.com/v1", "https://docs.nscale.com"),
    _row(
        "openrouter",
        "https://openrouter.ai/api/v1",
        "https://openrouter.ai/docs",
        {**ALL, **RESPONSES},
        # Passes the message on; what a model makes of it is known of Anthropic's alone.
        chat=replace(COMMON, thoughts="reasoning", details=True, prefill=Prefill(models=("anthropic/*",))),
    ),
    _row(
        "ovhcloud",
        "https://oai.endpoints.kepler.ai.cloud.ovh.net/v1",
        "https://www.ovhcloud.com/en/public-cloud/ai-endpoints",
        EMBED,
    ),
    # Its chat ended on 2026-09-27, with the models of those days (`sonar-pro`); what a gate of one's own may still have
    # of it is asked for by their names. The models of today, which have a maker's name in theirs, have Responses alone:
    # https://docs.perplexity.ai/docs/agent-api/migrate-from-sonar/overview
    replace(
        _row(
            "perplexity-ai",
            "https://api.perplexity.ai",
            "https://docs.perplexity.ai/docs/agent-api/openai-compatibility",
            {
                Dialect.OPENAI_CHAT: "/chat/completions",
                Dialect.OPENAI_RESPONSES: "/v1/responses",
                Dialect.OPENAI_MODELS: "/v1/models",
            },
            chat=OLDER,
            # https://docs.perplexity.ai/docs/agent-api/output-control
            quirks={Dialect.OPENAI_RESPONSES: Quirks(patch=patches.perplexitys, touches=("text", "include"))},
        ),
        responses_only=("*/*",),
        passed={f"/{name}": f"/v1/{name}" for name in ("responses", "agent", "embeddings", "contextualizedembeddings")},
    ),
    _row(
        "sambanova",
        "https://api.sambanova.ai/v1",
        "https://docs.sambanova.ai/docs/en/features/openai-compatibility",
        {**ALL, **RESPONSES},
        # Penalties are `not currently implemented; accepted for API compatibility`.
        chat=replace(COMMON, thoughts="reasoning", drop=patches.PENALTIES),
    ),
    _row(
        "siliconflow",
        "https://api.siliconflow.cn/v1",
        "https://docs.siliconflow.cn/docs/api/chat-completions-post",
        {**EMBED, **RERANK},
        chat=OLDER,
    ),
    _row(
        "together-ai",
        "https://api.together.xyz/v1",
        "https://docs.together.ai/reference/chat-completions",
        {**ALL, **RERANK},
        chat=replace(OLDER, thoughts="reasoning", patch=patches.counted_logprobs, touches=("logprobs", "top_logprobs")),
    ),
    _row("upstage", "https://api.upstage.ai/v1", "https://console.upstage.ai/docs", EMBED),
    _row(
        "voyage",
        "https://api.voyageai.com/v1",
        "https://docs.voyageai.com/reference/embeddings-api",
        {Dialect.OPENAI_EMBEDDINGS: "/embeddings", Dialect.VOYAGE_RERANK: "/rerank"},
        quirks={
            Dialect.OPENAI_EMBEDDINGS: Quirks(
                rename={"dimensions": "output_dimension"},
                drop=("user",),
                patch=patches.floats_by_default,
                touches=("encoding_format",),
            )
        },
    ),
    _row(
        "jina",
        "https://api.jina.ai/v1",
        "https://jina.ai/embeddings",
        {Dialect.OPENAI_EMBEDDINGS: "/embeddings", **RERANK},
        quirks={Dialect.OPENAI_EMBEDDINGS: Quirks(rename={"encoding_format": "embedding_type"})},
    ),
    _row(
        "x-ai",
        "https://api.x.ai/v1",
        "https://docs.x.ai",
        {**ALL, **RESPONSES},
        chat=Quirks(patch=patches.without_zero_penalties, touches=patches.PENALTIES),
    ),
    _row(
        "z-ai",
        "https://api.z.ai/api/paas/v4",
        "https://docs.z.ai/guides/overview/concept-param",
        chat=replace(OLDER, thoughts="reasoning_content"),
    ),
    _row("ai21", "https://api.ai21.com/studio/v1", "https://docs.ai21.com/reference/jamba-1-6-api-ref", chat=OLDER),
    _row(
        "bytez",
        "https://api.bytez.com/models/v2/openai/v1",
        "https://docs.bytez.com/http-reference",
        shown=auth.unschemed,
    ),
    _row("databricks", "", "https://docs.databricks.com/machine-learning/model-serving", ALL),
    _row("latitude", "", "https://docs.latitude.so"),
    _row("predibase", "", "https://docs.predibase.com/user-guide/inference", TEXT),
    _row("reka-ai", "https://api.reka.ai/v1", "https://docs.reka.ai/chat/overview", chat=OLDER),
    _row("recraft-ai", "https://external.api.recraft.ai/v1", "https://www.recraft.ai/docs", {}),
    Provider(
        name="oracle",
        base_url="https://inference.generativeai.{oracle_region}.oci.oraclecloud.com/openai/v1",
        key_env="ORACLE_API_KEY",
        docs="https://docs.oracle.com/en-us/iaas/Content/generative-ai/openai-compatible-api.htm",
        paths={Dialect.OPENAI_CHAT: "/chat/completions", **RESPONSES},
        quirks={Dialect.OPENAI_CHAT: COMMON},
        defaults=(("oracle_region", "us-chicago-1"),),
    ),
    _row(
        "workers-ai",
        "https://api.cloudflare.com/client/v4/accounts/{workers_ai_account_id}/ai/v1",
        "https://developers.cloudflare.com/workers-ai/configuration/open-ai-compatibility",
        {
            Dialect.OPENAI_CHAT: "/chat/completions",
            Dialect.OPENAI_EMBEDDINGS: "/embeddings",
            **RESPONSES,
        },
        # Shown with these models alone.
        only={Dialect.OPENAI_RESPONSES: ("@cf/openai/*",)},
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
        "zhipu",
        "https://open.bigmodel.cn/api/paas/v4",
        "https://open.bigmodel.cn/dev/api",
        EMBED,
        chat=replace(OLDER, thoughts="reasoning_content"),
    ),
)
