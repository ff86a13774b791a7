"""Prices of one model and what an answer costs by them.

Rates are US dollars per million tokens, but for what is charged by the piece. What an entry does not say of a token is
charged like the nearest thing it does say (a cached token like an input token, a reasoning token like an output token),
where that is no cheaper. Where it is (sound, drawn pictures, writing to a cache, faster tiers), and for pieces, which
have no relatives, an answer with some whose rate is not known has no known cost: it is not told too small.
"""

from __future__ import annotations

from typing import NamedTuple

from adapters.types import Rare, Usage
from proxy.prices import pieces
from proxy.prices.entry import TIERS, Entry, Rates, Tier

_MILLION = 1_000_000.0
_NANO = 1_000.0  # US dollars per million tokens to billionths of one per token
DEARER = frozenset(("priority", "ultrafast", "fast"))
"""Service tiers that answer sooner, and cost more."""
_APART = ("audio_input", "audio_output", "image_output")


class Card(NamedTuple):
    """Rates without gaps."""

    input: float
    output: float
    cache_read: float
    cache_write: float
    cache_write_1h: float
    reasoning: float
    audio_input: float
    audio_output: float
    image_input: float
    image_output: float
    video_input: float
    video_output: float


class Price:
    """One model's prices, compiled. `id` says which entry of which version of which table they are. `rates` are US
    dollars for a million tokens in and out, where nothing else is needed for an answer with no others."""

    __slots__ = ("_base", "_by_token", "_flat", "_most", "_plain", "_tiers", "_writes", "entry", "id", "rates")

    def __init__(self, id: str, entry: Entry) -> None:
        self.id = id
        self.entry = entry
        self._by_token = entry.input is not None
        self._plain = self._by_token and entry.request is None
        self._base = _steps(entry)
        card = self._base[-1][1]
        flat = len(self._base) == 1 and self._plain
        self._flat = (card.input * _NANO, card.output * _NANO) if flat else None
        self.rates = (card.input, card.output) if flat else None
        self._writes = card.cache_write > card.input
        """Whether a prompt costs most where all of it goes to a cache."""
        self._most = (max(card.input, card.cache_write) * _NANO, card.output * _NANO) if flat else None
        self._tiers = {name: _steps(tier, entry) for name in TIERS if (tier := getattr(entry, name)) is not None}

    def __repr__(self) -> str:
        return f"Price({self.id})"

    def card(self, usage: Usage) -> Card:
        """The rates that hold for an answer of this size and service tier."""
        steps = self._tiers.get(usage.tier, self._base) if usage.tier else self._base
        for threshold, card in steps:
            if usage.input > threshold:
                return card
        return steps[-1][1]

    def cost(self, usage: Usage) -> float | None:
        """US dollars for one answer; None where a part of it has no rate. Counts that contradict each other never make
        a part negative."""
        if self._lacks(usage):
            return None
        rare = usage.rare
        if rare is None and self._plain:
            # What counted nothing is not known to have cost nothing.
            return self._tokens(usage) if usage.input or usage.output else None
        tokens = bool(usage.input or usage.output)
        if (tokens and not self._by_token) or not (tokens or rare):
            return None
        dollars, whole = pieces.cost(self.entry, usage, rare or pieces.NONE)
        return self._tokens(usage) + dollars if whole else None

    def _lacks(self, usage: Usage) -> bool:
        """Whether a part has no rate, and what stands in for it is cheaper as a rule: sound, pictures that were drawn,
        tokens written to a cache, tiers that answer sooner, and places that a request was bound to."""
        tier = usage.tier
        if tier is not None and tier in DEARER and tier not in self._tiers:
            return True
        if usage.rare is not None and usage.rare.region is not None and usage.rare.region not in self.entry.regions:
            return True
        if usage.cache_write and self._lacks_rate("cache_write_1h" if usage.cache_write_1h else "cache_write"):
            return True
        if not (usage.audio_input or usage.audio_output or usage.image_output):
            return False
        return any(getattr(usage, name) and self._lacks_rate(name) for name in _APART)

    def _lacks_rate(self, name: str) -> bool:
        return getattr(self.entry, name) is None

    def known(self, usage: Usage) -> float:
        """US dollars for what has a rate."""
        cost = self._tokens(usage)
        if usage.rare is not None or not self._plain:
            cost += pieces.cost(self.entry, usage, usage.rare or pieces.NONE)[0]
        return cost

    def nanos(self, usage: Usage) -> int:
        """The same in billionths of a US dollar, as budgets count."""
        flat = self._flat
        if flat is None or usage.tier or usage.cached or usage.reasoning or usage.rare:
            return round(self.known(usage) * 1e9)
        if usage.cache_write or usage.audio_input or usage.audio_output or usage.image_input or usage.image_output:
            return round(self.known(usage) * 1e9)
        return int(usage.input * flat[0] + usage.output * flat[1] + 0.5)

    def at_most(
        self, input: int, output: int, asked: Rare | None = None, tier: str | None = None, lasting: bool = False
    ) -> int:
        """Billionths of a US dollar for so many tokens without any discount, and for what else is asked for: a service
        tier, a cache that lasts an hour."""
        most = self._most
        if most is None or asked is not None:
            if not self._by_token:
                input = output = 0  # what is charged by the piece alone tells no tokens
            written = input if self._writes else 0
            if tier == "fast" and tier not in self._tiers:
                tier = "priority"  # OpenAI's new word for it in requests
            return self.nanos(
                Usage(
                    input,
                    output,
                    0,
                    written,
                    cache_write_1h=written if lasting else 0,
                    tier=tier,
                    rare=asked or pieces.DEAREST,
                )
            )
        return int(input * most[0] + output * most[1] + 0.5)

    def lacking(self, asked: Rare) -> str | None:
        """What a request asks for that has no rate, in the words of `Rates`; None: nothing."""
        return pieces.lacking(self.entry, asked)

    def _tokens(self, usage: Usage) -> float:
        card = self.card(usage)
        special = usage.cached + usage.cache_write + usage.audio_input + usage.image_input
        rare = usage.reasoning + usage.audio_output + usage.image_output
        if not special and not rare and usage.rare is None:
            return (max(0, usage.input) * card.input + max(0, usage.output) * card.output) / _MILLION
        seen, shown, factor = 0, 0, 1.0
        if usage.rare is not None:
            seen, shown = usage.rare.video_input, usage.rare.video_output
            factor = self.entry.regions.get(usage.rare.region or "", 1.0)
        plain = max(0, usage.input - special - seen)
        said = max(0, usage.output - rare - shown)
        hour = min(usage.cache_write_1h, usage.cache_write)
        dollars = (
            plain * card.input
            + usage.cached * card.cache_read
            + (usage.cache_write - hour) * card.cache_write
            + hour * card.cache_write_1h
            + usage.audio_input * card.audio_input
            + usage.image_input * card.image_input
            + said * card.output
            + usage.reasoning * card.reasoning
            + usage.audio_output * card.audio_output
            + usage.image_output * card.image_output
            + seen * card.video_input
            + shown * card.video_output
        ) / _MILLION
        return dollars * factor


