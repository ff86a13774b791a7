"""One configuration version, compiled: who may come in, and where requests go. Replaced whole, by one assignment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from hashlib import blake2b
from time import monotonic
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec

from adapters.errors import Kind
from adapters.provider import matches
from proxy import scopes
from proxy.config import located
from proxy.config.access import Access, Rules, provider_row
from proxy.config.near import hint
from proxy.config.nodes import Node, model_slug, passes_through
from proxy.config.objects import InvalidConfig, parse, parse_json
from proxy.config.plan import Leaf, Plan, compile_plan
from proxy.config.target import Target
from proxy.errors import Refused
from proxy.health import Healths
from proxy.limits import WEIGHTS, Limiter, Limiters, spender_of
from proxy.ports import ApiKeyRow, ConfigRow, Rows, VirtualKeyRow
from proxy.prices import Prices

if TYPE_CHECKING:
    from proxy.usage.alike import Alike

_WARNED = 10  # of what is odd about one config, as log lines at most
_log = logging.getLogger("loopway")
_TURN = 0.002  # seconds of compiling before others get the loop: a new key takes ten times a known one
_IN_A_LOOK = 16  # rows after which the clock is looked at
_CACHED = 1024  # inline configs and ad-hoc credentials kept compiled per worker

T = TypeVar("T")
V = TypeVar("V")


class Key:
    """An API key, compiled. `until` is when this digest stops working (Unix seconds), None: never."""

    __slots__ = (
        "alike",
        "allow_override",
        "cache_group",
        "config",
        "id",
        "limiter",
        "metadata",
        "models",
        "name",
        "scopes",
        "spender",
        "unrestricted",
        "until",
        "virtual_keys",
        "weight",
    )

    def __init__(self, row: ApiKeyRow, limiter: Limiter | None, until: int | None) -> None:
        self.id = row.id
        self.name = row.name
        self.scopes = scopes.expand(row.scopes)
        self.virtual_keys = None if row.virtual_keys is None else frozenset(row.virtual_keys)
        self.models = row.models
        self.unrestricted = row.virtual_keys is None and row.models is None
        self.config = row.config
        self.allow_override = row.allow_config_override
        self.metadata = row.metadata
        self.cache_group = row.cache_group
        self.limiter = limiter
        self.spender = spender_of(limiter)
        self.weight = WEIGHTS[row.limits.priority]
        self.until = until
        self.alike: dict[tuple[object, ...], Alike] | None = None
        """What its requests had in common that came to no leaf, as a leaf has it; None: none has."""

    def __repr__(self) -> str:
        return f"Key({self.name})"

    def may_use(self, slug: str | None) -> bool:
        """Whether this key may use a virtual key. Raw providers (None) are for keys without an allow-list."""
        return self.virtual_keys is None or slug in self.virtual_keys

    def may_ask_for(self, asked: str, sent: str) -> bool:
        """Whether a model, as asked for or as sent, is on this key's own allow-list."""
        return self.models is None or matches(asked, self.models) or matches(sent, self.models)


class Bounded(dict[T, V]):
    """A cache that forgets its oldest entry when it is full."""

    def keep(self, key: T, value: V) -> None:
        """Adds an entry."""
        if len(self) >= _CACHED:
            del self[next(iter(self))]
        self[key] = value


def _compiled(rows: Rows) -> list[ApiKeyRow | VirtualKeyRow]:
    """The rows that are compiled at once; configs are when they are first asked for."""
    return [*rows.api_keys, *rows.virtual_keys]


