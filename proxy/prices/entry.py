"""One model's prices as they are written: rates, those of long prompts, and those of service tiers."""

from __future__ import annotations

from typing import Annotated

import msgspec

Rate = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]
TIERS = ("batch", "priority", "flex", "ultrafast")
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


class Tier(Rates, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Rates, and those for long prompts: `above` has them by the number of input tokens from which on they hold, for
    the whole request."""

    above: dict[Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]{0,8}$")], Rates] = {}


class Entry(Tier, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A model's prices. `batch`, `flex`, `priority` and `ultrafast` say only what differs."""

    batch: Tier | None = None
    priority: Tier | None = None
    flex: Tier | None = None
    ultrafast: Tier | None = None
