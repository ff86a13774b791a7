"""A credential that must be fetched: kept until shortly before it expires, renewed in the background, fetched by one
at a time, and never by a request that could go on without."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

import msgspec

from adapters.errors import Kind
from proxy.errors import UpstreamFailure

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_EARLY = 300.0  # seconds before its expiry at which a token is renewed, or a quarter of its life if that is less
_LAST = 10.0  # seconds before its expiry at which it is not used any more, or a twentieth of its life
_PATIENCE = 20.0  # for one fetch, all its requests together
_AFTER_FAILURE = 2.0  # who failed is not asked again so soon: a herd must not become a storm
_AFTER_RENEWAL_FAILED = 15.0
_SETTLED = 30.0

_log = logging.getLogger("loopway")


class Fetched(msgspec.Struct, Generic[T], frozen=True):
    """What an issuer gave, and how many seconds it lasts from now."""

    value: T
    lifetime: float


class TokenSource(Protocol[T_co]):
    """Where a target's requests get what they are authenticated with."""

    def ready(self) -> T_co | None:
        """The credential, if it is here: a plain call, for nearly every request. Otherwise `get`."""

    async def get(self) -> T_co:
        """The credential. Raises UpstreamFailure that says who refused what, and no secret."""

    def reject(self, since: float) -> bool:
        """The provider has refused the credential of a request that was sent at `since`. Says whether there is, or is
        to be fetched, another one that may fare better."""


class Fixed(Generic[T]):
    """A credential that is known and lasts."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def ready(self) -> T:
        """The credential."""
        return self._value

    async def get(self) -> T:
        """The credential."""
        return self._value

    def reject(self, since: float) -> bool:
        """There is no other."""
        return False


class Renewed(Generic[T]):
    """A fetched credential. `name` says in errors and logs what it is; `now` gives seconds that only go forward."""

    __slots__ = (
        "_failed",
        "_fetch",
        "_fetched_at",
        "_name",
        "_now",
        "_quiet_until",
        "_renew_at",
        "_running",
        "_until",
        "_value",
    )

    def __init__(self, name: str, fetch: Callable[[], Awaitable[Fetched[T]]], now: Callable[[], float]) -> None:
        self._name = name
        self._fetch = fetch
        self._now = now
        self._value: T | None = None
        self._until = 0.0
        self._renew_at = 0.0
        self._fetched_at = 0.0
        self._quiet_until = 0.0
        self._failed: tuple[Kind, str] | None = None
        self._running: asyncio.Task[T] | None = None

    def ready(self) -> T | None:
        """The credential if it is good for this request; begins to renew it when its end is near."""
        now = self._now()
        if now < self._renew_at:
            return self._value
        if now >= self._until:
            return None
        if self._running is None and now >= self._quiet_until:
            self._begin().add_done_callback(self._renewed)
        return self._value

    async def get(self) -> T:
        """The credential, fetched if need be: by the first who asks, for all who do."""
        value = self.ready()
        if value is not None:
            return value
        running = self._running
        if running is None:
            if self._failed is not None and self._now() < self._quiet_until:
                kind, message = self._failed
                raise UpstreamFailure(kind, message, sent=False)
            running = self._begin()
        # Whoever waits may leave; the fetch is for all and goes on.
        return await asyncio.shield(running)

    def reject(self, since: float) -> bool:
        """The provider has refused the credential: another one is fetched for who asks next, unless that has happened
        since, or this one is so new that another would fare no better."""
        if self._fetched_at > since:
            return True
        if self._now() - self._fetched_at <= _SETTLED:
            return False
        self._until = self._renew_at = 0.0
        return True

    def close(self) -> None:
        """Stops a fetch under way."""
        if self._running is not None:
            self._running.cancel()

    def _begin(self) -> asyncio.Task[T]:
        running = self._running = asyncio.create_task(self._renew())
        return running

    async def _renew(self) -> T:
        try:
            async with asyncio.timeout(_PATIENCE):
                fetched = await self._fetch()
        except TimeoutError as error:
            raise self._failure(Kind.TIMEOUT, "no answer in time") from error
        except UpstreamFailure as failure:
            raise self._failure(failure.kind, failure.message) from failure
        finally:
            self._running = None
        life = fetched.lifetime
        now = self._fetched_at = self._now()
        self._value = fetched.value
        self._until = now + life - min(_LAST, life / 20)
        self._renew_at = now + life - min(_EARLY, life / 4)
        self._failed = None
        return fetched.value

    def _failure(self, kind: Kind, why: str) -> UpstreamFailure:
        message = f"The credential for the provider could not be fetched ({self._name}): {why}"
        self._failed = (kind, message)
        self._quiet_until = self._now() + _AFTER_FAILURE
        return UpstreamFailure(kind, message, sent=False)

    def _renewed(self, task: asyncio.Task[T]) -> None:
        """A renewal in the background has ended. The credential at hand still lasts: nobody is told but the log."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._quiet_until = self._now() + _AFTER_RENEWAL_FAILED
            _log.warning("%s", error)