class Snapshot:
    """Compiled rows and the caches that live and die with them."""

    def __init__(
        self,
        rows: Rows,
        limiters: Limiters,
        trusted: frozenset[str] = frozenset(),
        prices: Prices | None = None,
        healths: Healths | None = None,
    ) -> None:
        """`trusted` are the private hosts that clients may name. Without `prices` no model's price is known.

        Never raises for one bad row: a row that cannot be compiled is left out and named in `problems`.
        """
        self.rows = rows
        self.trusted = trusted
        self.unsure = False
        """Whether the store does not answer just now, so that what is not here may be there."""
        self.prices = Prices() if prices is None else prices
        self.healths = Healths() if healths is None else healths
        self.problems: list[str] = []
        self.keys: dict[bytes, Key] = {}
        self.targets: dict[str, Target] = {}
        self.configs: dict[str, ConfigRow] = {row.slug: row for row in rows.configs}
        self._saved: dict[str, Plan | Node] = {}
        self._inline: Bounded[bytes, Plan | Node] = Bounded()
        self._passing: Bounded[tuple[str, bytes], Plan] = Bounded()
        self._adhoc: Bounded[tuple[str, str, str, tuple[tuple[str, str], ...]], Target] = Bounded()
        self.plans: dict[str, Plan] = {}
        for row in _compiled(rows):
            self._add(row, limiters)

    @classmethod
    async def in_turns(
        cls, rows: Rows, limiters: Limiters, trusted: frozenset[str], prices: Prices, healths: Healths
    ) -> Self:
        """As the constructor, but requests go on in between: thousands of keys take tenths of a second."""
        made = cls(msgspec.structs.replace(rows, api_keys=(), virtual_keys=()), limiters, trusted, prices, healths)
        began = monotonic()
        for number, row in enumerate(_compiled(rows), 1):
            made._add(row, limiters)
            if number % _IN_A_LOOK == 0 and monotonic() - began >= _TURN:
                await asyncio.sleep(0)
                began = monotonic()
        made.rows = rows
        return made

    def _add(self, row: ApiKeyRow | VirtualKeyRow, limiters: Limiters) -> None:
        if isinstance(row, ApiKeyRow):
            self._add_key(row, limiters)
            return
        try:
            target = self.targets[row.slug] = _target(row, limiters, self.prices)
        except Refused as refused:
            self.problems.append(f"virtual key {row.slug}: {refused.message}")
            return
        target.health = self.healths.find(target.identity)
        self.plans[row.slug] = Plan(Leaf(target))

    def _add_key(self, row: ApiKeyRow, limiters: Limiters) -> None:
        limiter = limiters.api_key(row)
        self.keys[bytes.fromhex(row.digest)] = Key(row, limiter, row.expires_at)
        if row.previous_digest is not None and row.previous_expires_at is not None:
            until = row.previous_expires_at
            if row.expires_at is not None:
                until = min(until, row.expires_at)
            self.keys.setdefault(bytes.fromhex(row.previous_digest), Key(row, limiter, until))

    # -- looking things up

    def plan_of(self, slug: str, key: Key) -> Plan:
        """The plan of one virtual key. Raises Refused (400) that names near slugs, of those that the key may use."""
        plan = self.plans.get(slug)
        if plan is None:
            raise self._unknown_slug(slug, key)
        return plan

    def target_of(self, slug: str, key: Key | None = None) -> Target:
        """The target of one virtual key; the same. None: whoever asks may see every slug."""
        target = self.targets.get(slug)
        if target is None:
            raise self._unknown_slug(slug, key)
        return target

    def _unknown_slug(self, slug: str, key: Key | None) -> Refused:
        return _unknown("virtual key", slug, [known for known in self.targets if key is None or key.may_use(known)])

    def adhoc(
        self, provider: str, credential: str, custom_host: str | None, fields: tuple[tuple[str, str], ...] = ()
    ) -> Target:
        """A target made of what the client itself sent. Its host, if any, is guarded."""
        identity = (provider, credential, custom_host or "", fields)
        found = self._adhoc.get(identity)
        if found is not None:
            return found
        access = Access(
            provider_row(provider),
            credential,
            custom_host=custom_host,
            guarded=custom_host is not None,
            operator=False,
            trusted=self.trusted,
            fields=dict(fields),
        )
        target = Target(access, prices=self.prices.of(provider, located.region(access)))
        self._adhoc.keep(identity, target)
        return target

    def saved(self, slug: str) -> Plan | Node:
        """A saved config's plan; or its node, where it names no target and the request must."""
        found = self._saved.get(slug)
        if found is not None:
            return found
        row = self.configs.get(slug)
        if row is None:
            raise _unknown("config", slug, self.configs, "Invalid config id passed")
        # By content, so that going back to an older version finds what was kept for it.
        content = blake2b(msgspec.json.encode(row.config, order="sorted"), digest_size=16).hexdigest()
        node = msgspec.structs.replace(parse_config(row.config), identity=f"{slug} {content}")
        compiled = self._saved[slug] = self._compile(node, client=None)
        return compiled

    def inline(self, text: bytes, key: Key) -> Plan | Node:
        """The same for a config object written in a request that came with this key."""
        found = self._inline.get(text)
        if found is not None:
            return found
        node = msgspec.structs.replace(_parsed(lambda: parse_json(text)), identity=blake2b(text).hexdigest())
        compiled = self._compile(node, client=key)
        self._inline.keep(text, compiled)
        for warning in node.warnings[:_WARNED]:
            _log.warning("a config in a request of the API key %r: %.300r", key.name, warning)
        return compiled

    def passing(self, node: Node, target: Target, client: Key | None) -> Plan:
        """The plan of a config with `passthrough` targets, for a request that names this one."""
        identity = (node.identity, target.fingerprint())
        found = self._passing.get(identity)
        if found is not None:
            return found
        plan = compile_plan(
            node,
            lambda leaf, where: self._resolve(leaf, where, client) or (target if leaf.passthrough else None),
            self.healths,
        )
        self._passing.keep(identity, plan)
        return plan

    def _compile(self, node: Node, *, client: Key | None) -> Plan | Node:
        """`client` is the key of the request that wrote this config, None for a saved one."""
        if not node.targets and node.slug is None and node.provider is None:
            return node
        if passes_through(node):
            return node
        return compile_plan(node, lambda leaf, where: self._resolve(leaf, where, client), self.healths)

    def _resolve(self, leaf: Node, where: str, client: Key | None) -> Target | None:
        slug = leaf.slug
        if slug is not None:
            target = self.target_of(slug, client)
            fields = {name: value for name, value in leaf.fields.items() if target.provider.takes_fields}
            if leaf.custom_host is None and not fields:
                return target
            if client is not None:
                # Where a stored credential goes is its operator's to say.
                what = "custom_host" if leaf.custom_host is not None else next(iter(fields))
                raise Refused(
                    Kind.INVALID_REQUEST,
                    f"{where}: {what} in a request cannot be combined with a stored credential.",
                    param=f"{where}.{what}",
                )
            row = next(row for row in self.rows.virtual_keys if row.slug == slug)
            changed = msgspec.structs.replace(
                row, custom_host=leaf.custom_host or row.custom_host, fields={**row.fields, **fields}
            )
            return _target(changed, None, self.prices, target.limiter)
        if leaf.provider is None:
            return None
        key = leaf.api_key.reveal() if leaf.api_key is not None else ""
        access = Access(
            provider_row(leaf.provider),
            key,
            custom_host=leaf.custom_host,
            guarded=client is not None and leaf.custom_host is not None,
            operator=client is None,
            trusted=self.trusted,
            fields=leaf.fields,
        )
        return Target(access, prices=self.prices.of(leaf.provider, located.region(access)))

    def by_model(self, model: str, key: Key) -> Plan | None:
        """The plan for a model that came without any address: the first virtual key that claims it, or the only one."""
        usable = [target for slug, target in self.targets.items() if key.may_use(slug)]
        for target in usable:
            if model in target.aliases or (target.models is not None and target.allows(model, model)):
                return self.plans[target.name]
        if len(usable) == 1:
            return self.plans[usable[0].name]
        return None


