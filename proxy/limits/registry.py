"""All limiters of a worker, by identity."""

from __future__ import annotations

import logging

from proxy.limits.host import Host
from proxy.limits.limiter import Limiter
from proxy.limits.memory import Full
from proxy.limits.refusals import API_KEY, VIRTUAL_KEY
from proxy.ports import ApiKeyRow, Limits, VirtualKeyRow

_log = logging.getLogger("loopway")
_UNLIMITED = Limits()


class Limiters:
    """All limiters of a worker. Without a host it counts alone."""

    def __init__(self, host: Host | None = None) -> None:
        self.host = Host() if host is None else host
        self.all: dict[tuple[str, str], Limiter] = {}
        self._asked: set[tuple[str, str]] = set()

    def api_key(self, row: ApiKeyRow) -> Limiter | None:
        """The limiter of an API key, with its limits set anew; None without any."""
        return self._limiter(API_KEY, row.id, row.name, row.limits, row)

    def virtual_key(self, row: VirtualKeyRow) -> Limiter | None:
        """The limiter of a virtual key, with its limits set anew; None without any."""
        return self._limiter(VIRTUAL_KEY, row.slug, row.slug, row.limits, row)

    def begin(self) -> None:
        """The keys are read anew."""
        self._asked.clear()

    def forget_others(self) -> None:
        """Lets go of limiters that nobody has asked for since `begin` and nobody is in: keys that are gone. Budgets are
        kept, because what was spent of them is still to be saved."""
        for who in self.all.keys() - self._asked:
            limiter = self.all[who]
            if limiter.idle:
                del self.all[who]
                limiter.detach()

    def _limiter(
        self, what: str, identity: str, name: str, limits: Limits, row: ApiKeyRow | VirtualKeyRow
    ) -> Limiter | None:
        self._asked.add((what, identity))
        known = self.all.get((what, identity))
        if not limited(limits):
            if known is not None:
                known.set(name, _UNLIMITED)  # those who wait come in
            return None
        if known is None:
            known = self.all[(what, identity)] = self._new(what, identity, name)
        try:
            known.set(name, limits, row.created_at)
        except Full as full:
            known = self.all[(what, identity)] = self._alone(what, identity, name, full)
            known.set(name, limits, row.created_at)
        reset_at = row.extra.get("usage_reset_at")
        if isinstance(reset_at, int):
            known.reset(reset_at)
        return known

    def _new(self, what: str, identity: str, name: str) -> Limiter:
        try:
            return Limiter(self.host, what, identity, name)
        except Full as full:
            return self._alone(what, identity, name, full)

    def _alone(self, what: str, identity: str, name: str, full: Full) -> Limiter:
        _log.error("the limits of the %s %r are counted in each worker alone: %s", what, name, full)
        return Limiter(Host(), what, identity, name)


def limited(limits: Limits) -> bool:
    """Whether anything is limited here at all."""
    return bool(
        limits.concurrency is not None or limits.requests or limits.tokens or limits.budget is not None or limits.models
    )


__all__ = ["Limiters", "limited"]
