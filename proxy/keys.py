"""Who is calling: the token of a request to a compiled `Key`."""

from __future__ import annotations

from hashlib import sha256
from time import time

from adapters.errors import Kind
from proxy.config.snapshot import Key
from proxy.errors import Refused
from proxy.exchange import Exchange, Proof

# In the order in which they are asked. Every SDK finds its own place for a key.
CREDENTIAL_HEADERS: tuple[bytes, ...] = (
    b"x-portkey-api-key",
    b"authorization",
    b"x-api-key",
    b"api-key",
    b"x-goog-api-key",
)
_LONGEST_KEPT = 256  # bytes of a token that a connection remembers, however many connections there are


def token_of(headers: dict[bytes, bytes]) -> tuple[bytes, bytes] | None:
    """The gateway's token in a request and the header it came in, or None. `Bearer ` in front is optional."""
    for name in CREDENTIAL_HEADERS:
        value = headers.get(name)
        if value:
            return (value[7:].strip() if value[:7].lower() == b"bearer " else value), name
    return None


def bare(value: bytes) -> bytes:
    """A credential without the scheme in front of it."""
    return value[7:].strip() if value[:7].lower() == b"bearer " else value


def authenticate(x: Exchange) -> Key:
    """The key that a request carries. Raises Refused (401; 503 for an unknown one while the store does not answer);
    unknown and expired take the same work."""
    digest = digest_of(x.headers, x.proof)
    if digest is None:
        raise missing()
    key = x.snapshot.keys.get(digest)
    if key is None:
        if x.snapshot.unsure:
            # It may be a good one that was made a moment ago: only the store could tell.
            message = "The gateway cannot reach its store and does not know this key; try again shortly."
            raise Refused(Kind.OVERLOADED, message, code="store_unavailable", retry_after=2)
        raise unknown()
    if key.until is not None and key.until <= time():
        raise _refused("The API key has expired", code="01")
    return key


def digest_of(headers: dict[bytes, bytes], proof: Proof | None) -> bytes | None:
    """The SHA-256 of a request's token, which its connection may have shown before; None: there is no token."""
    found = token_of(headers)
    if found is None:
        return None
    token = found[0]
    if proof is None or len(token) > _LONGEST_KEPT:
        return sha256(token).digest()
    if proof.token != token:
        proof.token, proof.digest = token, sha256(token).digest()
    return proof.digest


def authorize(key: Key, scope: str) -> None:
    """Raises Refused (403) when the key lacks a scope."""
    if scope not in key.scopes:
        message = f"Portkey Error: Forbidden! This API key lacks the scope {scope}. Error Code: 033"
        raise Refused(Kind.FORBIDDEN, message, code="033")


def missing() -> Refused:
    """There is no key in a request."""
    return _refused(
        "Missing API key: send it as x-portkey-api-key, as Authorization: Bearer, or where your SDK puts its key"
    )


def unknown() -> Refused:
    """Nobody has this key."""
    return _refused("Invalid API Key")


def _refused(what: str, code: str = "03") -> Refused:
    # Claude Code would ask ten times more.
    again = (("x-should-retry", "false"),)
    return Refused(Kind.UNAUTHENTICATED, f"Portkey Error: {what}. Error Code: {code}", code=code, headers=again)
