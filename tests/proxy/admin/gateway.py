"""A gateway as small as administration needs it: a real store, rows of a file, and a call by method and path."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from proxy.admin import ROUTES
from proxy.limits import Standing
from proxy.loglevel import Chosen
from proxy.ports import Rows, Store
from proxy.prices import Prices, vendored
from proxy.routes import AdminRequest, Handler
from proxy.scopes import expand


class Gateway:
    """Implements `proxy.routes.AdminContext`."""

    def __init__(self, store: Store, file: Rows) -> None:
        self.store = store
        self.file = file
        self.applied = 0
        self.chosen: Chosen | None = None
        self.scopes = expand(["admin"])

    async def apply(self) -> None:
        self.applied += 1

    def prices(self) -> Prices:
        return Prices((vendored(),))

    def rows(self) -> Rows:
        """What the last snapshot was compiled from: the file's rows, and of the store's maybe an older state."""
        return self.file

    def exhausted(self) -> frozenset[tuple[str, str]]:
        """Nobody has spent anything here."""
        return frozenset()

    def standing(self, what: str, identity: str) -> Standing | None:
        """No budget is counted here."""
        return None

    def reset_usage(self, what: str, identity: str) -> bool:
        """There is nothing to reset."""
        return False

    def log_level(self) -> tuple[str, Chosen | None]:
        """As configured, or as chosen last."""
        return "info", self.chosen

    def set_log_level(self, chosen: Chosen | None) -> None:
        """Keeps what was chosen."""
        self.chosen = chosen

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded answer to a request, as it would be on the wire."""
        path, _, query = path.partition("?")
        handler, params = _matched(method, path)
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        pairs = dict(pair.split("=", 1) for pair in query.split("&") if pair)
        answer = await handler(self, AdminRequest(method, path, params, pairs, raw, "admin-key", "req-1", self.scopes))
        assert answer.status == 200
        return msgspec.json.decode(msgspec.json.encode(answer.value))


def _matched(method: str, path: str) -> tuple[Handler, dict[str, str]]:
    parts = path.split("/")
    for route in ROUTES:
        names = route.path.split("/")
        if route.method != method or len(names) != len(parts):
            continue
        if all(name == part or name.startswith("{") for name, part in zip(names, parts, strict=True)):
            assert route.handler is not None
            return route.handler, {n[1:-1]: p for n, p in zip(names, parts, strict=True) if n.startswith("{")}
    raise AssertionError(f"no route for {method} {path}")