def parse_config(raw: object) -> Node:
    """A config object, validated. Raises Refused (400) with every finding."""
    return _parsed(lambda: parse(raw))


def _parsed(read: Callable[[], Node]) -> Node:
    try:
        return read()
    except InvalidConfig as error:
        raise Refused(
            Kind.INVALID_REQUEST, "Invalid config passed", errors=tuple(error.findings), param="config"
        ) from error


def _target(row: VirtualKeyRow, limiters: Limiters | None, prices: Prices, limiter: Limiter | None = None) -> Target:
    access = Access(
        provider_row(row.provider),
        row.key.reveal(),
        slug=row.slug,
        custom_host=row.custom_host,
        custom_headers=row.custom_headers,
        fields=row.fields,
    )
    return Target(
        access,
        Rules(row.models, row.aliases, row.default_model, row.completions_mode),
        limiter=limiters.virtual_key(row) if limiters is not None else limiter,
        expires_at=row.expires_at,
        prices=prices.of(row.provider, located.region(access)),
    )


def _unknown(what: str, name: str, known: Iterable[str], message: str | None = None) -> Refused:
    message = message or f"Unknown {what}"
    return Refused(
        Kind.INVALID_REQUEST,
        f"{message}: {name[:200]!r}{hint(name, known) or '.'}",
        code=f"unknown_{what.replace(' ', '_')}",
    )


__all__ = ["Key", "Snapshot", "model_slug", "parse_config"]
