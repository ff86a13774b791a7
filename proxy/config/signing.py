"""How requests to a target are authenticated where a fixed header line cannot do it: descriptions, read from a
credential and provider fields when a target is compiled. `proxy.credentials` carries them out.

A description is a value: equal ones share one fetched token, over targets and over versions of the configuration. What
a client may describe ends where the gateway's own identity begins: instance roles, token files and issuers of another
address are the operator's alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from adapters.auth import Headers, bearer
from adapters.errors import Kind
from adapters.providers import Fields
from proxy.errors import Refused
from proxy.ports import Secret

GOOGLE_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - where tokens are, not one
GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_LONGEST_KEY = 16384


class GoogleAccount(msgspec.Struct, frozen=True):
    """A Google service account: a signed assertion is exchanged for a token at `token_uri`."""

    email: str
    key: Secret
    key_id: str
    token_uri: str = GOOGLE_TOKEN_URI
    scope: str = GOOGLE_SCOPE


class GoogleMachine(msgspec.Struct, frozen=True):
    """The service account of the machine that the gateway runs on, from Google's metadata service."""


Source = GoogleAccount | GoogleMachine


class BearerToken(msgspec.Struct, frozen=True):
    """`Authorization: Bearer` and a token that must be fetched."""

    source: Source


Signing = BearerToken
Reader = Callable[[str, Fields, bool], "Signing | Headers"]
"""Takes a credential, the provider fields, and whether they are the operator's. Gives a description, or header lines
where those are enough. Raises Refused (400, 403)."""


def _google(credential: str, fields: Fields, operator: bool) -> Signing | Headers:
    account: Any = fields.get("vertex_service_account_json")
    if account is None and credential.lstrip()[:1] == "{":
        account = credential
    if account is not None:
        return BearerToken(_google_account(account, operator))
    if credential:
        return bearer(credential)
    if fields.get("vertex_auth_type") not in ("metadata", "default", "workload"):
        raise _bad(
            "vertex_service_account_json",
            "No credential for Google: give a service account (vertex_service_account_json), an access token as the "
            "key, or vertex_auth_type: metadata for the identity of the machine.",
        )
    own_identity(operator, "vertex_auth_type")
    return BearerToken(GoogleMachine())


def _google_account(account: Any, operator: bool) -> GoogleAccount:
    param = "vertex_service_account_json"
    if isinstance(account, str):
        try:
            account = msgspec.json.decode(account)
        except (msgspec.DecodeError, UnicodeError):
            raise _bad(param, "The service account is not JSON.") from None
    if not isinstance(account, dict):
        raise _bad(param, "The service account must be the JSON object of its key file.")
    email, key = account.get("client_email"), account.get("private_key")
    if not isinstance(email, str) or not isinstance(key, str) or len(key) > _LONGEST_KEY:
        raise _bad(param, "The service account needs client_email and private_key: use its key file as it is.")
    uri = account.get("token_uri")
    # A client's key file may not send the gateway to an address of its choice.
    uri = uri if operator and isinstance(uri, str) else GOOGLE_TOKEN_URI
    return GoogleAccount(email, Secret(key), str(account.get("private_key_id") or ""), uri)


def own_identity(operator: bool, param: str) -> None:
    """Refuses (403) a client that asks for what the gateway's machine may do."""
    if not operator:
        raise Refused(
            Kind.FORBIDDEN,
            f"A request may not use the identity of the gateway's machine ({param}): that is for virtual keys and "
            "saved configs.",
            param=param,
        )


def _bad(param: str, message: str) -> Refused:
    return Refused(Kind.INVALID_REQUEST, message, param=param)


SIGNERS: dict[str, Reader] = {"google": _google}
"""`Provider.signer`, and who reads its credential."""
