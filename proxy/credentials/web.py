"""Requests to issuers of tokens, over the gateway's own transport: small, whole, and with little patience."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlencode, urlsplit

import msgspec

from adapters.errors import Kind
from adapters.values import UNREADABLE
from proxy.errors import UpstreamFailure
from proxy.seams import Origin, Timeouts, Transport

_LIMIT = 1 << 20
_TIMEOUTS = Timeouts(connect=5.0, first_byte=10.0, idle=10.0)


class Issued(msgspec.Struct, frozen=True):
    """An issuer's answer."""

    status: int
    body: bytes


class Web:
    """Asks issuers. `machine` gives the transport that may reach metadata services, made when it is first needed."""

    def __init__(self, transport: Transport, machine: Callable[[], Transport]) -> None:
        self._transport = transport
        self._machine = machine

    async def ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"", *, machine: bool = False
    ) -> Issued:
        """One request to an address that is the operator's or fixed. Raises UpstreamFailure that names the host.

        `machine` lets it reach the metadata service of the machine, which nothing else can.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UpstreamFailure(Kind.INVALID_REQUEST, "the address of the issuer is not a URL", sent=False)
        origin = Origin(parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme])
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [f"{method} {path} HTTP/1.1", f"host: {origin.authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += ["accept-encoding: identity", "connection: close", f"content-length: {len(body)}", "", ""]
        if any("\r" in line or "\n" in line for line in lines):
            raise UpstreamFailure(Kind.INVALID_REQUEST, "a setting holds characters no header may", sent=False)
        head = "\r\n".join(lines).encode("latin-1", "replace")
        transport = self._machine() if machine else self._transport
        try:
            reply = await transport.send(origin, head, body, _TIMEOUTS)
            try:
                return Issued(reply.status, await reply.gather(_LIMIT))
            finally:
                reply.finish()
        except UpstreamFailure as failure:
            # A blocked address is a fault in a setting here; elsewhere this kind means a client's custom host.
            kind = Kind.BAD_UPSTREAM if failure.kind is Kind.FORBIDDEN else failure.kind
            raise UpstreamFailure(kind, f"{parts.hostname}: {failure.message}", sent=failure.sent) from failure

    async def form(self, url: str, fields: Mapping[str, str]) -> Issued:
        """Posts a form, as OAuth 2.0 has it."""
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        return await self.ask("POST", url, headers, urlencode(fields).encode())


class _OAuth(msgspec.Struct):
    access_token: str
    expires_in: float | str | None = None
    expires_on: float | str | None = None


class _OAuthError(msgspec.Struct):
    error: str = ""
    error_description: str = ""


def oauth_token(host: str, answer: Issued, now: float = 0.0) -> tuple[str, float]:
    """Token and seconds to live of an OAuth 2.0 answer (RFC 6749, 5.1); `now` is Unix time, for issuers that only tell
    when the token ends. Raises UpstreamFailure with the issuer's own words: 401 where it refused, 502 where its answer
    makes no sense."""
    if answer.status != 200:
        raise refusal(host, answer.status, _words(answer.body))
    try:
        token = msgspec.json.decode(answer.body, type=_OAuth)
        if token.expires_in is None and token.expires_on is not None:
            life = float(token.expires_on) - now
        else:
            life = float(3600 if token.expires_in is None else token.expires_in)
    except (ValueError, *UNREADABLE) as error:
        raise UpstreamFailure(Kind.BAD_UPSTREAM, f"{host} gave an answer without a token", sent=True) from error
    if not token.access_token.isascii() or not token.access_token.isprintable() or not 0 < life < 1e10:
        raise UpstreamFailure(Kind.BAD_UPSTREAM, f"{host} gave a token that cannot be used", sent=True)
    return token.access_token, life


def _words(body: bytes) -> str:
    try:
        said = msgspec.json.decode(body, type=_OAuthError)
    except UNREADABLE:
        return ""
    return ": ".join(word for word in (said.error, said.error_description.partition("\n")[0].strip()) if word)


def refusal(host: str, status: int, words: str) -> UpstreamFailure:
    """An issuer's refusal: who it refused cannot mend it by trying again, but for 429 and 5xx."""
    kind = Kind.UNAUTHENTICATED if 400 <= status < 500 and status != 429 else Kind.BAD_UPSTREAM
    said = f" ({words[:300]})" if words else ""
    return UpstreamFailure(kind, f"{host} answered {status}{said}", sent=True)
