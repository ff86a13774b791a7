"""One model's prices as they are written: rates, those of long prompts, and those of service tiers."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

Rate = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]
TIERS = ("batch", "priority", "flex", "fast", "ultrafast")
"""Service tiers with prices of their own."""
PIECES: dict[str, str] = {
    "search": "searches",
    "source": "sources",
    "maps": "maps",
    "file_search": "files",
    "session": "sessions",
    "image": "images",
    "second": "seconds",
    "character": "characters",
    "page": "pages",
}
"""Rates by the piece, and what `adapters.types.Rare` counts that they are for."""


class Rates(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """US dollars per million tokens of each kind. `cache_write_1h` are tokens written to a cache that lasts an hour.
    The rates from `search` on are US dollars for one: a search (of the web, or unit of a ranking), an answer that has
    `searched`, however often; any answer at all (`request`, with a little or much context of a search `request_low` and
    `request_high`); a page that a search brought (`source`); an answer that rests on a map; a search of stored files; a
    container for code; a picture that was drawn; a second of sound; a character that was read aloud; a page that was
    read."""

    input: Rate | None = None
    output: Rate | None = None
    cache_read: Rate | None = None
    cache_write: Rate | None = None
    cache_write_1h: Rate | None = None
    reasoning: Rate | None = None
    audio_input: Rate | None = None
    audio_output: Rate | None = None
    image_input: Rate | None = None
    image_output: Rate | None = None
    video_input: Rate | None = None
    video_output: Rate | None = None
    search: Rate | None = None
    searched: Rate | None = None
    request: Rate | None = None
    request_low: Rate | None = None
    request_high: Rate | None = None
    source: Rate | None = None
    maps: Rate | None = None
    file_search: Rate | None = None
    session: Rate | None = None
    image: Rate | None = None
    second: Rate | None = None
    character: Rate | None = None
    page: Rate | None = None

    @property
    def complete(self) -> bool:
        """Whether it has a rate to begin with: of tokens, or of a piece."""
        return self.input is not None or any(getattr(self, name) is not None for name in PIECES)


R = TypeVar("R", bound=Rates)


class Tier(Rates, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Rates, and those for long prompts: `above` has them by the number of input tokens from which on they hold, for
    the whole request."""

    above: dict[Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]{0,8}$")], Rates] = {}


class Entry(Tier, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A model's prices. `batch`, `flex`, `priority`, `fast` and `ultrafast` say only what differs. `regions` has by how
    much every rate by the token is multiplied where a request is bound to a place. `same_as` names another entry,
    `model` or `provider/model`, whose prices these are: nothing else is said then."""

    batch: Tier | None = None
    priority: Tier | None = None
    flex: Tier | None = None
    fast: Tier | None = None
    ultrafast: Tier | None = None
    regions: dict[str, Annotated[float, msgspec.Meta(gt=0, le=100)]] = {}
    same_as: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None

    @property
    def complete(self) -> bool:
        """As the other's; or whether another entry has them."""
        return self.same_as is not None or super().complete


BY_TOKEN: tuple[str, ...] = Rates.__struct_fields__[: Rates.__struct_fields__.index("search")]
"""The rates for a million tokens."""


def scaled(rates: R, factor: float) -> R:
    """Rates, and those for long prompts and service tiers among them, with those by the token multiplied."""
    changed: dict[str, object] = {}
    for name in rates.__struct_fields__:
        value = getattr(rates, name)
        if name in BY_TOKEN and value is not None:
            changed[name] = round(value * factor, 9)
        elif isinstance(value, Rates):
            changed[name] = scaled(value, factor)
        elif name == "above":
            changed[name] = {threshold: scaled(each, factor) for threshold, each in value.items()}
    return msgspec.structs.replace(rates, **changed)
