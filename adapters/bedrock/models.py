"""What each family of models on Bedrock takes beside Converse's common fields: one row each, the first that matches."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from adapters.anthropic.models import traits


class Family(NamedTuple):
    """`top_k` and `effort` are the paths in `additionalModelRequestFields`, None where there is no such thing.
    `schema` is how a JSON schema is asked for: `native`ly, by a `tool` that must be called, or in a `prompt`.
    `strict`: tools may be held to their schemas. `cached` is where a mark of caching may stand: behind `text`s, in the
    `results` of tools and behind the `tools` themselves; elsewhere the service refuses the request. `lasting`: a cache
    may be told to last an hour (https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html).
    `cites` are the kinds of places that the model names as its sources, and knows in a history."""

    name: str
    top_k: tuple[str, ...] | None = ("top_k",)
    effort: tuple[str, ...] | None = None
    schema: str = "native"
    strict: bool = True
    cached: tuple[str, ...] = ()
    lasting: bool = False
    cites: str = ""


_EVERYWHERE = ("text", "results", "tools")
_NOVA = Family("nova", ("inferenceConfig", "topK"), None, "tool", False, ("text",), cites="web")

_ROWS = (
    (
        r"anthropic\.|claude",
        Family("anthropic", effort=(), cites="documentChar documentPage documentChunk searchResultLocation"),
    ),
    (r"amazon\.nova-2", _NOVA._replace(effort=("reasoningConfig", "maxReasoningEffort"))),
    (r"amazon\.nova", _NOVA),
    (r"amazon\.titan", Family("titan", None, None, "prompt", False)),
    (r"cohere\.", Family("cohere", ("k",), None, "prompt", False)),
    (
        r"meta\.|ai21\.|writer\.|mistral\.(mistral-7b|mixtral|mistral-large-24|pixtral)",
        Family("other", None, None, "prompt", False),
    ),
    (r"openai\.", Family("openai", None, ("reasoning_effort",))),
    (r"qwen\.", Family("qwen", ("top_k",), ("reasoning_config",))),
    # An inference profile of the user's own may be of any model.
    (r"^arn:", Family("other", cached=_EVERYWHERE)),
)
_FAMILIES = tuple((re.compile(pattern), family) for pattern, family in _ROWS)
_NEWEST = Family("other")
"""A name of no row: Converse's own fields are relied upon, structured output among them."""

_UNCACHED = re.compile(r"claude-(instant|v?[12]\b|3-(opus|sonnet|haiku)|3-5-sonnet-20240620)")

_REGION = re.compile(r"^(us|eu|apac|au|ca|jp|global|us-gov)\.")


def family(model: str) -> Family:
    """The family of a model, of an inference profile or of an ARN that names one."""
    return _family(model[:256])


@lru_cache(maxsize=1024)
def _family(model: str) -> Family:
    found = next((family for pattern, family in _FAMILIES if pattern.search(model)), _NEWEST)
    if found.name == "anthropic":
        # JSON and the lasting cache came with the same generation.
        known = traits(model)
        return found._replace(
            schema="native" if known.structured else "tool",
            # Those after refuse the word: `tools.0.custom.strict: Extra inputs are not permitted`.
            strict=known.structured and known.sampling != "none",
            cached=() if _UNCACHED.search(model) else _EVERYWHERE,
            lasting=known.structured,
        )
    return found


def without_region(model: str) -> str:
    """The model behind a cross-region inference profile: `eu.anthropic.claude-…` → `anthropic.claude-…`."""
    return _REGION.sub("", model)
