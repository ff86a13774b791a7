"""Reading LiteLLM's list of prices (`model_prices_and_context_window.json`, MIT licence, BerriAI) into a table of ours.

What is charged by the token comes along, and by the piece what answers or requests tell of. Their providers are
called by our names, models by the provider's own. An entry whose prices are all nought is left out: it stands there for
'not known' more often than for 'free'.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import inf
from typing import Any

import msgspec
from msgspec.structs import replace

from adapters.values import UNREADABLE
from proxy.errors import PriceError
from proxy.prices.entry import PIECES, Entry, Tier, scaled
from proxy.prices.table import Table
from proxy.prices.unread import LEAVES_OUT, strangers

# Their provider → ours. A prefix of a model's name that is the provider's own goes.
PROVIDERS: dict[str, str] = {
    "ai21": "ai21",
    "anthropic": "anthropic",
    "anyscale": "anyscale",
    "azure": "azure-openai",
    "azure_ai": "azure-ai",
    "azure_text": "azure-openai",
    "bedrock": "bedrock",
    "bedrock_converse": "bedrock",
    "bigmodel": "zhipu",
    "cerebras": "cerebras",
    "cloudflare": "workers-ai",
    "codestral": "mistral-ai",
    "cohere": "cohere",
    "cohere_chat": "cohere",
    "dashscope": "dashscope",
    "databricks": "databricks",
    "deepinfra": "deepinfra",
    "deepseek": "deepseek",
    "featherless_ai": "featherless-ai",
    "fireworks_ai": "fireworks-ai",
    "fireworks_ai-embedding-models": "fireworks-ai",
    "gemini": "google",
    "groq": "groq",
    "hyperbolic": "hyperbolic",
    "jina_ai": "jina",
    "lambda_ai": "lambda",
    "mistral": "mistral-ai",
    "moonshot": "moonshot",
    "nebius": "nebius",
    "novita": "novita-ai",
    "nscale": "nscale",
    "oci": "oracle",
    "openai": "openai",
    "openrouter": "openrouter",
    "ovhcloud": "ovhcloud",
    "perplexity": "perplexity-ai",
    "sambanova": "sambanova",
    "snowflake": "cortex",
    "text-completion-codestral": "mistral-ai",
    "text-completion-openai": "openai",
    "together_ai": "together-ai",
    "voyage": "voyage",
    "xai": "x-ai",
    "zai": "z-ai",
}
_VERTEX = "vertex_ai"
_PREFIXES = ("text-completion-codestral/", "text-completion-openai/", "azure_text/", "cohere_chat/", "converse/")
_ELSEWHERE = re.compile(r"(?:eu|us|global|global-standard)/|.*/\d+-x-\d+/|\d+-x-\d+/")

# Ours → their key for a standard token.
_RATES = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "reasoning": "output_cost_per_reasoning_token",
    "audio_input": "input_cost_per_audio_token",
    "audio_output": "output_cost_per_audio_token",
    "image_input": "input_cost_per_image_token",
    "image_output": "output_cost_per_image_token",
    "video_input": "input_cost_per_video_token",
    "video_output": "output_cost_per_video_token",
}
# Charged by the piece: ours → theirs, and the modes of the models of which it is a part of an answer's price.
_PIECES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("search", ("search_context_cost_per_query", "input_cost_per_query"), ()),
    ("request", ("input_cost_per_request",), ()),
    ("maps", ("google_maps_grounding_cost_per_query",), ()),
    ("image", ("output_cost_per_image",), ("image_generation",)),
    ("second", ("input_cost_per_second", "output_cost_per_second"), ("audio_transcription",)),
    ("character", ("input_cost_per_character",), ("audio_speech",)),
    ("page", ("ocr_cost_per_page",), ("ocr",)),
)
_SIZES = ("search_context_size_low", "search_context_size_medium", "search_context_size_high")
_ALWAYS = re.compile(r"sonar|.*-search-(preview|api)")
"""Models that search for every answer, and charge it with none of them saying so."""
_ONCE = re.compile(r"gemini-(1|2)\b|gemini-(1|2)\.|gemini-2-")
"""Google's models that charge an answer that has searched, however often. Newer ones charge each search."""
_CONTAINER, _SESSION = "container", "code_interpreter_cost_per_session"
_FILES = {"openai": 0.0025, "azure-openai": 0.0025}
"""US dollars for one search of stored files, as OpenAI's list of prices has it: LiteLLM's file has none."""
_TIERS = {"batch": "_batches", "priority": "_priority", "flex": "_flex", "ultrafast": "_ultrafast"}
_REGIONS: dict[str, str] = {
    "regional_processing_uplift_multiplier_us": "us",
    "regional_processing_uplift_multiplier_eu": "eu",
    "regional_endpoint_uplift_multiplier": "regional",
}
"""Their key → ours for the places where every token costs so many times as much."""
_OWN = "provider_specific_entry"
_ABOVE = re.compile(r"_above_(\d+)k_tokens")
READ: tuple[str, ...] = (
    *(rf"{key}(_above_\d+k_tokens)?({'|'.join(_TIERS.values())})?" for key in _RATES.values()),
    *(name for _, names, _ in _PIECES for name in names),
    _SESSION,
    *_REGIONS,
    _OWN,
)
"""Patterns of the keys that are read; what else carries a price is in `proxy.prices.unread`."""
_TALKING = frozenset(("chat", "responses"))
_TEXTLESS = frozenset(("embedding", "rerank", "moderation"))


