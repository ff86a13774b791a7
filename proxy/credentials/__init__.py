"""Credentials that a fixed header line cannot show: tokens that are fetched, and signatures over each request.

`proxy.config.signing` describes, this package carries out. One `Credentials` per worker; a description's token is
fetched once for all targets that share it.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic, time
from typing import Protocol

from proxy.config.signing import BearerToken, GoogleAccount, Signing, Source
from proxy.config.target import Target
from proxy.credentials import google
from proxy.credentials.source import Fetched, Fixed, Renewed, TokenSource
from proxy.credentials.web import Web
from proxy.seams import Transport

__all__ = ["Credentials", "Fetched", "Fixed", "Renewed", "Signer", "TokenSource", "Web"]

_MOST = 1024  # descriptions remembered: clients with credentials of their own may come without end


class Signer(Protocol):
    """Authenticates a target's requests."""

    def lines(self, method: str, path: str, body: bytes) -> bytes | None:
        """Header lines for one request, each with its line end; None while the credential is not here: `wait`."""

    async def wait(self) -> None:
        """Returns when the credential is here. Raises UpstreamFailure."""


class Credentials:
    """Signers of one worker, and the tokens they share.

    `machine` makes the transport that may reach metadata services; it is called when a description of the operator
    needs one, and never otherwise.
    """

    def __init__(
        self,
        transport: Transport,
        machine: Callable[[], Transport],
        environment: Mapping[str, str] = os.environ,
        now: Callable[[], float] = monotonic,
        clock: Callable[[], float] = time,
    ) -> None:
        self._web = Web(transport, machine)
        self._environment = environment
        self._now = now
        self._clock = clock
        self._bearers: dict[Source, Renewed[bytes]] = {}

    def signer_of(self, target: Target) -> Signer:
        """The signer of a target that is signed, made at its first request."""
        signer: Signer | None = target.signer
        if signer is None:
            assert target.signing is not None
            signer = target.signer = self._signer(target.signing)
        return signer

    def close(self) -> None:
        """Stops what is under way."""
        for source in self._bearers.values():
            source.close()

    def _signer(self, signing: Signing) -> Signer:
        return _BearerSigner(self._bearer(signing))

    def _bearer(self, signing: BearerToken) -> Renewed[bytes]:
        source = signing.source
        found = self._bearers.get(source)
        if found is None:
            if len(self._bearers) >= _MOST:
                del self._bearers[next(iter(self._bearers))]
            name, fetch = self._fetcher(source)
            found = self._bearers[source] = Renewed(name, fetch, self._now)
        return found

    def _fetcher(self, source: Source) -> tuple[str, Callable[[], Awaitable[Fetched[bytes]]]]:
        web, environment, clock = self._web, self._environment, self._clock
        if isinstance(source, GoogleAccount):
            account = source
            return "Google service account", lambda: _line(google.of_account(account, web, clock))
        return "Google metadata service", lambda: _line(google.of_machine(web, environment))


async def _line(fetching: Awaitable[Fetched[str]]) -> Fetched[bytes]:
    fetched = await fetching
    return Fetched(b"authorization: Bearer %b\r\n" % fetched.value.encode("ascii"), fetched.lifetime)


class _BearerSigner:
    """A header line with a token."""

    __slots__ = ("_source",)

    def __init__(self, source: TokenSource[bytes]) -> None:
        self._source = source

    def lines(self, method: str, path: str, body: bytes) -> bytes | None:
        """The line."""
        return self._source.ready()

    async def wait(self) -> None:
        """Fetches the token if need be."""
        await self._source.get()
