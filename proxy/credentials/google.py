"""Google's access tokens: a service account's signed assertion (RFC 7523), or the machine's metadata service.

Formats: https://developers.google.com/identity/protocols/oauth2/service-account#httprest and
https://cloud.google.com/compute/docs/metadata/querying-metadata.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import msgspec

from adapters.errors import Kind
from proxy.config.signing import GoogleAccount
from proxy.credentials.source import Fetched
from proxy.credentials.web import Web, oauth_token
from proxy.errors import UpstreamFailure

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFE = 3600  # seconds, the longest that Google grants
_MOST_BITS = 4096


async def of_account(account: GoogleAccount, web: Web, now: Callable[[], float]) -> Fetched[str]:
    """A token for a service account. `now` is Unix time. Raises UpstreamFailure."""
    assertion = _assertion(account, int(now()))
    answer = await web.form(account.token_uri, {"grant_type": _GRANT, "assertion": assertion})
    return Fetched(*oauth_token(urlsplit(account.token_uri).hostname or "", answer))


async def of_machine(web: Web, environment: Mapping[str, str]) -> Fetched[str]:
    """A token for the machine's own service account; `GCE_METADATA_HOST` as Google's libraries have it."""
    host = environment.get("GCE_METADATA_HOST") or "metadata.google.internal"
    url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
    answer = await web.ask("GET", url, {"metadata-flavor": "Google"}, machine=True)
    return Fetched(*oauth_token(host, answer))


def _assertion(account: GoogleAccount, now: int) -> str:
    # Loaded by those who use it: half of the memory that a worker would otherwise not need.
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(account.key.reveal().encode(), None)
    except (ValueError, TypeError) as error:
        message = "the private_key of the service account cannot be read"
        raise UpstreamFailure(Kind.UNAUTHENTICATED, message, sent=False) from error
    if not isinstance(key, RSAPrivateKey) or key.key_size > _MOST_BITS:
        message = f"the private_key of the service account must be RSA, of {_MOST_BITS} bits at most"
        raise UpstreamFailure(Kind.UNAUTHENTICATED, message, sent=False)
    header = {"alg": "RS256", "typ": "JWT", **({"kid": account.key_id} if account.key_id else {})}
    claims = {
        "iss": account.email,
        "scope": account.scope,
        "aud": account.token_uri,
        "iat": now,
        "exp": now + _LIFE,
    }
    signed = b".".join(map(_b64, (msgspec.json.encode(header), msgspec.json.encode(claims))))
    return b".".join((signed, _b64(key.sign(signed, PKCS1v15(), SHA256())))).decode()


def _b64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
