"""How much at once. A `Gate` counts the requests of one identity that are in flight in this worker.

Gates belong to identities, not to configurations: a reload changes a gate's limit and keeps its count.
"""

from __future__ import annotations

from adapters.errors import Kind
from proxy.errors import Refused, Source


class Gate:
    """A concurrency limit. Whoever enters leaves, whatever happens in between."""

    __slots__ = ("code", "held", "limit", "name")

    def __init__(self, name: str, code: str, limit: int | None) -> None:
        self.name = name
        self.code = code
        self.limit = limit
        self.held = 0

    def __repr__(self) -> str:
        return f"Gate({self.name}: {self.held} of {self.limit or '∞'})"

    def enter(self) -> None:
        """Takes a permit or raises Refused (429) at once."""
        if self.limit is not None and self.held >= self.limit:
            what = "API key" if self.code.startswith("api_key") else "virtual key"
            raise Refused(
                Kind.RATE_LIMITED,
                f"The {what} {self.name!r} has its {self.limit} concurrent requests in flight; try again shortly.",
                code=self.code,
                retry_after=1,
                source=Source.GATEWAY,
            )
        self.held += 1

    def leave(self) -> None:
        """Returns the permit."""
        self.held -= 1


class Gates:
    """All gates of a worker by identity."""

    def __init__(self) -> None:
        self._gates: dict[tuple[str, str], Gate] = {}

    def api_key(self, id: str, name: str, limit: int | None) -> Gate:
        """The gate of an API key, with its limit set anew."""
        return self._gate(id, name, "api_key_concurrency_limit", limit)

    def virtual_key(self, slug: str, limit: int | None) -> Gate:
        """The gate of a virtual key, with its limit set anew."""
        return self._gate(slug, slug, "virtual_key_concurrency_limit", limit)

    def _gate(self, identity: str, name: str, code: str, limit: int | None) -> Gate:
        gate = self._gates.get((code, identity))
        if gate is None:
            gate = self._gates[(code, identity)] = Gate(name, code, limit)
        gate.limit = limit
        return gate