def _steps(tier: Tier, base: Tier | None = None) -> tuple[tuple[int, Card], ...]:
    """Cards by the input tokens above which they hold, the highest first. The last one holds for everything."""
    own = {int(threshold): rates for threshold, rates in tier.above.items()}
    general = {} if base is None else {int(threshold): rates for threshold, rates in base.above.items()}
    plain = (tier,) if base is None else (tier, base)
    steps = [
        (threshold, _card(*(rates for rates in (own.get(threshold), tier, general.get(threshold), base) if rates)))
        for threshold in sorted(own.keys() | general.keys(), reverse=True)
    ]
    return (*steps, (-1, _card(*plain)))


def _card(*layers: Rates) -> Card:
    """Each rate from the first layer that has it, else from its nearest relative."""

    def rate(*names: str) -> float:
        for name in names:
            for layer in layers:
                found: float | None = getattr(layer, name)
                if found is not None:
                    return found
        return 0.0

    return Card(
        rate("input"),
        rate("output"),
        rate("cache_read", "input"),
        rate("cache_write", "input"),
        rate("cache_write_1h", "cache_write", "input"),
        rate("reasoning", "output"),
        rate("audio_input", "input"),
        rate("audio_output", "output"),
        rate("image_input", "input"),
        rate("image_output", "output"),
        rate("video_input", "input"),
        rate("video_output", "output"),
    )
