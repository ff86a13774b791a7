"""What answers cost beside their tokens: by the piece. Only asked for answers with pieces, and models that charge each
answer."""

from __future__ import annotations

from adapters.types import Rare, Usage
from proxy.prices.entry import PIECES, Entry

NONE = Rare()
DEAREST = Rare(size="high")
"""What an answer may have at most where its request asks for nothing by the piece."""
_OR_TOKENS = ("image", "second")
"""What models that are charged by the token tell in tokens."""
_EACH = tuple((counted, rate) for rate, counted in PIECES.items() if counted not in ("searches", "seconds", "images"))


def cost(entry: Entry, usage: Usage, rare: Rare) -> tuple[float, bool]:
    """US dollars for the pieces that have a rate, and whether all of them do."""
    tokens = bool(usage.input or usage.output)
    known = tokens or any(getattr(rare, name) for name in PIECES.values())
    dollars, whole = 0.0, known and not rare.uncounted
    if rare.video_output and entry.video_output is None:
        whole = False  # dearer than words, as a rule
    if entry.request is not None:
        dollars += _by_size(entry, rare.size)
    elif rare.searches:
        rate, searches = (entry.search, rare.searches) if entry.searched is None else (entry.searched, 1)
        whole = whole and rate is not None
        dollars += searches * (rate or 0.0)
    for counted, name in _EACH:
        count = getattr(rare, counted)
        if count:
            rate = getattr(entry, name)
            whole = whole and rate is not None
            dollars += count * (rate or 0.0)
    if not tokens:
        # Where tokens are told as well, these are in them.
        for count, rate in ((rare.seconds, entry.second), (rare.images, entry.image)):
            if count:
                whole = whole and rate is not None
                dollars += count * (rate or 0.0)
    return dollars, whole


def _by_size(entry: Entry, size: str | None) -> float:
    rate = entry.request_high if size == "high" else entry.request_low if size == "low" else None
    return rate if rate is not None else entry.request or 0.0


def lacking(entry: Entry, rare: Rare) -> str | None:
    """The first kind of piece, in the words of `Rates`, that has no rate; None: all that is asked for have one."""
    for name, counted in PIECES.items():
        if getattr(rare, counted) and getattr(entry, name) is None:
            if name == "search" and (entry.searched is not None or entry.request is not None):
                continue
            if name in _OR_TOKENS and entry.input is not None:
                continue
            return name
    return "image" if rare.uncounted else None
