"""What Mistral's chat has otherwise than OpenAI's: names, fields that it refuses, and where it counts cached tokens."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from adapters.chat.fields import MEDIUM, SUMMARY
from adapters.types import Count

# Requests.

RENAMED = {"seed": "random_seed", "safe_mode": "safe_prompt", "max_completion_tokens": "max_tokens"}
REFUSED = frozenset(
    (
        "user", "logit_bias", "store", "modalities", "audio", "verbosity", "web_search_options", "safety_identifier",
        "functions", "function_call", "stream_options", "thinking", "reasoning", "moderation", "prompt_cache_options",
        "prompt_cache_retention",
    )
)  # fmt: skip
"""OpenAI's fields that Mistral answers with 422."""

HARMLESS: Mapping[str, tuple[bytes, ...] | None] = {
    "stream_options": None,  # usage always comes
    "store": (b"false",),
    "verbosity": (bytes(MEDIUM),),
    "reasoning": (bytes(SUMMARY),),
    "modalities": (b'["text"]',),
    "logit_bias": (b"{}",),
}
"""Of these, the values that ask for nothing; None for any."""

TIERS: Mapping[bytes, bytes] = {
    b'"auto"': b'"auto"',
    b'"default"': b'"standard_only"',
    b'"standard_only"': b'"standard_only"',
}
"""OpenAI's service tiers, and Mistral's own word, in Mistral's words."""

FIM_FIELDS = frozenset(
    (
        "prompt", "suffix", "temperature", "top_p", "max_tokens", "min_tokens", "stop", "random_seed", "stream",
        "metadata", "prompt_cache_key",
    )
)  # fmt: skip
"""What the fill-in-the-middle endpoint takes beside the model."""

NOTHING: Mapping[str, tuple[bytes, ...]] = {
    "n": (b"1",),
    "best_of": (b"1",),
    "echo": (b"false",),
    "frequency_penalty": (b"0", b"0.0"),
    "presence_penalty": (b"0", b"0.0"),
}
"""Of what it does not take, the values that ask for nothing."""

# Thoughts.

SIGNED = "mistral:"
"""What stands before Mistral's own signature of a thought, so that nobody else's is taken for it."""

# Answers.

CACHED = b'"num_cached_tokens"'
"""What an answer has in it that counts cached tokens in Mistral's own way."""


class Tokens(Struct, gc=False):
    num_cached_tokens: Count | None = None


class Counted(Struct, gc=False):
    """Where cached tokens are counted, in a whole answer and in a chunk."""

    usage: Tokens
