"""How requests to a target are authenticated where a fixed header line cannot do it: descriptions, read from a
credential and provider fields when a target is compiled. `proxy.credentials` carries them out.

A description is a value: equal ones share one fetched token, over targets and over versions of the configuration. What
a client may describe ends where the gateway's own identity begins: instance roles, token files and issuers of another
address are the operator's alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from adapters.auth import Headers, api_key, bearer, x_api_key
from adapters.errors import Kind
from adapters.provider import Fields
from proxy.errors import Refused
from proxy.ports import Secret

GOOGLE_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - where tokens are, not one
GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
AZURE_SCOPE = "https://cognitiveservices.azure.com/.default"
_LONGEST_KEY = 16384
_TENANT = re.compile(r"[A-Za-z0-9.-]{1,200}")
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_OWN_ENDPOINT = re.compile(r"\.(models\.ai|inference\.ml)\.azure\.com|models\.inference\.ai\.azure\.com")


class GoogleAccount(msgspec.Struct, frozen=True):
    """A Google service account: a signed assertion is exchanged for a token at `token_uri`."""

    email: str
    key: Secret
    key_id: str
    token_uri: str = GOOGLE_TOKEN_URI
    scope: str = GOOGLE_SCOPE


class GoogleMachine(msgspec.Struct, frozen=True):
    """The service account of the machine that the gateway runs on, from Google's metadata service."""


class Entra(msgspec.Struct, frozen=True):
    """An application of a Microsoft Entra tenant, with its secret."""

    tenant: str
    client_id: str
    secret: Secret
    scope: str


class AzureMachine(msgspec.Struct, frozen=True):
    """The managed identity of the machine (or App Service) that the gateway runs on; `client_id` chooses one."""

    client_id: str
    resource: str


class AzureWorkload(msgspec.Struct, frozen=True):
    """An application that shows the token of its Kubernetes service account. What is empty comes from AZURE_…."""

    client_id: str
    tenant: str
    scope: str


class AwsKeys(msgspec.Struct, frozen=True):
    """An access key, with the token of its session if it has one."""

    id: str
    secret: Secret
    token: Secret


class AwsMachine(msgspec.Struct, frozen=True):
    """The role of the place where the gateway runs: environment, web identity, container or instance."""

    region: str


class AwsAssumed(msgspec.Struct, frozen=True):
    """A role that the keys of `base` may assume."""

    base: AwsKeys | AwsMachine
    role_arn: str
    external_id: str
    region: str


TokenOf = GoogleAccount | GoogleMachine | Entra | AzureMachine | AzureWorkload
KeysOf = AwsKeys | AwsMachine | AwsAssumed


class BearerToken(msgspec.Struct, frozen=True):
    """`Authorization: Bearer` and a token that must be fetched."""

    source: TokenOf


class SigV4(msgspec.Struct, frozen=True):
    """A signature over each request."""

    source: KeysOf
    region: str
    service: str


Signing = BearerToken | SigV4
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


def _azure(credential: str, fields: Fields, operator: bool) -> Signing | Headers:
    found = _entra(fields, operator)
    if found is not None:
        return found
    if not credential:
        raise _bad(
            "azure_auth_mode",
            "No credential for Azure: give the resource's key, azure_ad_token, azure_entra_tenant_id with client id "
            "and secret, or azure_auth_mode: managed or workload.",
        )
    return api_key(credential)


def _azure_ai(credential: str, fields: Fields, operator: bool) -> Signing | Headers:
    shown = _azure(credential, fields, operator)
    url = str(fields.get("azure_foundry_url", ""))
    if not isinstance(shown, tuple) or shown[0][0] != "api-key":
        return shown
    if "anthropic" in url:
        return x_api_key(credential)
    # Models behind an endpoint of their own want the key as a token; those of a resource want it as its key.
    return bearer(credential) if _OWN_ENDPOINT.search(url) else shown


