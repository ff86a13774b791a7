"""OpenTelemetry's names for what this gateway does: the semantic conventions for generative AI, status Development, as
of 2026. They still change: this table is the one place that knows them."""

from __future__ import annotations

import re

OPERATIONS: dict[str, str] = {
    "openai.chat": "chat",
    "openai.responses": "chat",
    "openai.completions": "text_completion",
    "openai.embeddings": "embeddings",
    "openai.embeddings_as_floats": "embeddings",
    "anthropic.messages": "chat",
    "anthropic.complete": "text_completion",
    "anthropic.count_tokens": "count_tokens",
    "bedrock.converse": "chat",
    "gemini.generate": "generate_content",
    "passthrough": "pass_through",
}
"""`gen_ai.operation.name` by dialect; what is not here keeps the dialect's own name."""

PROVIDERS: dict[str, str] = {
    "azure-openai": "azure.ai.openai",
    "azure-ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "bedrock-mantle": "aws.bedrock",
    "google": "gcp.gemini",
    "vertex-ai": "gcp.vertex_ai",
    "mistral-ai": "mistral_ai",
    "x-ai": "x_ai",
    "perplexity-ai": "perplexity",
    "watsonx": "ibm.watsonx.ai",
}
"""`gen_ai.provider.name` by provider; the others' names are the same."""

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
TIME_TO_FIRST = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS = "gen_ai.usage.cache_creation.input_tokens"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105 - a name, no credential
RESPONSE_ID = "gen_ai.response.id"
RESPONSE_MODEL = "gen_ai.response.model"
FINISH_REASONS = "gen_ai.response.finish_reasons"
ERROR = "error.type"
METHOD = "http.request.method"
PATH = "url.path"
STATUS = "http.response.status_code"
SIZE = "http.request.body.size"
RESENT = "http.request.resend_count"
ADDRESS = "server.address"
PORT = "server.port"

PARAMETERS: dict[str, str] = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "topP": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "topK": "gen_ai.request.top_k",
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "max_output_tokens": "gen_ai.request.max_tokens",
    "max_tokens_to_sample": "gen_ai.request.max_tokens",
    "maxOutputTokens": "gen_ai.request.max_tokens",
    "n": "gen_ai.request.choice.count",
    "candidateCount": "gen_ai.request.choice.count",
    "seed": "gen_ai.request.seed",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "frequencyPenalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "presencePenalty": "gen_ai.request.presence_penalty",
    "dimensions": "gen_ai.embeddings.dimension.count",
}
"""Attributes by the fields of request bodies, in all dialects. Numbers only: what is text may be a prompt's."""

FLOATS = frozenset(
    f"gen_ai.request.{name}" for name in ("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty")
)
"""Those of them that the conventions have as doubles."""

_TIMES = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_EACH = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_TOKENS = tuple(float(4**power) for power in range(14))

HISTOGRAMS: dict[str, tuple[str, str, tuple[float, ...]]] = {
    "gen_ai.server.request.duration": ("s", "Requests to this gateway.", _TIMES),
    "gen_ai.server.time_to_first_token": ("s", "From a request to its stream's first event.", _FIRST),
    "gen_ai.server.time_per_output_token": ("s", "The mean gap between a stream's tokens.", _EACH),
    "gen_ai.client.operation.duration": ("s", "Attempts at providers.", _TIMES),
    "gen_ai.client.token.usage": ("{token}", "Tokens as providers counted them.", _TOKENS),
}
"""Metrics: unit, meaning, buckets."""

_NOT_A_NAME = re.compile(r"[^\w.:/@+-]")


def operation(dialect: str) -> str:
    """What is done."""
    return OPERATIONS.get(dialect, dialect)


def provider(name: str | None) -> str:
    """By whom."""
    return "none" if name is None else PROVIDERS.get(name, name)


def model(name: str | None) -> str:
    """A model's name, made fit for a label: what clients and configs write may be anything."""
    return _NOT_A_NAME.sub("_", name or "")[:128]
