"""All limiters of a worker, by identity."""

from __future__ import annotations

import logging
from time import monotonic

from msgspec.structs import asdict, replace

from proxy.limits.host import Host
from proxy.limits.limiter import Limiter
from proxy.limits.memory import Full
from proxy.limits.refusals import API_KEY, VIRTUAL_KEY
from proxy.ports import ApiKeyRow, Limits, Rates, VirtualKeyRow

_log = logging.getLogger("loopway")
_UNLIMITED = Limits()
_SAVED = 10.0  # seconds after which what a budget has spent has been written, or cannot be


class Limiters:
    """All limiters of a worker. Without a host it counts alone."""

    def __init__(self, host: Host | None = None) -> None:
        self.host = Host() if host is None else host
        self.all: dict[tuple[str, str], Limiter] = {}
        self._asked: set[tuple[str, str]] = set()
        self._gone: dict[tuple[str, str], float] = {}
        self._own: Host | None = None
        self.apart: set[tuple[str, str]] = set()
        """Whose limits this worker counts alone, by its share of them, because there is no room for more keys."""

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
        """Lets go of limiters that nobody has asked for since `begin` and nobody is in: keys that are gone. Those with
        a budget are kept for a while, because what was spent of them is still to be saved."""
        now = monotonic()
        gone = self.all.keys() - self._asked
        self._gone = {who: self._gone.get(who, now) for who in gone}
        for who, since in self._gone.items():
            limiter = self.all[who]
            spending = limiter.meter is not None and limiter.meter.spending is not None
            if limiter.idle and (not spending or now - since > _SAVED):
                self._drop(who)
        for limiter in self.all.values():
            limiter.tidy()

    def _drop(self, who: tuple[str, str]) -> None:
        self.all.pop(who).detach()
        self.apart.discard(who)

    def _limiter(
        self, what: str, identity: str, name: str, limits: Limits, row: ApiKeyRow | VirtualKeyRow
    ) -> Limiter | None:
        who = (what, identity)
        self._asked.add(who)
        known = self.all.get(who)
        if not limited(limits):
            if known is not None:
                known.set(name, _UNLIMITED)  # those who wait come in
            return None
        if who in self.apart and known is not None and known.idle and limits.budget is None:
            self._drop(who)  # there may be room by now
            known = None
        try:
            if known is None:
                known = self.all[who] = Limiter(self.host, what, identity, name)
            known.set(name, self._share(limits) if who in self.apart else limits, row.created_at)
        except Full as full:
            if known is not None and known.idle:
                known.detach()
            known = self.all[who] = self._alone(what, identity, name, full)
            known.set(name, self._share(limits), row.created_at)
        reset_at = row.extra.get("usage_reset_at")
        if isinstance(reset_at, int):
            known.reset(reset_at)
        return known

    def _alone(self, what: str, identity: str, name: str, full: Full) -> Limiter:
        if not self.apart:
            _log.error(
                "the limits of the %s %r, and of others that come, are divided among the workers, each of which counts "
                "its share alone: %s",
                *(what, name, full),
            )
        self.apart.add((what, identity))
        if self._own is None:
            self._own = Host()
        return Limiter(self._own, what, identity, name)

    def _share(self, limits: Limits) -> Limits:
        """What one worker may give out of these limits where nobody can count together."""
        memory = self.host.memory
        parts = memory.workers * (max(1, memory.i64[memory.LIVE // 8]) if self.host.shared else 1)
        models = {
            pattern: replace(
                own,
                concurrency=_part(own.concurrency, parts),
                requests=_rates(own.requests, parts),
                tokens=_rates(own.tokens, parts),
            )
            for pattern, own in limits.models.items()
        }
        budget = limits.budget
        if budget is not None:
            usd = None if budget.usd is None else budget.usd / parts
            alert = None if budget.alert_threshold is None else budget.alert_threshold / parts
            budget = replace(budget, usd=usd, tokens=_part(budget.tokens, parts), alert_threshold=alert)
        return replace(
            limits,
            concurrency=_part(limits.concurrency, parts),
            requests=_rates(limits.requests, parts),
            tokens=_rates(limits.tokens, parts),
            budget=budget,
            models=models,
        )


def _part(limit: int | None, parts: int) -> int | None:
    return None if limit is None else max(1, limit // parts)


def _rates(rates: Rates | None, parts: int) -> Rates | None:
    if rates is None:
        return None
    return Rates(**{per: _part(limit, parts) for per, limit in asdict(rates).items()})


def limited(limits: Limits) -> bool:
    """Whether anything is limited here at all."""
    return bool(
        limits.concurrency is not None or limits.requests or limits.tokens or limits.budget is not None or limits.models
    )


__all__ = ["Limiters", "limited"]