def unknown_prices(text: bytes) -> list[str]:
    """The keys of LiteLLM's file that look like prices and are none that this version knows. Raises PriceError."""
    return strangers(_listed(text), READ)


def odd_prices(text: bytes) -> list[str]:
    """Models of LiteLLM's file of which a price is no number, or less than nothing: it is not read, and a model without
    one for its input has no price. Raises PriceError."""
    return [
        key
        for key, row in _listed(text).items()
        if key != "sample_spec"
        and _provider(row) is not None
        and any(_is_odd(row.get(each)) for each in _RATES.values())
    ]


def _is_odd(value: object) -> bool:
    return value is not None and not (isinstance(value, int | float) and 0 <= value < inf)


def _listed(text: bytes) -> dict[str, dict[str, Any]]:
    try:
        return msgspec.json.decode(text, type=dict[str, dict[str, Any]])
    except UNREADABLE as error:
        raise PriceError(f"not a list of prices: {error}") from error


def convert(text: bytes, version: str, date: str = "") -> Table:
    """The table made of LiteLLM's file. Raises PriceError when it is not one."""
    listed = _listed(text)
    providers: dict[str, dict[str, Entry | msgspec.Raw]] = {}
    sessions = _sessions(listed)
    for key, row in listed.items():
        meant = str(row.get("alias_of", key))
        found = listed.get(meant, {})
        provider = _provider(found)
        if provider is None or key == "sample_spec":
            continue
        name = _name(key, str(found["litellm_provider"]))
        entry = None if name is None else _entry(name, found)
        if entry is not None and name is not None:
            if entry.output is not None and found.get("mode") in _TALKING:
                entry = replace(entry, session=sessions.get(provider), file_search=_FILES.get(provider))
            models = providers.setdefault(provider, {})
            if "/" in key or name not in models:
                models[name] = entry
    return Table(
        version,
        providers,
        source="https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json",
        date=date,
        licence="MIT, Copyright (c) 2023 Berri AI",
    )


def _provider(row: Mapping[str, Any]) -> str | None:
    theirs = str(row.get("litellm_provider", ""))
    return "vertex-ai" if theirs.startswith(_VERTEX) else PROVIDERS.get(theirs)


def _name(key: str, theirs: str) -> str | None:
    """The provider's own name for the model; None for what no request can name, such as a region's price."""
    prefix = f"{_VERTEX if theirs.startswith(_VERTEX) else theirs.removesuffix('_converse')}/"
    name = key.removeprefix(prefix)
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    if _ELSEWHERE.match(name) or (theirs.startswith("bedrock") and "/" in name):
        return None
    return name


