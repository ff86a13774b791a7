"""How the gateway of these tests is configured: limits that can be reached, and a key for every way to lack a right."""

from __future__ import annotations

from typing import Any

from proxy.admin import ROUTES as ADMIN
from proxy.app import PROBES
from proxy.explain import ROUTES as EXPLAIN
from proxy.inference import ROUTES as INFERENCE
from proxy.routes import Route
from proxy.scopes import KNOWN, expand
from tests.fakes.gateway import standard

MAX_BODY = 64 * 1024
ROUTES: tuple[Route, ...] = (*INFERENCE, *EXPLAIN, *ADMIN, *PROBES)
"""The table itself: a new row is covered the day it is added."""

SCOPES = sorted({route.scope for route in ROUTES if route.scope not in (None, "any")})
EVERY = sorted(scope for scope in KNOWN if expand([scope]) == {scope})
"""All scopes that stand for nothing but themselves."""

EXPIRED = "lw-expired-long-ago"


def without(scope: str) -> str:
    """The key that may do everything else."""
    return f"lw-without-{scope}"


def only(scope: str) -> str:
    """The key that may do nothing else."""
    return f"lw-only-{scope}"


def guarded(url: str, **server: Any) -> dict[str, Any]:
    """The standard configuration with all of this."""
    config = standard(url)
    keys = [{"name": "expired", "key": EXPIRED, "scopes": EVERY, "expires_at": "2020-01-01T00:00:00Z"}]
    for scope in SCOPES:
        keys.append({"name": without(scope), "key": without(scope), "scopes": [s for s in EVERY if s != scope]})
        keys.append({"name": only(scope), "key": only(scope), "scopes": [scope]})
    config["api_keys"] += keys
    limits = {"max_body_size": MAX_BODY, "header_timeout": "5s", "body_timeout": "5s", "keepalive_timeout": "5s"}
    return config | {"server": limits | server}
