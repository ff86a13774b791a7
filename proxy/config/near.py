"""The nearest known name, for messages about unknown ones."""

from __future__ import annotations

from collections.abc import Iterable

_LISTED = 12
"""How many known names a message lists when none is near; more would bury the message."""


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that `name` was probably meant to be, or None. Case does not matter."""
    # Imported here: only mistakes need it, and commands that make none start sooner.
    from difflib import get_close_matches

    folded = {known.lower(): known for known in names}
    found = get_close_matches(name[:200].lower(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def hint(name: str, names: Iterable[str]) -> str:
    """The rest of a sentence about an unknown name: `; did you mean 'retry'?`, or the known ones if they are few."""
    known = list(names)
    found = nearest(name, known)
    if found is not None:
        return f"; did you mean '{found}'?"
    if 0 < len(known) <= _LISTED:
        return f"; known here: {', '.join(known)}"
    return ""
