"""The keys of LiteLLM's list that carry a price and are not read, each with why that leaves no cost too small.

Either an answer that is charged so tells no usage, and then has no cost at all; or the price is a discount on one that
is read; or models with it are left out of the table. A list with other keys still becomes a table: `strangers` names
them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_COUNTED_NOWHERE = "answers do not count these, and have no cost where they count nothing else"
_LESS = "a discount: the price that is read is not below it"
_PARTLY = "beside tokens, and no answer tells how much of it: docs/ledger.md says that it is not in the cost"
_LEFT_OUT = "models that have it are left out of the table"
_NEVER = "no request can ask for it here: batches and commitments are billed elsewhere"

LEAVES_OUT = ("citation_cost_per_token", "input_cost_per_text_message")
"""Charged beside every answer's tokens: a model with one of these has no price rather than a part of it."""

UNREAD: dict[str, str] = {
    r"input_cost_per_(image|pixel|video_per_second|audio_per_second)(_above_\d+\w+)?": _COUNTED_NOWHERE,
    r"output_cost_per_(pixel|character|video_per_second)(_above_\d+\w+)?": _COUNTED_NOWHERE,
    r"input_cost_per_character_above_\d+\w+": _COUNTED_NOWHERE,
    r"output_cost_per_image_(\d+|[\d.]+K)": _COUNTED_NOWHERE,
    r"output_cost_per_second_\d+[pk]": _COUNTED_NOWHERE,
    r"ocr_cost_per_(credit|page_batches)|annotation_cost_per_page(_batches)?": _COUNTED_NOWHERE,
    r"guardrail_cost_per_unit": _COUNTED_NOWHERE,
    r"cost_per_second": _NEVER,
    r"cache_creation_input_token_cost_above_12hr\w*": _PARTLY,
    r"cache_creation_input_audio_token_cost": _PARTLY,
    r"cache_read_input_(audio|image)_token_cost(_batches|_flex|_priority)?": _LESS,
    r"explicit_cache_read_input_token_cost": _LESS,
    r"input_cost_per_token_cache_hit": _LESS,
    r"off_peak_pricing": _LESS,
    r"(in|out)put_dbu_cost_per_token": "the same price in another unit",
    r"tiered_pricing": "prices that are not above a threshold; such models have no other, and so none here",
    r"fedramp_uplift_multiplier": "for a host that is not among the addresses here",
    r"\w+_(decisions|balanced)": "tiers of one host's own, which its answers do not name",
    **dict.fromkeys(LEAVES_OUT, _LEFT_OUT),
}
"""Patterns of whole keys."""

_PRICE = re.compile(r"\w*(?:cost|pric|multiplier)\w*|provider_specific_entry")


def strangers(listed: Mapping[str, Mapping[str, object]], read: Iterable[str]) -> list[str]:
    """The keys with a price that are neither read (patterns of whole keys) nor left unread on purpose."""
    known = re.compile("|".join(f"(?:{pattern})" for pattern in (*read, *UNREAD)))
    rows = (row for model, row in listed.items() if model != "sample_spec")
    keys = {key for row in rows for key, value in row.items() if not isinstance(value, str | bool)}
    return sorted(key for key in keys if _PRICE.fullmatch(key) and not known.fullmatch(key))
