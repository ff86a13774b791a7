"""Who tells of a budget's threshold, where several hosts have noticed it: whoever claims it first in Redis.

A claim is this host's for as long as telling may take; then it says for good that somebody was told. A host that
vanished meanwhile leaves a claim that ends, and the next one tells.
"""

from __future__ import annotations

from redis.exceptions import ResponseError

from proxy.budgets import Claim
from proxy.leases.scripts import PREFIX
from proxy.redis_link import RedisDown, RedisLink

_TELLING = 120  # seconds: more than four tries and the waits between them take
_KEPT = 34_560_000  # seconds: 400 days, longer than any window but `total` and the longest of N days
_TOLD = b"told"
_PATIENCE = 0.5


class RedisClaims:
    """The claims of one host; `host` is its name, the same for all of its workers."""

    def __init__(self, link: RedisLink, host: str) -> None:
        self._link = link
        self._host = host.encode()

    async def take(self, mark: str) -> Claim:
        """As `proxy.budgets.Claims`. While Redis does not answer, every host tells for itself."""
        key = f"{PREFIX}alert:{mark}"
        try:
            made, owner = await self._link.pipeline(
                (("SET", key, self._host, "NX", "EX", _TELLING), ("GET", key)), _PATIENCE
            )
        except RedisDown:
            return Claim.MINE
        if isinstance(made, ResponseError) or isinstance(owner, ResponseError) or owner == self._host:
            return Claim.MINE  # perhaps claimed by a worker of this host that is gone
        return Claim.TOLD if owner == _TOLD else Claim.ANOTHERS

    async def told(self, mark: str) -> None:
        """As `proxy.budgets.Claims`."""
        try:
            await self._link.pipeline((("SET", f"{PREFIX}alert:{mark}", _TOLD, "EX", _KEPT),), _PATIENCE)
        except RedisDown:
            return  # then another host may tell once more
