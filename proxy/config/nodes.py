"""The config object, read: a tree of `Node`s, and what a target inherits from the node above it.

A node with `targets` is a strategy over them; one without is a leaf that names a provider or a virtual key. Times are
in the unit that users write: `request_timeout`, `idle_timeout`, `total_timeout` and `cooldown_interval` in
milliseconds, `max_age` and `ttl` in seconds.
"""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.config.fields import SECRET_FIELDS
from proxy.ports import Secret


class Retry(msgspec.Struct, frozen=True):
    """How often a target is tried again. `on_status_codes` None: the usual ones; `base_wait` in milliseconds."""

    attempts: int
    on_status_codes: tuple[int, ...] | None = None
    use_retry_after_header: bool = False
    base_wait: int = 1000


MAX_AGE = (60, 7_776_000)
"""Seconds that an answer may be kept, at least and at most."""


class Cache(msgspec.Struct, frozen=True):
    """Whether answers are kept: `mode` is simple or semantic, `max_age` in seconds (None: the default)."""

    mode: str
    max_age: int | None = None


class Condition(msgspec.Struct, frozen=True):
    """Where requests that match `query` go: the name of a target."""

    query: dict[str, Any]
    then: str


class Sticky(msgspec.Struct, frozen=True):
    """Requests with equal `hash_fields` go to the same target."""

    enabled: bool = False
    hash_fields: tuple[str, ...] = ()
    ttl: float | None = None


class Breaker(msgspec.Struct, frozen=True):
    """When a failing target is left out, and for how long (`cooldown_interval`, milliseconds)."""

    failure_threshold: int | None = None
    failure_threshold_percentage: float | None = None
    cooldown_interval: int = 30_000
    failure_status_codes: tuple[int, ...] | None = None
    minimum_requests: int = 5
    consecutive_failures: int | None = None


class Hedge(msgspec.Struct, frozen=True):
    """When the next target is asked too: when the one before has not begun to answer within this `quantile` of its own
    latency, or within `delay` (milliseconds) while too little is known of it."""

    quantile: float = 0.95
    delay: int = 1000


class Strategy(msgspec.Struct, frozen=True):
    """How one of several targets is chosen. `mode` is one of `MODES`."""

    mode: str
    on_status_codes: tuple[int, ...] | None = None
    conditions: tuple[Condition, ...] = ()
    default: str | None = None
    sticky: Sticky | None = None
    cb_config: Breaker | None = None
    hedge: Hedge | None = None
    continue_stream: bool = False


MODES = ("single", "loadbalance", "fallback", "conditional", "least_busy", "lowest_latency", "cheapest", "hedge")


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One level of a config object. Unset means: inherit, or the gateway's default.

    `fields` holds the provider-specific settings by name (`fields.PROVIDER_FIELDS`). `breaker` is the circuit breaker
    in force for this node's targets, or for a leaf the one above it. `identity` names the config by its content, for
    every node below as well. `warnings` is filled on the root only.
    """

    name: str | None = None
    provider: str | None = None
    virtual_key: str | None = None
    api_key: Secret | None = None
    passthrough: bool = False
    prompt_id: str | None = None
    override_params: dict[str, Any] = {}
    default_params: dict[str, Any] = {}
    drop_params: tuple[str, ...] | None = None
    custom_host: str | None = None
    forward_headers: tuple[str, ...] | None = None
    weight: float = 1.0
    strategy: Strategy | None = None
    targets: tuple[Node, ...] = ()
    retry: Retry | None = None
    cache: Cache | None = None
    request_timeout: int | None = None
    idle_timeout: int | None = None
    total_timeout: int | None = None
    strict_open_ai_compliance: bool | None = None
    strict_params: bool | None = None
    input_guardrails: tuple[Any, ...] = ()
    output_guardrails: tuple[Any, ...] = ()
    input_mutators: tuple[Any, ...] = ()
    output_mutators: tuple[Any, ...] = ()
    before_request_hooks: tuple[dict[str, Any], ...] = ()
    after_request_hooks: tuple[dict[str, Any], ...] = ()
    fetch_integrated_models: bool = False
    fields: dict[str, Any] = {}
    breaker: Breaker | None = None
    identity: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def slug(self) -> str | None:
        """The virtual key this leaf names: `provider: "@slug"`, else `virtual_key`, else a model `@slug/model`."""
        if self.provider and self.provider.startswith("@"):
            return self.provider[1:].partition("/")[0]
        if self.virtual_key:
            return self.virtual_key
        model = self.override_params.get("model")
        return model_slug(model) if isinstance(model, str) else None

    def __repr__(self) -> str:
        """Only what is set, and no credential."""
        parts: list[str] = []
        for spec in msgspec.structs.fields(self):
            value = getattr(self, spec.name)
            if value in (None, False, (), {}) or value == spec.default:
                continue
            if spec.name == "fields":
                value = {name: "…" if name in SECRET_FIELDS else item for name, item in value.items()}
            parts.append(f"{spec.name}={value!r}")
        return f"Node({', '.join(parts)})"


def model_slug(model: str) -> str | None:
    """The slug in a model name `@slug/model`, or None. `@cf/…` and `@hf/…` are names of models, not slugs."""
    if not model.startswith("@"):
        return None
    slug, slash, _ = model[1:].partition("/")
    return slug if slug and slash and slug not in ("cf", "hf") else None


def passes_through(node: Node) -> bool:
    """Whether a target below takes its provider from the request."""
    if node.targets:
        return any(passes_through(target) for target in node.targets)
    return node.passthrough and node.slug is None and node.provider is None


BEFORE = ("before_request_hooks", "input_guardrails", "input_mutators")
AFTER = ("after_request_hooks", "output_guardrails", "output_mutators")
_INHERITED = (
    "retry",
    "cache",
    "request_timeout",
    "idle_timeout",
    "total_timeout",
    "custom_host",
    "forward_headers",
    "strict_open_ai_compliance",
    "strict_params",
    "drop_params",
)


def inherit(parent: Node, child: Node) -> Node:
    """`child` with what it takes over from `parent`, itself already complete.

    Policies are the child's if set, else the parent's, whole. `override_params` and `default_params` are merged name
    by name, the child's winning. Hooks of one phase (with the guardrails and mutators that are short for them) are
    the child's if it has any, else the parent's. Name, weight, strategy, provider and credentials stay the child's
    own. The circuit breaker comes from the nearest strategy above, but not through a conditional one.
    """
    changes: dict[str, Any] = {
        name: getattr(parent, name)
        for name in _INHERITED
        if getattr(child, name) is None and getattr(parent, name) is not None
    }
    for name in ("override_params", "default_params"):
        if getattr(parent, name):
            changes[name] = {**getattr(parent, name), **getattr(child, name)}
    for phase in (BEFORE, AFTER):
        if not any(getattr(child, name) for name in phase):
            changes.update({name: getattr(parent, name) for name in phase if getattr(parent, name)})
    own = child.strategy.cb_config if child.strategy else None
    conditional = parent.strategy is not None and parent.strategy.mode == "conditional"
    changes["identity"] = parent.identity
    changes["breaker"] = own or (None if conditional else parent.breaker)
    return msgspec.structs.replace(child, **changes)