def _sessions(listed: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """US dollars for a container in which code runs, by provider: listed as a model of its own."""
    found = {_provider(row): row.get(_SESSION) for key, row in listed.items() if key.endswith("/" + _CONTAINER)}
    return {name: price for name, price in found.items() if name is not None and price}


def _entry(name: str, row: Mapping[str, Any]) -> Entry | None:
    """Our entry for one of their rows; None where nothing that is counted has a price."""
    if any(row.get(key) for key in LEAVES_OUT):
        return None
    built: dict[str, Any] = _tier(row, "") | _pieces(name, row)
    if not any(built[name] for name in built if name != "above"):
        return None
    if "input" not in built:
        return msgspec.convert(built, Entry) if built.keys() <= PIECES.keys() else None
    if "output" not in built and row.get("mode") not in _TEXTLESS:
        if "image_output" not in built and "audio_output" not in built:
            return None
        built["output"] = built.get("image_output", built.get("audio_output"))
    for each, suffix in _TIERS.items():
        tier = _tier(row, suffix)
        if tier:
            built[each] = tier
    return _dearer(msgspec.convert(built, Entry), row)


def _dearer(entry: Entry, row: Mapping[str, Any]) -> Entry:
    """With what multiplies the rates: a place that a request is bound to, and Anthropic's fast mode."""
    own = row.get(_OWN)
    own = own if isinstance(own, dict) else {}
    told = {"us": _factor(own.get("us"))} | {
        region: _factor(row[key]) for key, region in _REGIONS.items() if key in row
    }
    fast = _factor(own.get("fast"))
    if fast is not None and entry.fast is None:
        plain = Tier(**{name: getattr(entry, name) for name in Tier.__struct_fields__})
        entry = replace(entry, fast=scaled(plain, fast))
    regions = {region: factor for region, factor in told.items() if factor is not None}
    return replace(entry, regions=regions) if regions else entry


def _factor(value: Any) -> float | None:
    fine = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 100
    return float(value) if fine else None


def _pieces(name: str, row: Mapping[str, Any]) -> dict[str, float]:
    """US dollars for one of each piece. A search that costs more the more it brings costs the middle of what is listed,
    but where answers say how much that was."""
    found: dict[str, float] = {}
    for rate, keys, modes in _PIECES:
        if modes and row.get("mode") not in modes:
            continue
        for key in keys:
            sizes = _sized(row.get(key))
            if sizes is None or rate in found:
                continue
            low, value, high = sizes
            if rate == "search" and _ALWAYS.match(name):
                rate = "request"
                found |= {f"request_{size}": price for size, price in (("low", low), ("high", high)) if price != value}
            elif rate == "search" and _ONCE.match(name):
                rate = "searched"
            found[rate] = value
    if "image" in found and any(row.get(key) for key in ("output_cost_per_token", "output_cost_per_image_token")):
        del found["image"]  # answers count those tokens
    return found


def _sized(value: Any) -> tuple[float, float, float] | None:
    """A price for little, some and much; the same where it is one price."""
    told = [value.get(size) for size in _SIZES] if isinstance(value, dict) else [value] * 3
    sizes = [round(float(each), 12) for each in told if isinstance(each, int | float) and each >= 0]
    return (sizes[0], sizes[1], sizes[2]) if len(sizes) == 3 and any(sizes) else None


def _tier(row: Mapping[str, Any], suffix: str) -> dict[str, Any]:
    tier: dict[str, Any] = {}
    above: dict[str, dict[str, float]] = {}
    thresholds = {found[1] for key in row if (found := _ABOVE.search(key))}
    for name, key in _RATES.items():
        rate = _rate(row.get(key + suffix))
        if rate is not None:
            tier[name] = rate
        for thousands in thresholds:
            rate = _rate(row.get(f"{key}_above_{thousands}k_tokens{suffix}"))
            if rate is not None:
                above.setdefault(f"{thousands}000", {})[name] = rate
    if above:
        tier["above"] = dict(sorted(above.items(), key=lambda item: int(item[0])))
    return tier


def _rate(value: Any) -> float | None:
    """US dollars per million tokens, without the noise of a float's last digits."""
    return None if value is None or _is_odd(value) else round(float(value) * 1_000_000, 9)
