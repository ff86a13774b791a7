"""Credentials that a fixed header line cannot show: tokens that are fetched, and signatures over each request.

`proxy.config.signing` describes, this package carries out. One `Credentials` per worker; a description's token is
fetched once for all targets that share it.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic, time
from typing import Protocol, TypeVar

from proxy.config.signing import (
    AwsAssumed,
    AwsKeys,
    AwsMachine,
    AzureMachine,
    AzureWorkload,
    Entra,
    GoogleAccount,
    GoogleMachine,
    KeysOf,
    Signing,
    SigV4,
    TokenOf,
)
from proxy.config.target import Target
from proxy.credentials import aws, azure, google
from proxy.credentials.aws import Keys
from proxy.credentials.source import Fetched, Fixed, Renewed, TokenSource
from proxy.credentials.web import Web
from proxy.seams import Transport

__all__ = ["Credentials", "Fetched", "Fixed", "Renewed", "Signer", "TokenSource", "Web"]

K = TypeVar("K")
V = TypeVar("V")

_MOST = 1024  # descriptions remembered: clients with credentials of their own may come without end


class Signer(Protocol):
    """Authenticates a target's requests."""

    def lines(self, method: str, path: str, content_type: str, body: bytes) -> bytes | None:
        """Header lines for one request, each with its line end; None while the credential is not here: `wait`."""

    async def wait(self) -> None:
        """Returns when the credential is here. Raises UpstreamFailure."""

    def reject(self, since: float) -> bool:
        """The provider has refused the credential of a request sent at `since`; see `TokenSource.reject`."""


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
        self._tokens: dict[TokenOf, Renewed[bytes]] = {}
        self._keys: dict[KeysOf, Renewed[Keys]] = {}

    def signer_of(self, target: Target) -> Signer:
        """The signer of a target that is signed, made at its first request."""
        signer: Signer | None = target.signer
        if signer is None:
            assert target.signing is not None
            signer = target.signer = self._signer(target, target.signing)
        return signer

    def close(self) -> None:
        """Stops what is under way."""
        for token in self._tokens.values():
            token.close()
        for keys in self._keys.values():
            keys.close()

    def _signer(self, target: Target, signing: Signing) -> Signer:
        if isinstance(signing, SigV4):
            host = target.origin.authority
            return aws.SigV4Signer(self._keys_of(signing.source), host, signing.region, signing.service, self._clock)
        return _BearerSigner(self._token_of(signing.source))

    def _token_of(self, source: TokenOf) -> TokenSource[bytes]:
        found = self._tokens.get(source)
        if found is None:
            found = Renewed(_NAMES[type(source)], lambda: _line(self._fetch_token(source)), self._now)
            _keep(self._tokens, source, found)
        return found

    def _keys_of(self, source: KeysOf) -> TokenSource[Keys]:
        if isinstance(source, AwsKeys):
            return Fixed(Keys(source.id, source.secret.reveal(), source.token.reveal()))
        found = self._keys.get(source)
        if found is None:
            found = Renewed(_NAMES[type(source)], lambda: self._fetch_keys(source), self._now)
            _keep(self._keys, source, found)
        return found

    def _fetch_token(self, source: TokenOf) -> Awaitable[Fetched[str]]:
        match source:
            case GoogleAccount():
                return google.of_account(source, self._web, self._clock)
            case GoogleMachine():
                return google.of_machine(self._web, self._environment)
            case Entra():
                return azure.of_client(source, self._web, self._environment)
            case AzureMachine():
                return azure.of_machine(source, self._web, self._environment, self._clock)
            case AzureWorkload():
                return azure.of_workload(source, self._web, self._environment)

    def _fetch_keys(self, source: AwsMachine | AwsAssumed) -> Awaitable[Fetched[Keys]]:
        if isinstance(source, AwsAssumed):
            return aws.of_role(source, self._keys_of(source.base), self._web, self._environment, self._clock)
        return aws.of_machine(self._web, source.region, self._environment, self._clock)


_NAMES: dict[type, str] = {
    GoogleAccount: "Google service account",
    GoogleMachine: "Google metadata service",
    Entra: "Microsoft Entra client credentials",
    AzureMachine: "Azure managed identity",
    AzureWorkload: "Azure workload identity",
    AwsMachine: "AWS role of this machine",
    AwsAssumed: "AWS role",
}


def _keep(kept: dict[K, Renewed[V]], key: K, value: Renewed[V]) -> None:
    if len(kept) >= _MOST:
        del kept[next(iter(kept))]
    kept[key] = value


async def _line(fetching: Awaitable[Fetched[str]]) -> Fetched[bytes]:
    fetched = await fetching
    return Fetched(b"authorization: Bearer %b\r\n" % fetched.value.encode("ascii"), fetched.lifetime)


class _BearerSigner:
    """A header line with a token."""

    __slots__ = ("_source",)

    def __init__(self, source: TokenSource[bytes]) -> None:
        self._source = source

    def lines(self, method: str, path: str, content_type: str, body: bytes) -> bytes | None:
        """The line."""
        return self._source.ready()

    async def wait(self) -> None:
        """Fetches the token if need be."""
        await self._source.get()

    def reject(self, since: float) -> bool:
        """Lets whoever comes next fetch another token."""
        return self._source.reject(since)
