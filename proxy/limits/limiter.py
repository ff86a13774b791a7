"""Limiters: everything that limits one identity, and the permits that they give.

    permit = limiter.enter(x, model) or await limiter.wait(x, model)
    try:
        ...
    finally:
        permit.leave(usage, answered=True)

Limiters belong to identities, not to configurations: a reload changes a limit and keeps its count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.errors import Kind
from adapters.types import Usage
from proxy.errors import Refused, Source
from proxy.ports import ApiKeyRow, Limits, VirtualKeyRow

if TYPE_CHECKING:
    from proxy.exchange import Exchange


class Permit:
    """What one request holds of one limiter."""

    __slots__ = ("_limiter",)

    def __init__(self, limiter: Limiter) -> None:
        self._limiter: Limiter | None = limiter

    def leave(self, usage: Usage | None, answered: bool) -> None:
        """Gives everything back and settles what was used; idempotent. `answered`: the provider gave an answer that
        counts, whether or not it told its usage."""
        limiter = self._limiter
        if limiter is not None:
            self._limiter = None
            limiter.held -= 1


class Limiter:
    """The limits of one API key or virtual key. Whoever enters leaves, whatever happens in between."""

    __slots__ = ("code", "held", "limits", "name", "what")

    def __init__(self, what: str, name: str, limits: Limits) -> None:
        self.what = what
        self.name = name
        self.limits = limits
        self.held = 0

    def __repr__(self) -> str:
        return f"Limiter({self.name}: {self.held} of {self.limits.concurrency or '∞'})"

    def enter(self, x: Exchange, model: str | None) -> Permit | None:
        """Takes a permit, or says by None that it takes waiting. Raises Refused (412, 429)."""
        limit = self.limits.concurrency
        if limit is not None and self.held >= limit:
            raise Refused(
                Kind.RATE_LIMITED,
                f"The {self.what} {self.name!r} has its {limit} concurrent requests in flight; try again shortly.",
                code=f"{self.what.lower().replace(' ', '_')}_concurrency_limit",
                retry_after=1,
                source=Source.GATEWAY,
            )
        self.held += 1
        return Permit(self)

    async def wait(self, x: Exchange, model: str | None) -> Permit:
        """Takes a permit as soon as there is one. Raises Refused (412, 429)."""
        raise NotImplementedError


class Limiters:
    """All limiters of a worker by identity."""

    def __init__(self) -> None:
        self.all: dict[tuple[str, str], Limiter] = {}

    def api_key(self, row: ApiKeyRow) -> Limiter | None:
        """The limiter of an API key, with its limits set anew; None without any."""
        return self._limiter("API key", row.id, row.name, row.limits)

    def virtual_key(self, row: VirtualKeyRow) -> Limiter | None:
        """The limiter of a virtual key, with its limits set anew; None without any."""
        return self._limiter("virtual key", row.slug, row.slug, row.limits)

    def _limiter(self, what: str, identity: str, name: str, limits: Limits) -> Limiter | None:
        known = self.all.get((what, identity))
        if limits.concurrency is None:
            return None
        if known is None:
            known = self.all[(what, identity)] = Limiter(what, name, limits)
        known.limits = limits
        known.name = name
        return known
