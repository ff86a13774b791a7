"""What the floors above expect of stores: rows and the Protocol that every database implements.

The configuration file and the store both give these rows; compilation (`config/compile.py`) sees no difference but
`origin`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeVar

import msgspec

T = TypeVar("T")
Origin = Literal["file", "store"]


class Secret:
    """A credential in memory. Printing it in any way shows nothing; only `reveal()` gives the text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The plain text, for the one place that sends it."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce__(self) -> str:
        raise TypeError("secrets are not pickled")


class Queue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bounded wait in front of a concurrency limit: how many may wait, and how long (seconds)."""

    size: int = 0
    timeout: float = 1.0


class Rates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many requests or tokens each period may bring; unset periods are unlimited."""

    per_second: int | None = None
    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be spent in a window: US dollars or tokens.

    When `alert_threshold` (in the same unit) is reached, `webhook` is told, once in each window. `unknown_price` says
    what becomes of requests for models whose price is not known under a budget in dollars: `refuse`, or `allow`, which
    counts their tokens in the ledger and no money.
    """

    usd: float | None = None
    tokens: int | None = None
    window: str = "monthly"
    alert_threshold: float | None = None
    webhook: str | None = None
    unknown_price: Literal["refuse", "allow"] = "refuse"


class ModelLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of a key for the models that a pattern fits, counted together."""

    concurrency: int | None = None
    requests: Rates | None = None
    tokens: Rates | None = None


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The limits of an API key or a virtual key. None means unlimited.

    `models` limits further by model: the first pattern that fits counts. `priority` is an API key's: how often its
    requests have their turn where they wait beside others for a virtual key.
    """

    concurrency: int | None = None
    queue: Queue = Queue()
    requests: Rates | None = None
    tokens: Rates | None = None
    budget: Budget | None = None
    models: dict[str, ModelLimits] = {}
    priority: Literal["high", "normal", "low"] = "normal"


class ApiKeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A credential of this gateway. Only SHA-256 digests of tokens are ever kept (hex).

    `virtual_keys` and `models` are allow-lists (None: all). `previous_digest` stays valid until
    `previous_expires_at` after a rotation. Times are Unix seconds.
    """

    id: str
    name: str
    digest: str
    scopes: tuple[str, ...] = ("inference",)
    virtual_keys: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    config: str | None = None
    allow_config_override: bool = True
    metadata: dict[str, str] = {}
    limits: Limits = Limits()
    description: str = ""
    type: str = "workspace"
    sub_type: str = "service"
    expires_at: int | None = None
    previous_digest: str | None = None
    previous_expires_at: int | None = None
    created_at: int = 0
    updated_at: int = 0
    origin: Origin = "store"
    # What the SDKs sent and read back, kept verbatim: rate_limits, usage_limits, alert_emails, rotation_policy; and
    # cache_group.
    extra: dict[str, Any] = {}

    @property
    def cache_group(self) -> str | None:
        """The group of keys with which this one shares kept answers, None: with no other."""
        group = self.extra.get("cache_group")
        return group if isinstance(group, str) and group else None


class VirtualKeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A stored provider credential. The slug is its identity and never changes.

    `fields` holds the provider-specific settings by the names of a config object's leaf (`azure_resource_name`,
    `aws_region`, `openai_organization` …). `completions_mode` is auto, legacy or messages.
    """

    slug: str
    name: str
    provider: str
    key: Secret
    custom_host: str | None = None
    models: tuple[str, ...] | None = None
    aliases: dict[str, str] = {}
    default_model: str | None = None
    completions_mode: str = "auto"
    custom_headers: dict[str, str] = {}
    fields: dict[str, Any] = {}
    limits: Limits = Limits()
    note: str = ""
    expires_at: int | None = None
    created_at: int = 0
    updated_at: int = 0
    origin: Origin = "store"
    extra: dict[str, Any] = {}


class ConfigRow(msgspec.Struct, frozen=True, kw_only=True):
    """A saved config object: `slug` (pc-…) is its name in requests, `version` counts its updates from 1."""

    slug: str
    name: str
    config: dict[str, Any]
    id: str = ""
    version: int = 1
    version_id: str = ""
    is_default: bool = False
    created_at: int = 0
    updated_at: int = 0
    origin: Origin = "store"


class BudgetRow(msgspec.Struct, frozen=True):
    """What a budget has spent in its window, and when it was last reset (Unix seconds). `name` is a digest."""

    name: str
    window: int
    spent: int
    reset_at: int = 0


class PriceRow(msgspec.Struct, frozen=True):
    """A price that an administrator set; `entry` is a `proxy.prices.Entry` as JSON. Times are Unix seconds."""

    provider: str
    model: str
    entry: str
    updated_at: int = 0


class Rows(msgspec.Struct, frozen=True):
    """Everything a snapshot is compiled from, as of change number `seq`. `price_table` names the version of a table of
    prices that takes the place of the shipped one."""

    seq: int = 0
    api_keys: tuple[ApiKeyRow, ...] = ()
    virtual_keys: tuple[VirtualKeyRow, ...] = ()
    configs: tuple[ConfigRow, ...] = ()
    prices: tuple[PriceRow, ...] = ()
    price_table: str | None = None


class Store(Protocol):
    """Keys, credentials and configs at rest.

    Methods raise `proxy.errors.StoreError` when the store cannot be reached or refuses, `proxy.errors.Refused`
    (404, 409) when the row does not exist or its name is taken. Every write commits before it returns and raises the
    change number. `edit_…` reads, changes and writes a row in one transaction, so that two edits at once never undo
    each other; `change` is a plain function and may raise `Refused`.
    """

    vault: Any
    """The `proxy.vault.Vault` that seals what is secret."""

    async def seq(self) -> int:
        """The number of the last change; cheap, asked several times a second by every worker."""

    async def rows(self) -> Rows:
        """All rows as of one moment. Credentials come out decrypted."""

    async def insert_api_key(self, row: ApiKeyRow) -> None: ...
    async def update_api_key(self, row: ApiKeyRow) -> None: ...
    async def edit_api_key(self, id: str, change: Callable[[ApiKeyRow], ApiKeyRow]) -> ApiKeyRow: ...
    async def delete_api_key(self, id: str) -> None: ...

    async def insert_virtual_key(self, row: VirtualKeyRow) -> None: ...
    async def update_virtual_key(self, row: VirtualKeyRow) -> None: ...
    async def edit_virtual_key(self, slug: str, change: Callable[[VirtualKeyRow], VirtualKeyRow]) -> VirtualKeyRow: ...
    async def delete_virtual_key(self, slug: str) -> None: ...

    async def insert_config(self, row: ConfigRow) -> None: ...
    async def update_config(self, row: ConfigRow) -> None: ...
    async def edit_config(self, slug: str, change: Callable[[ConfigRow], ConfigRow]) -> ConfigRow: ...
    async def delete_config(self, slug: str) -> None: ...
    async def config_versions(self, slug: str) -> tuple[ConfigRow, ...]:
        """All versions of one config, newest first."""

    async def append_usage(self, rows: list[tuple[object, ...]]) -> None:
        """Adds ledger rows, as `proxy.usage_columns` has them; a request id already there is skipped."""

    async def load_budgets(self) -> list[BudgetRow]:
        """What budgets have spent, as it was last written."""

    async def save_budgets(self, rows: list[BudgetRow]) -> None:
        """Writes what some have spent."""

    async def run(self, lane: str, job: Callable[..., T], *args: Any) -> T:
        """Runs a job on the database, in a lane of its own: see `proxy.store`."""

    async def close(self) -> None: ...
