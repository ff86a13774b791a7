"""One provider, one credential, one address, compiled: everything of a request to it that can be known beforehand.

A `Target` is made when configuration is; a `Wire` is what a request of one dialect to it looks like on the wire: the
codec, and the head of the request as bytes that only want a length.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any
from urllib.parse import unquote

from adapters.provider import matches
from adapters.registry import codec
from adapters.types import Dialect
from proxy import __version__
from proxy.config import located, templates
from proxy.config.access import Access, Rules, deployments
from proxy.config.dialects import LEGACY_TEXT, SERVED_BY
from proxy.config.wire import Wire, header_lines
from proxy.health import Health
from proxy.limits import Limiter
from proxy.prices import Book

_ANY_MODEL = Rules()
_MODELS = 256
_LONGEST_MODEL = 256


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
        access: Access,
        rules: Rules = _ANY_MODEL,
        *,
        limiter: Limiter | None = None,
        expires_at: int | None = None,
        prices: Book | None = None,
    ) -> None:
        """Raises Refused (400) when address, credential or provider fields cannot be used."""
        self._deployed: dict[str, Target] = {}
        """How deployments are reached that have an api-version to themselves, by name."""
        if access.provider.takes_fields or "responses_models" in access.fields:
            listed = deployments(access.fields)
            alone = Rules(completions_mode=rules.completions_mode)
            self._deployed = {name: Target(access.at_version(of), alone) for name, of in listed.versions.items()}
            access, rules = access.settled(), rules.over(listed)
        provider = self.provider = access.provider
        self._fields = access.fields
        self.prices = Book(provider.name, ()) if prices is None else prices
        """What this provider's models cost: `prices.find(model)`, by the model's name as it is sent."""
        self.slug = access.slug
        self.name = access.slug or provider.name
        self.origin, self.base_path = located.address(access)
        self.signer: Any = None
        """The form that `proxy.credentials` gives `signing`, made at the first request."""
        self.signing, shown = access.authentication()
        self.origin.credential = hash((access.slug, access.credential, self.signing, shown))
        self.identity = located.identity(access, self.origin, self.base_path)
        """Provider, address and credential in one word that tells none of them: what is known of a target's health
        belongs to it."""
        self.health: Health | None = None
        """Set when a config asks to know how this target does."""
        self.models = rules.models
        self.aliases = dict(rules.aliases)
        self.default_model = rules.default_model
        self.completions_mode = rules.completions_mode
        self.limiter = limiter
        self.expires_at = expires_at
        self.open = rules.models is None and expires_at is None
        """Whether any model may be asked for at any time: the common case, decided once."""
        self.headers = header_lines(access, shown)
        self.vendor = "anthropic" if provider.name == "anthropic" else "openai"
        self._secret = access.stored_secret()
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
            if client is Dialect.OPENAI_COMPLETIONS and dialect in LEGACY_TEXT and not legacy:
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
        translate, quirks = codec(client, upstream), self.provider.quirks.get(upstream)
        if quirks is not None and quirks.native and not translate.identity:
            quirks = None
        return Wire(translate, upstream, path, head, defaults, quirks)

    def model_in(self, path: str) -> str | None:
        """The model that a path below the version names, if this provider's paths do; else None. A provider may read
        escapes in other parts of a path as well (`/mode%6cs/`)."""
        if not self.provider.by_model:
            return None
        return self._named_in(path) or (self._named_in(unquote(path)) if "%" in path else None)

    def _named_in(self, path: str) -> str | None:
        row = self.provider
        known = (*row.paths.values(), *row.stream_paths.values(), *row.passed.values())
        if any(templates.MODEL not in each and templates.pattern(each).fullmatch(path) for each in known):
            return None
        for template in known:
            before, place, after = template.partition(templates.MODEL)
            found = templates.pattern(before).match(path) if place else None
            if found is None:
                continue
            rest = path[found.end() :]
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
