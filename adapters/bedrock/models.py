"""What each family of models on Bedrock takes beside Converse's common fields: one row each, the first that matches."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from adapters.anthropic.models import traits


class Family(NamedTuple):
    """`top_k` and `effort` are the paths in `additionalModelRequestFields`, None where there is no such thing.
    `schema` is how a JSON schema is asked for: `native`ly, by a `tool` that must be called, or in a `prompt`.
    `lasting`: a cache may be told to last an hour
    (https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html)."""

    name: str
    top_k: tuple[str, ...] | None = ("top_k",)
    effort: tuple[str, ...] | None = None
    schema: str = "native"
    lasting: bool = False


_ROWS = (
    (r"anthropic\.|claude", Family("anthropic", effort=())),
    (r"amazon\.nova-2", Family("nova", ("inferenceConfig", "topK"), ("reasoningConfig", "maxReasoningEffort"), "tool")),
    (r"amazon\.nova", Family("nova", ("inferenceConfig", "topK"), None, "tool")),
    (r"amazon\.titan", Family("titan", None, None, "prompt")),
    (r"cohere\.", Family("cohere", ("k",), None, "prompt")),
    (
        r"meta\.|ai21\.|writer\.|mistral\.(mistral-7b|mixtral|mistral-large-24|pixtral)",
        Family("other", None, None, "prompt"),
    ),
    (r"openai\.", Family("openai", None, ("reasoning_effort",))),
    (r"qwen\.", Family("qwen", ("top_k",), ("reasoning_config",))),
)
_FAMILIES = tuple((re.compile(pattern), family) for pattern, family in _ROWS)
_NEWEST = Family("other")
"""A name of no row: Converse's own fields are relied upon, structured output among them."""

_REGION = re.compile(r"^(us|eu|apac|au|ca|jp|global|us-gov)\.")


def family(model: str) -> Family:
    """The family of a model, of an inference profile or of an ARN that names one."""
    return _family(model[:256])


@lru_cache(maxsize=1024)
def _family(model: str) -> Family:
    found = next((family for pattern, family in _FAMILIES if pattern.search(model)), _NEWEST)
    if found.name == "anthropic":
        # Both came with the same generation.
        newer = traits(model).structured
        return found._replace(schema="native" if newer else "tool", lasting=newer)
    return found


def without_region(model: str) -> str:
    """The model behind a cross-region inference profile: `eu.anthropic.claude-…` → `anthropic.claude-…`."""
    return _REGION.sub("", model)
