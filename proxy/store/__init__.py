"""Keys, credentials, configs and the usage ledger at rest.

`migrate` brings the schema up to date, once, before any worker starts; `open_store` gives the store that implements
`proxy.ports.Store`. `engine` says what a database must do, `sqlite` and `postgres` are two that do; `entities` and
`ledger` are the jobs that run on either. `records` turns rows into columns and back, sealing what is secret, and holds
the SQL; `migrations/` is the schema as plain SQL.

Whoever adds a table adds a migration, a module of jobs (plain functions on a `Connection`), and runs them by
`SqlStore.run`, in a lane of its own if it writes often.
"""

from __future__ import annotations

from proxy.store.location import default_url
from proxy.store.migrate import migrate
from proxy.store.store import SqlStore, open_store

__all__ = ["SqlStore", "default_url", "migrate", "open_store"]
