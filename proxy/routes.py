"""The route table: every path this gateway answers, once.

Dispatch, authentication, scopes, OpenAPI and the security tests all read this table, so a new route is covered the
day it is added. Patterns are literal segments and `{names}`; `{rest*}` at the end takes any further segments,
`{model*}:verb` those before a verb, `@{model*}` any that begin so, decoded.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from adapters.types import Dialect

if TYPE_CHECKING:
    from proxy.cache.answers import AnswerCache
    from proxy.exchange import Exchange
    from proxy.health import Healths
    from proxy.limits import Standing
    from proxy.loglevel import Chosen
    from proxy.models import Catalog
    from proxy.ports import Rows, Store
    from proxy.prices import Prices


class Answer(msgspec.Struct, frozen=True):
    """What an administration or probe handler returns. `value` is encoded as JSON; bytes are sent as they are. A
    `stream` is sent part by part instead, no faster than it is read."""

    value: Any = None
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    stream: AsyncGenerator[bytes, None] | None = None


class AdminRequest(msgspec.Struct, frozen=True):
    """What such a handler gets: decoded path parameters and query, the body as received, and who calls.

    `scopes` are the scopes of the caller's key as `proxy.scopes.expand` gives them; nobody grants what they lack.
    `exchange` is the one it came in, for handlers of routes that ask for it.
    """

    method: str
    path: str
    params: dict[str, str]
    query: dict[str, str]
    body: bytes
    key_id: str
    id: str
    scopes: frozenset[str]
    exchange: Exchange | None = None


class AdminContext(Protocol):
    """What handlers may touch. `proxy.app.Gateway` implements it. `leaving`: this worker takes no new requests soon."""

    store: Store
    cache: AnswerCache
    catalog: Catalog
    leaving: bool

    async def apply(self) -> None:
        """Makes this worker's snapshot show every committed change; other workers follow within a second."""

    def prices(self) -> Prices:
        """The prices of the current snapshot."""

    def rows(self) -> Rows:
        """The merged rows of file and store that the current snapshot was compiled from."""

    def exhausted(self) -> frozenset[tuple[str, str]]:
        """What and who has spent its budget: `("API key", id)`, `("virtual key", slug)`."""

    def standing(self, what: str, identity: str) -> Standing | None:
        """How the budget of one of them stands, as far as this host knows; None: it has none."""

    def reset_usage(self, what: str, identity: str) -> bool:
        """Sets what a budget has spent to nothing, for all workers; False where there is no budget."""

    def routes(self) -> tuple[Route, ...]:
        """Every path this gateway answers."""

    def healths(self) -> Healths:
        """What this worker knows of targets."""

    def metrics_text(self) -> str | None:
        """All workers' counters as Prometheus text; None where they are switched off."""

    def log_level(self) -> tuple[str, Chosen | None]:
        """The configured level, and what was chosen instead of it."""

    def set_log_level(self, chosen: Chosen | None) -> None:
        """Logs so in all workers of this instance; None: as configured. Raises OSError."""


Handler = Callable[[AdminContext, AdminRequest], Awaitable[Answer]]
Body = Literal["json", "stream", "none"]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One row: what it matches, who may call it, and what answers.

    `scope` None is open to everyone. `dialect` is set on inference routes, `handler` on all others. `summary` is its
    line in the OpenAPI document. `exchange` handlers also see the exchange they run in. `named` says that the path has
    the model in it (`{model*}`), and the body none.
    """

    method: str
    path: str
    scope: str | None
    summary: str
    dialect: Dialect | None = None
    handler: Handler | None = None
    body: Body = "none"
    tag: str = "inference"
    open_metrics: bool = False
    exchange: bool = False
    named: bool = False


class Match(msgspec.Struct, frozen=True):
    """A route and the values of its pattern's names."""

    route: Route
    params: dict[str, str]
