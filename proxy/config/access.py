"""What a target is made of: who is asked, as whom, and for which models."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from adapters import azure
from adapters.auth import Headers
from adapters.errors import InvalidRequest, Kind
from adapters.provider import Fields, Provider, over_responses
from adapters.providers import PROVIDERS, RETIRED
from proxy.config.signing import SIGNERS, Signing
from proxy.errors import Refused


class Access(msgspec.Struct, frozen=True):
    """A provider, a credential for it, and what has been said of both."""

    provider: Provider
    credential: str
    slug: str | None = None
    custom_host: str | None = None
    guarded: bool = False
    """Whether a client named the host."""
    operator: bool = True
    """Whether no client gave the credential or the provider fields."""
    trusted: frozenset[str] = frozenset()
    custom_headers: Mapping[str, str] = {}
    fields: Fields = {}

    def settled(self) -> Access:
        """With the row that the fields mean, their defaults, and the address that they name. Raises Refused (400)."""
        row, fields = _variant(self.provider, self.fields)
        address = fields.get(row.url_field or "")
        if not address or self.custom_host:
            return msgspec.structs.replace(self, provider=row, fields=fields)
        return msgspec.structs.replace(
            self, provider=row, fields=fields, custom_host=address, guarded=not self.operator
        )

    def at_version(self, version: str) -> Access:
        """The same for a deployment that has an api-version to itself."""
        own = {"api_version": "", "azure_api_version": version, "deployments": ()}
        return msgspec.structs.replace(self, fields={**self.fields, **own})

    def authentication(self) -> tuple[Signing | None, Headers]:
        """How requests are authenticated: a description of what must be done for each, or header lines that stay.

        Raises Refused (400) where nothing can authenticate them."""
        signer = self.provider.signer
        shown: Signing | Headers = ()
        if signer is not None:
            shown = SIGNERS[signer](self.credential, self.fields, self.operator)
        elif self.credential:
            shown = self.provider.auth(self.credential)
        if self.provider.key_required and not self.credential:
            name = self.provider.name
            raise Refused(
                Kind.INVALID_REQUEST,
                f"The provider {name!r} needs a credential: name a virtual key, or send the provider's key.",
            )
        return (None, shown) if isinstance(shown, tuple) else (shown, ())

    def stored_secret(self) -> bytes:
        """The credential, where it is one that clients do not know."""
        stored = self.credential or self.fields.get("azure_ad_token", "")
        return stored.encode("latin-1", "replace") if self.slug is not None else b""


class Rules(msgspec.Struct, frozen=True):
    """Which models may be asked for, and what they are called at the provider."""

    models: tuple[str, ...] | None = None
    aliases: Mapping[str, str] = {}
    default_model: str | None = None
    completions_mode: str = "auto"
    """Where text completions go: auto, legacy or messages."""

    def over(self, listed: azure.Listed) -> Rules:
        """These, and below them what a list of deployments says."""
        return msgspec.structs.replace(
            self,
            aliases={**listed.aliases, **self.aliases},
            default_model=self.default_model or listed.default,
        )


def deployments(fields: Fields) -> azure.Listed:
    """What the fields list as deployments. Raises Refused (400)."""
    try:
        return azure.deployments(fields.get("deployments"))
    except InvalidRequest as error:
        raise Refused(Kind.INVALID_REQUEST, error.message, param=error.param) from error


def provider_row(name: str) -> Provider:
    """The row of a provider id. Raises Refused (400) that names near ones."""
    row = PROVIDERS.get(name)
    if row is not None:
        return row
    if name in RETIRED:
        raise Refused(
            Kind.INVALID_REQUEST,
            f"The provider {name!r} is no more: {RETIRED[name]}",
            status=410,
            param="provider",
            code="provider_retired",
        )
    # Imported here, for an error only: difflib costs more to load than a request to serve.
    from proxy.config.near import hint

    raise Refused(
        Kind.INVALID_REQUEST,
        f"Invalid provider passed: {name!r} is not known{hint(name, PROVIDERS) or '.'}",
        param="provider",
        code="invalid_provider",
    )


# Names of Azure's fields from before other providers had any.
_OLD_NAMES = {
    "resource_name": "azure_resource_name",
    "deployment_id": "azure_deployment_id",
    "api_version": "azure_api_version",
}


def _variant(provider: Provider, fields: Fields) -> tuple[Provider, Fields]:
    fields = {_OLD_NAMES.get(name, name): value for name, value in fields.items() if value != ""}
    try:
        row = provider if provider.variant is None else provider.variant(provider, fields)
        if "responses_models" in fields:
            row = over_responses(row, fields["responses_models"])
    except InvalidRequest as error:
        raise Refused(Kind.INVALID_REQUEST, error.message, param=error.param, code=error.code) from error
    return row, {**dict(row.defaults), **fields}
