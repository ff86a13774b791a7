"""Names to addresses; and while no name server answers, what one answered last.

A provider's address hardly ever changes within an hour, and an outage of the name servers must not become one of every
provider. A server that answers that there is no such name is believed at once.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from time import monotonic

from aiodns import error as codes
from aiohttp.abc import AbstractResolver, ResolveResult

_STALE = 3600.0  # seconds that an address may serve for which nobody can be asked
_KEPT = 1024  # names; clients may name hosts, too
_GONE = frozenset((codes.ARES_ENOTFOUND, codes.ARES_ENODATA))
_log = logging.getLogger("loopway")

_Name = tuple[str, int, int]


class Resolver(AbstractResolver):
    """Asks another resolver, and remembers. `clock` gives seconds."""

    def __init__(self, asked: AbstractResolver, clock: Callable[[], float] = monotonic) -> None:
        self._asked = asked
        self._clock = clock
        self._known: dict[_Name, tuple[list[ResolveResult], float]] = {}
        self._failing: set[str] = set()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host. Raises OSError."""
        name = (host, port, int(family))
        try:
            found = await self._asked.resolve(host, port, family)
        except OSError as error:
            known = None if _gone(error) else self._known.get(name)
            if known is None or self._clock() - known[1] > _STALE:
                raise
            if host not in self._failing:
                self._failing.add(host)
                _log.warning("no name server tells the address of %s; the last one is used", host)
            return known[0]
        self._failing.discard(host)
        self._known.pop(name, None)  # so that the names asked for last are the last to go
        if len(self._known) >= _KEPT:
            gone = next(iter(self._known))
            del self._known[gone]
            self._failing.discard(gone[0])
        self._known[name] = (found, self._clock())
        return found

    async def close(self) -> None:
        """Closes what was asked."""
        await self._asked.close()


def _gone(error: OSError) -> bool:
    """Whether somebody answered, and the answer was that there is no such name."""
    cause = error.__cause__
    return cause is not None and bool(cause.args) and cause.args[0] in _GONE