def _entra(fields: Fields, operator: bool) -> Signing | Headers | None:
    """Microsoft's tokens in their order: one that is given, client credentials, managed, workload identity."""

    def text(name: str) -> str:
        value = fields.get(name)
        return value if isinstance(value, str) else ""

    mode, scope = text("azure_auth_mode"), text("azure_entra_scope") or AZURE_SCOPE
    tenant = text("azure_entra_tenant_id")
    if tenant and not _TENANT.fullmatch(tenant):
        raise _bad("azure_entra_tenant_id", "The tenant is an id or a domain name.")
    if text("azure_ad_token"):
        return bearer(text("azure_ad_token"))
    if mode == "entra" or (not mode and text("azure_entra_client_secret")):
        for name in ("azure_entra_tenant_id", "azure_entra_client_id", "azure_entra_client_secret"):
            if not text(name):
                raise _bad(name, f"Client credentials for Azure need {name}.")
        secret = Secret(text("azure_entra_client_secret"))
        return BearerToken(Entra(tenant, text("azure_entra_client_id"), secret, scope))
    if mode == "managed":
        own_identity(operator, "azure_auth_mode")
        resource = scope.removesuffix("/.default")
        return BearerToken(AzureMachine(text("azure_managed_client_id"), resource))
    if mode == "workload":
        own_identity(operator, "azure_auth_mode")
        return BearerToken(AzureWorkload(text("azure_workload_client_id"), tenant, scope))
    return None


def _aws(service: str) -> Reader:
    def read(credential: str, fields: Fields, operator: bool) -> Signing | Headers:
        def text(name: str) -> str:
            value = fields.get(name)
            return value if isinstance(value, str) else ""

        region, how = text("aws_region"), text("aws_auth_type")
        if not _REGION.fullmatch(region):
            raise _bad("aws_region", "aws_region is a name such as us-east-1.")
        if how == "apiKey" or (credential and not text("aws_access_key_id") and how in ("", "accessKey")):
            if not credential:
                raise _bad("key", "aws_auth_type: apiKey needs the API key as the credential.")
            return bearer(credential)
        keys = _aws_keys(text)
        if text("aws_role_arn") or how == "assumedRole":
            if not text("aws_role_arn"):
                raise _bad("aws_role_arn", "aws_auth_type: assumedRole needs aws_role_arn.")
            if keys is None:
                own_identity(operator, "aws_role_arn")
            base = keys or AwsMachine(region)
            return SigV4(AwsAssumed(base, text("aws_role_arn"), text("aws_external_id"), region), region, service)
        if how == "serviceRole":
            own_identity(operator, "aws_auth_type")
            return SigV4(AwsMachine(region), region, service)
        if keys is None:
            raise _bad(
                "aws_access_key_id",
                "No credential for AWS: give aws_access_key_id and aws_secret_access_key, a Bedrock API key as the "
                "key, aws_role_arn, or aws_auth_type: serviceRole for the role of the machine.",
            )
        return SigV4(keys, region, service)

    return read


def _aws_keys(text: Callable[[str], str]) -> AwsKeys | None:
    key_id, secret = text("aws_access_key_id"), text("aws_secret_access_key")
    if not key_id and not secret:
        return None
    if not key_id or not secret:
        raise _bad("aws_secret_access_key", "An access key is aws_access_key_id and aws_secret_access_key.")
    for value in (key_id, text("aws_session_token")):
        if not value.isascii() or not value.isprintable() or " " in value:
            raise _bad("aws_access_key_id", "The access key or session token holds characters that it may not.")
    return AwsKeys(key_id, Secret(secret), Secret(text("aws_session_token")))


SIGNERS: dict[str, Reader] = {
    "google": _google,
    "azure": _azure,
    "azure-ai": _azure_ai,
    "bedrock": _aws("bedrock"),
    "bedrock-mantle": _aws("bedrock-mantle"),
    "sagemaker": _aws("sagemaker"),
}
"""`Provider.signer`, and who reads its credential."""
