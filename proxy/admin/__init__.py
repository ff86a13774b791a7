"""Administration over HTTP, in the shapes that the SDKs of the field send and read.

One module for each kind of row: `api_keys`, `virtual_keys`, `configs`, and `providers` for the SDKs' newer names of
virtual keys. Each has the operations (`create`, `update` … of a `scene.Scene` and a decoded body), the view (`shown`)
and the handlers with their routes. The command line calls the same operations. `body` reads JSON strictly, `limits`
knows both spellings of limits, `masks` keeps secrets out of answers, `slugs` makes names and tokens.

`analytics` reads usage and spend from the ledger; `usage_query` is what its query strings ask for. `prices` sets what
models cost. `log_level` is of the instance, not of the store.

What the configuration file defines is listed and never changed here; what is created here lives in the store.
"""

from __future__ import annotations

from proxy.admin import (
    analytics,
    api_keys,
    config_versions,
    configs,
    log_exports,
    log_level,
    logs,
    prices,
    providers,
    virtual_keys,
)
from proxy.routes import Route

ROUTES: tuple[Route, ...] = (
    *virtual_keys.ROUTES,
    *api_keys.ROUTES,
    *configs.ROUTES,
    *config_versions.ROUTES,
    *providers.ROUTES,
    *analytics.ROUTES,
    *prices.ROUTES,
    *logs.ROUTES,
    *log_exports.ROUTES,
    *log_level.ROUTES,
)
