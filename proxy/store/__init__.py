"""Keys, credentials, configs and the usage ledger at rest.

`migrate` brings the schema up to date, once, before any worker starts; `open_store` gives the store that implements
`proxy.ports.Store`. `records` turns rows into columns and back, sealing what is secret, and holds the SQL that every
database shares; `sqlite` is the embedded database; `migrations/` is the schema as plain SQL.
"""

from __future__ import annotations

from proxy.store.location import default_url
from proxy.store.migrate import migrate
from proxy.store.sqlite import SqliteStore, open_store

__all__ = ["SqliteStore", "default_url", "migrate", "open_store"]
