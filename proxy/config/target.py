"""One provider, one credential, one address, compiled: everything of a request to it that can be known beforehand.

A `Target` is made when configuration is; a `Wire` is what a request of one dialect to it looks like on the wire: the
codec, and the head of the request as bytes that only want a length.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any
from urllib.parse import unquote

from adapters.auth import Headers
from adapters.errors import Kind
from adapters.providers import PROVIDERS, RETIRED, Fields, Provider, matches
from adapters.quirks import Quirks
from adapters.registry import codec
from adapters.types import Codec, Dialect, Headed
from proxy import __version__
from proxy.config import located, templates
from proxy.config.signing import SIGNERS, Signing
from proxy.errors import Refused
from proxy.health import Health
from proxy.limits import Limiter
from proxy.prices import Book

# Which upstream dialects can serve a client dialect, the most faithful first.
_CHATS = (
    Dialect.OPENAI_CHAT,
    Dialect.ANTHROPIC_MESSAGES,
    Dialect.GEMINI_GENERATE,
    Dialect.BEDROCK_CONVERSE,
    Dialect.COHERE_CHAT,
    Dialect.MISTRAL_CHAT,
    Dialect.VERTEX_ANTHROPIC,
    Dialect.VERTEX_ENDPOINT,
    Dialect.VERTEX_OPENAPI,
)
_ALL_CHATS = (*_CHATS, Dialect.OPENAI_RESPONSES)
"""Responses come last here: where there is chat as well, they are for the models that have nothing else."""
SERVED_BY: dict[Dialect, tuple[Dialect, ...]] = {
    Dialect.OPENAI_CHAT: _ALL_CHATS,
    Dialect.OPENAI_COMPLETIONS: (
        Dialect.OPENAI_COMPLETIONS,
        Dialect.ANTHROPIC_COMPLETE,
        Dialect.MISTRAL_FIM,
        *_ALL_CHATS,
    ),
    Dialect.OPENAI_RESPONSES: (Dialect.OPENAI_RESPONSES, *_CHATS),
    Dialect.OPENAI_EMBEDDINGS: (
        Dialect.OPENAI_EMBEDDINGS,
        Dialect.OPENAI_EMBEDDINGS_AS_FLOATS,
        Dialect.COHERE_EMBED,
        Dialect.NOMIC_EMBED,
        Dialect.BEDROCK_TITAN_EMBEDDINGS,
        Dialect.BEDROCK_COHERE_EMBEDDINGS,
        Dialect.GEMINI_BATCH_EMBED,
        Dialect.VERTEX_PREDICT,
    ),
    Dialect.RERANK: (Dialect.RERANK, Dialect.COHERE_RERANK, Dialect.VOYAGE_RERANK),
    Dialect.ANTHROPIC_MESSAGES: (
        Dialect.ANTHROPIC_MESSAGES,
        Dialect.BEDROCK_ANTHROPIC,
        Dialect.VERTEX_ANTHROPIC,
        *_ALL_CHATS,
    ),
    Dialect.ANTHROPIC_COUNT_TOKENS: (
        Dialect.ANTHROPIC_COUNT_TOKENS,
        Dialect.BEDROCK_COUNT_TOKENS,
        Dialect.VERTEX_COUNT_TOKENS,
    ),
    Dialect.GEMINI_GENERATE: (Dialect.GEMINI_GENERATE, *_ALL_CHATS),
    Dialect.GEMINI_STREAM_ARRAY: (Dialect.GEMINI_STREAM_ARRAY, *_ALL_CHATS),
    Dialect.GEMINI_COUNT_TOKENS: (Dialect.GEMINI_COUNT_TOKENS,),
    Dialect.GEMINI_EMBED: (
        Dialect.GEMINI_EMBED,
        Dialect.OPENAI_EMBEDDINGS,
        Dialect.OPENAI_EMBEDDINGS_AS_FLOATS,
    ),
    Dialect.GEMINI_BATCH_EMBED: (
        Dialect.GEMINI_BATCH_EMBED,
        Dialect.OPENAI_EMBEDDINGS,
        Dialect.OPENAI_EMBEDDINGS_AS_FLOATS,
    ),
}
_MODELS = 256
_LONGEST_MODEL = 256
_LEGACY_TEXT = frozenset((Dialect.OPENAI_COMPLETIONS, Dialect.ANTHROPIC_COMPLETE, Dialect.MISTRAL_FIM))

# A leaf's settings that are header lines for the provider.
_FIELD_HEADERS: dict[str, str] = {
    "openai_organization": "openai-organization",
    "openai_project": "openai-project",
    "openai_beta": "openai-beta",
    "anthropic_beta": "anthropic-beta",
    "anthropic_version": "anthropic-version",
    **{
        f"amzn_sagemaker_{name}": f"x-amzn-sagemaker-{name.replace('_', '-')}"
        for name in (
            "custom_attributes",
            "target_model",
            "target_variant",
            "target_container_hostname",
            "inference_id",
            "enable_explanations",
            "inference_component",
            "session_id",
        )
    },
}


class Wire:
    """How requests of one client dialect go to one target.

    `head` lacks its last lines: what the request adds, `content-length`, and the blank line. `defaults` are header
    lines sent unless the client's own value takes their place. `path` is the head's, for those who sign it. `quirks`
    are what the provider wants otherwise than the dialect has it. `usage_header` is the field of an answer's head that
    counts its tokens, where the body does not.
    """

    __slots__ = ("codec", "defaults", "dialect", "head", "path", "quirks", "usage_header")

    def __init__(
        self,
        codec: Codec,
        dialect: Dialect,
        path: str,
        head: bytes,
        defaults: tuple[tuple[bytes, bytes], ...],
        quirks: Quirks | None = None,
    ) -> None:
        self.codec = codec
        self.dialect = dialect
        self.path = path
        self.head = head
        self.defaults = defaults
        self.quirks = quirks
        self.usage_header = codec.usage_header if isinstance(codec, Headed) else None


class Target:
    """Compiled: provider row, credential, address, model rules and limiter. Immutable but for the cache of wires."""

    __slots__ = (
        "_by_model",
        "_deployed",
        "_fields",
        "_fingerprint",
        "_fixed",
        "_of_models",
        "_secret",
        "_wires",
        "aliases",
        "base_path",
        "completions_mode",
        "default_model",
        "expires_at",
        "headers",
        "health",
        "identity",
        "limiter",
        "models",
        "name",
        "open",
        "origin",
        "prices",
        "provider",
        "signer",
        "signing",
        "slug",
        "vendor",
    )

    def __init__(
        self,
        provider: Provider,
        credential: str,
        *,
        slug: str | None = None,
        custom_host: str | None = None,
        guarded: bool = False,
        operator: bool = True,
        trusted: frozenset[str] = frozenset(),
        models: tuple[str, ...] | None = None,
        aliases: Mapping[str, str] | None = None,
        default_model: str | None = None,
        completions_mode: str = "auto",
        custom_headers: Mapping[str, str] | None = None,
        fields: Mapping[str, Any] | None = None,
        limiter: Limiter | None = None,
        expires_at: int | None = None,
        prices: Book | None = None,
    ) -> None:
        """`guarded`: a client named the host; `operator`: no client gave the credential or the provider fields.

        Raises Refused (400) when address, credential or provider fields cannot be used.
        """
        fields = fields or {}
        self._deployed: dict[str, Target] = {}
        """How deployments are reached that have an api-version to themselves, by name."""
        if provider.takes_fields or "responses_models" in fields:
            listed = located.deployments(fields)
            for name, version in listed.versions.items():
                theirs = {**fields, "api_version": "", "azure_api_version": version, "deployments": ()}
                self._deployed[name] = Target(
                    provider,
                    credential,
                    slug=slug,
                    custom_host=custom_host,
                    guarded=guarded,
                    operator=operator,
                    trusted=trusted,
                    completions_mode=completions_mode,
                    custom_headers=custom_headers,
                    fields=theirs,
                )
            provider, fields = located.variant(provider, fields)
            address = fields.get(provider.url_field or "")
            if address and not custom_host:
                custom_host, guarded = address, not operator
            aliases, default_model = {**listed.aliases, **(aliases or {})}, default_model or listed.default
        self.provider = provider
        self._fields = fields
        self.prices = Book(provider.name, ()) if prices is None else prices
        """What this provider's models cost: `prices.find(model)`, by the model's name as it is sent."""
        self.slug = slug
        self.name = slug or provider.name
        self.origin, self.base_path = located.address(provider, fields, custom_host, guarded, trusted)
        self.signer: Any = None
        """The form that `proxy.credentials` gives `signing`, made at the first request."""
        self.signing, shown = _shown(provider, credential, fields, operator)
        self.origin.credential = hash((slug, credential, self.signing, shown))
        self.identity = located.identity(provider.name, self.origin, self.base_path, credential, fields)
        """Provider, address and credential in one word that tells none of them: what is known of a target's health
        belongs to it."""
        self.health: Health | None = None
        """Set when a config asks to know how this target does."""
        self.models = models
        self.aliases = dict(aliases or {})
        self.default_model = default_model
        self.completions_mode = completions_mode
        self.limiter = limiter
        self.expires_at = expires_at
        if provider.key_required and not credential:
            raise Refused(
                Kind.INVALID_REQUEST,
                f"The provider {provider.name!r} needs a credential: name a virtual key, or send the provider's key.",
            )
        sent = dict(provider.headers)
        for name, header in _FIELD_HEADERS.items():
            value = fields.get(name)
            if value:
                sent[header] = value if isinstance(value, str) else ",".join(map(str, value))
        sent.update((name.lower(), value) for name, value in (custom_headers or {}).items())
        sent.update(shown)
        self.headers = sent
        _check_lines(sent)
        self.open = models is None and expires_at is None
        """Whether any model may be asked for at any time: the common case, decided once."""
        self.vendor = "anthropic" if provider.name == "anthropic" else "openai"
        stored = credential or fields.get("azure_ad_token", "")
        self._secret = stored.encode("latin-1", "replace") if slug is not None else b""
        self._fingerprint = b""
        self._wires: dict[tuple[Dialect, Dialect], Wire] = {}
        self._fixed: dict[Dialect, Wire] = {}
        self._by_model = provider.by_model or bool(provider.responses_only or self._deployed)
        self._of_models: dict[tuple[Dialect, str, bool], Wire] = {}

    def __repr__(self) -> str:
        return f"Target({self.name} → {self.origin!r}{self.base_path})"

    def hide(self, body: bytes) -> bytes:
        """A provider's error without the stored credential: some repeat it to whoever they refuse."""
        secret = self._secret
        return body.replace(secret, b"[hidden]") if secret and secret in body else body

    def fingerprint(self) -> bytes:
        """Names provider, virtual key, address, credential and fields; equal wherever these are, in any process. Worked
        out when first asked for."""
        if not self._fingerprint:
            where = (self.provider.name, self.slug, self.origin.scheme, self.origin.authority, self.base_path)
            named = (*where, self.completions_mode, sorted(self._fields.items()), sorted(self.headers.items()))
            self._fingerprint = blake2b(repr(named).encode() + self._secret, digest_size=16).digest()
        return self._fingerprint

    def model_for(self, asked: str | None) -> str | None:
        """The provider's name for the model a client asked for (aliases and the default resolved)."""
        if asked is None:
            return self.default_model
        return self.aliases.get(asked, asked)

    def allows(self, asked: str, sent: str) -> bool:
        """Whether the model, as asked for or as sent, is on this target's allow-list."""
        return self.models is None or matches(asked, self.models) or matches(sent, self.models)

    def dialect_for(self, client: Dialect, model: str) -> Dialect | None:
        """The upstream dialect that serves a client dialect for this model, or None."""
        paths, only = self.provider.paths, self.provider.only
        legacy = client is Dialect.OPENAI_COMPLETIONS and not self._bridges(model)
        served = SERVED_BY.get(client, ())
        if Dialect.OPENAI_RESPONSES in served and not legacy and matches(model, self.provider.responses_only):
            served = (Dialect.OPENAI_RESPONSES, *served)
        for dialect in served:
            if dialect not in paths or (dialect in only and not matches(model, only[dialect])):
                continue
            if client is Dialect.OPENAI_COMPLETIONS and dialect in _LEGACY_TEXT and not legacy:
                continue
            return dialect
        return None

    def _bridges(self, model: str) -> bool:
        """Whether a text completion for this model goes to the chat endpoint."""
        if self.completions_mode != "auto":
            return self.completions_mode == "messages"
        if self.provider.text_only:
            return not matches(model, self.provider.text_only)
        return matches(model, self.provider.chat_only) or matches(model, self.provider.responses_only)

    def wire_for(self, client: Dialect, model: str, streamed: bool = False) -> Wire | None:
        """How a request of this dialect for this model goes upstream; None if it cannot."""
        wire = self._fixed.get(client)
        if wire is not None:
            return wire
        if self._by_model:
            return self._of_models.get((client, model, streamed)) or self._of_model(client, model, streamed)
        upstream = self.dialect_for(client, model)
        if upstream is None:
            return None
        wire = self.wire(client, upstream)
        if client is not Dialect.OPENAI_COMPLETIONS:
            # Only text completions go here or there by their model.
            self._fixed[client] = wire
        return wire

    def wire(self, client: Dialect, upstream: Dialect) -> Wire:
        """The compiled form of one pair of dialects."""
        wire = self._wires.get((client, upstream))
        if wire is None:
            wire = self._wires[(client, upstream)] = self._compiled(client, upstream, self.provider.paths[upstream])
        return wire

    def _of_model(self, client: Dialect, model: str, streamed: bool) -> Wire | None:
        """The same where the path has the model in it, or tells streamed calls apart, or not every model has one."""
        if model in self._deployed:
            return self._deployed[model].wire_for(client, model, streamed)
        upstream = self.dialect_for(client, model)
        if upstream is None:
            return None
        wire = (
            self._placed(client, upstream, model, streamed) if self.provider.by_model else self.wire(client, upstream)
        )
        if len(model) <= _LONGEST_MODEL:
            # Models are the clients' words: no more of them are remembered than a busy target has.
            if len(self._of_models) >= _MODELS:
                del self._of_models[next(iter(self._of_models))]
            self._of_models[(client, model, streamed)] = wire
        return wire

    def _placed(self, client: Dialect, upstream: Dialect, model: str, streamed: bool) -> Wire:
        """A wire whose path may depend on both."""
        path = self.provider.stream_paths.get(upstream) if streamed else None
        path = path or self.provider.paths[upstream]
        path = next((each for each, models in self.provider.prefixes.items() if matches(model, models)), "") + path
        naming = self.provider.naming.get(upstream)
        named = templates.segment(model if naming is None else naming(model), "model")
        return self._compiled(client, upstream, path.replace(templates.MODEL, named))

    def _compiled(self, client: Dialect, upstream: Dialect, path: str) -> Wire:
        path = self.base_path + templates.in_path(path, self.provider, self._fields)
        head, defaults = self.request_head("POST", path, "application/json")
        return Wire(codec(client, upstream), upstream, path, head, defaults, self.provider.quirks.get(upstream))

    def model_in(self, path: str) -> str | None:
        """The model that a path below the version names, if this provider's paths do; else None."""
        row = self.provider
        if not row.by_model:
            return None
        for template in (*row.paths.values(), *row.stream_paths.values(), *row.passed.values()):
            before, place, after = template.partition(templates.MODEL)
            if not place or path[: len(before)].lower() != before.lower():
                continue
            rest = path[len(before) :]
            # `/models/{model}:generate` ends a name at its last colon, `/model/{model}/invoke` at a slash.
            named = rest.rpartition(":")[0] if after[:1] == ":" else rest.partition("/")[0]
            return unquote(named or rest)
        return None

    def passed_path(self, path: str, query: str, model: str) -> str:
        """The path and query of a request that only passes through; `path` is what stands below the version."""
        if model in self._deployed:
            return self._deployed[model].passed_path(path, query, model)
        row = self.provider
        for beginning, place in row.passed.items():
            if path.startswith(beginning) and (model or templates.MODEL not in place):
                named = place.replace(templates.MODEL, templates.segment(model, "model"))
                path = templates.in_path(named, row, self._fields) + path[len(beginning) :]
        query = query or templates.in_path(row.query, row, self._fields)
        return f"{self.base_path}{path}?{query}" if query else self.base_path + path

    def request_head(
        self, method: str, path: str, content_type: str | None
    ) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
        """Request line and header lines, and those lines that a client's own header may replace (name, line)."""
        lines = [f"{method} {path} HTTP/1.1", f"host: {self.origin.authority}"]
        replaceable = {"anthropic-version", "anthropic-beta", "openai-beta"} & set(dict(self.provider.headers))
        defaults = []
        for name, value in self.headers.items():
            if name in replaceable:
                defaults.append((name.encode(), f"{name}: {value}\r\n".encode("latin-1")))
            else:
                lines.append(f"{name}: {value}")
        if content_type:
            lines.append(f"content-type: {content_type}")
        lines += ["accept-encoding: identity", f"user-agent: loopway/{__version__}"]
        return "\r\n".join([*lines, ""]).encode("latin-1"), tuple(defaults)


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


def _shown(provider: Provider, credential: str, fields: Fields, operator: bool) -> tuple[Signing | None, Headers]:
    """How requests are authenticated: a description of what must be done for each, or header lines that stay."""
    if provider.signer is None:
        return None, provider.auth(credential) if credential else ()
    shown = SIGNERS[provider.signer](credential, fields, operator)
    return (None, shown) if isinstance(shown, tuple) else (shown, ())


def _check_lines(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not name.replace("-", "").isalnum() or not name.isascii():
            raise Refused(Kind.INVALID_REQUEST, f"The header name {name!r} is not valid.", param="custom_headers")
        try:
            raw = value.encode("latin-1")
        except UnicodeEncodeError:
            raw = b"\0"
        if any((byte < 32 and byte != 9) or byte == 127 for byte in raw):
            # The value may be a credential: only its header is named.
            raise Refused(Kind.INVALID_REQUEST, f"The value for the header {name!r} holds characters no header may.")
