"""Microsoft Entra's access tokens: client credentials, the machine's managed identity, and workload identity.

Formats: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow, the instance metadata
service (https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token) and App
Service's endpoint beside it (https://learn.microsoft.com/azure/app-service/overview-managed-identity).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from adapters.errors import Kind
from proxy.config.signing import AzureMachine, AzureWorkload, Entra
from proxy.credentials.source import Fetched
from proxy.credentials.web import Web, oauth_token
from proxy.errors import UpstreamFailure

_AUTHORITY = "https://login.microsoftonline.com"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_IMDS = "http://169.254.169.254"


async def of_client(entra: Entra, web: Web, environment: Mapping[str, str]) -> Fetched[str]:
    """A token for an application that shows its secret."""
    shown = {"client_secret": entra.secret.reveal()}
    return await _granted(entra.tenant, entra.client_id, entra.scope, shown, web, environment)


async def of_workload(workload: AzureWorkload, web: Web, environment: Mapping[str, str]) -> Fetched[str]:
    """A token for an application that shows the token of its Kubernetes service account, from a file that changes."""
    path = environment.get("AZURE_FEDERATED_TOKEN_FILE", "")
    tenant = workload.tenant or environment.get("AZURE_TENANT_ID", "")
    client_id = workload.client_id or environment.get("AZURE_CLIENT_ID", "")
    if not path or not tenant or not client_id:
        raise UpstreamFailure(
            Kind.UNAUTHENTICATED,
            "workload identity needs AZURE_FEDERATED_TOKEN_FILE, AZURE_TENANT_ID and AZURE_CLIENT_ID in the "
            "gateway's environment",
            sent=False,
        )
    shown = {"client_assertion_type": _ASSERTION, "client_assertion": read_token(path)}
    return await _granted(tenant, client_id, workload.scope, shown, web, environment)


async def of_machine(
    machine: AzureMachine, web: Web, environment: Mapping[str, str], clock: Callable[[], float]
) -> Fetched[str]:
    """A token for the managed identity of the machine, or of the App Service, that the gateway runs on."""
    endpoint, secret = environment.get("IDENTITY_ENDPOINT"), environment.get("IDENTITY_HEADER")
    if endpoint and secret:
        query, headers = {"api-version": "2019-08-01"}, {"x-identity-header": secret}
    else:
        host = environment.get("AZURE_POD_IDENTITY_AUTHORITY_HOST") or _IMDS
        endpoint = f"{host.rstrip('/')}/metadata/identity/oauth2/token"
        query, headers = {"api-version": "2018-02-01"}, {"metadata": "true"}
    query["resource"] = machine.resource
    if machine.client_id:
        query["client_id"] = machine.client_id
    answer = await web.ask("GET", f"{endpoint}?{urlencode(query)}", headers, machine=True)
    return Fetched(*oauth_token(urlsplit(endpoint).hostname or "", answer, clock()))


async def _granted(
    tenant: str, client_id: str, scope: str, shown: dict[str, str], web: Web, environment: Mapping[str, str]
) -> Fetched[str]:
    authority = (environment.get("AZURE_AUTHORITY_HOST") or _AUTHORITY).rstrip("/")
    form = {"grant_type": "client_credentials", "client_id": client_id, "scope": scope, **shown}
    answer = await web.form(f"{authority}/{tenant}/oauth2/v2.0/token", form)
    return Fetched(*oauth_token(urlsplit(authority).hostname or "", answer))


def read_token(path: str) -> str:
    """The token in a file that whoever runs the gateway replaces from time to time. Raises UpstreamFailure."""
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise UpstreamFailure(Kind.UNAUTHENTICATED, f"the token file {path} cannot be read", sent=False) from error
