"""The store: `proxy.ports.Store` on any of the databases, each kind of work in a lane of its own.

Keys and configs are written with full synchronisation: what was acknowledged survives a power cut. The ledger has a
lane of its own, so that its batches delay no administrator; so has whatever else is added by `lane`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from proxy.errors import EmptyStoreError, StoreError
from proxy.ports import ApiKeyRow, BudgetRow, ConfigRow, Rows, VirtualKeyRow
from proxy.store import budgets, entities, ledger, records, sealing
from proxy.store.engine import Connection, Engine, Lane
from proxy.store.location import is_postgres, sqlite_path
from proxy.store.sqlite import SqliteEngine
from proxy.vault import Vault

P = ParamSpec("P")
T = TypeVar("T")


def open_store(url_or_path: str | os.PathLike[str], vault: Vault) -> SqlStore:
    """Opens a migrated store. Blocking; call it before the event loop serves.

    Raises `StartupError` when the vault's master key is not the one the store was encrypted under, `StoreError` when
    the database cannot be opened or was never migrated.
    """
    engine = engine_of(url_or_path)
    store = SqlStore(engine, vault)
    keys = store.lane("keys")
    try:
        if not keys.now(_migrated):
            raise EmptyStoreError(f"the store {engine.label} has no tables; it was never migrated")
        keys.now(sealing.verify, vault, engine.label)
        if vault.rotating:
            keys.now(sealing.reseal, vault)
    except BaseException:
        keys.close_now()
        raise
    return store


def engine_of(url_or_path: str | os.PathLike[str]) -> Engine:
    """The database behind an URL or a path. Raises StartupError."""
    if not is_postgres(url_or_path):
        return SqliteEngine(sqlite_path(url_or_path))
    from proxy.store.postgres import PostgresEngine

    return PostgresEngine(os.fspath(url_or_path))


def _migrated(connection: Connection) -> bool:
    return connection.execute(records.FIND_TABLE[connection.kind], {"name": "meta"}).fetchone() is not None


class SqlStore:
    """`proxy.ports.Store` on one database. Made by `open_store`."""

    def __init__(self, engine: Engine, vault: Vault) -> None:
        self.engine = engine
        self._vault = self.vault = vault
        self._lanes: dict[str, Lane] = {}
        self._closed = False

    def lane(self, name: str) -> Lane:
        """The lane of this name, made when first asked for. Its thread and connection are made when first used."""
        if self._closed:
            raise StoreError(f"the store {self.engine.label} is closed")
        found = self._lanes.get(name)
        if found is None:
            durable, patience = _LANES.get(name, (False, 5.0))
            found = self._lanes[name] = Lane(self.engine, name, durable=durable, patience=patience)
        return found

    async def run(
        self, lane: str, job: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Runs a job in a lane: a plain function whose first argument is the connection. Raises StoreError."""
        return await self.lane(lane).run(job, *args, **kwargs)

    async def seq(self) -> int:
        """The number of the last change."""
        return await self.run("keys", entities.read_seq)

    async def rows(self) -> Rows:
        """All rows as of one moment, decrypted."""
        return await self.run("keys", entities.read_rows, self._vault)

    async def insert_api_key(self, row: ApiKeyRow) -> None:
        """Adds a key. Raises `Refused` (409) when its id or its token is taken."""
        await self.run("keys", entities.insert_api_key, row)

    async def update_api_key(self, row: ApiKeyRow) -> None:
        """Writes all of a key's columns. Raises `Refused` (404) when it is gone."""
        await self.edit_api_key(row.id, lambda _: row)

    async def edit_api_key(self, id: str, change: Callable[[ApiKeyRow], ApiKeyRow]) -> ApiKeyRow:
        """Changes a key in one transaction and returns it. Raises `Refused` (404, 409)."""
        return await self.run("keys", entities.edit_api_key, id, change)

    async def delete_api_key(self, id: str) -> None:
        """Removes a key. Raises `Refused` (404)."""
        await self.run("keys", entities.delete, "API key", (records.DELETE_API_KEY,), id)

    async def insert_virtual_key(self, row: VirtualKeyRow) -> None:
        """Adds a virtual key. Raises `Refused` (409) when its slug is taken."""
        await self.run("keys", entities.insert_virtual_key, row, self._vault)

    async def update_virtual_key(self, row: VirtualKeyRow) -> None:
        """Writes all of a virtual key's columns. Raises `Refused` (404)."""
        await self.edit_virtual_key(row.slug, lambda _: row)

    async def edit_virtual_key(self, slug: str, change: Callable[[VirtualKeyRow], VirtualKeyRow]) -> VirtualKeyRow:
        """Changes a virtual key in one transaction and returns it. Raises `Refused` (404)."""
        return await self.run("keys", entities.edit_virtual_key, slug, change, self._vault)

    async def delete_virtual_key(self, slug: str) -> None:
        """Removes a virtual key. Raises `Refused` (404)."""
        await self.run("keys", entities.delete, "virtual key", (records.DELETE_VIRTUAL_KEY,), slug)

    async def insert_config(self, row: ConfigRow) -> None:
        """Adds a config with its first version. Raises `Refused` (409) when its slug is taken."""
        await self.run("keys", entities.insert_config, row, self._vault)

    async def update_config(self, row: ConfigRow) -> None:
        """Writes a config; a changed config object makes a new version. Raises `Refused` (404)."""
        await self.edit_config(row.slug, lambda _: row)

    async def edit_config(self, slug: str, change: Callable[[ConfigRow], ConfigRow]) -> ConfigRow:
        """Changes a config in one transaction and returns it; a changed config object makes a new version.

        The version's number is counted here; its `version_id` is taken from the changed row. Raises `Refused` (404).
        """
        return await self.run("keys", entities.edit_config, slug, change, self._vault)

    async def delete_config(self, slug: str) -> None:
        """Removes a config and its versions. Raises `Refused` (404)."""
        await self.run("keys", entities.delete, "config", (records.DELETE_VERSIONS, records.DELETE_CONFIG), slug)

    async def config_versions(self, slug: str) -> tuple[ConfigRow, ...]:
        """All versions of one config, newest first; none when there is no such config."""
        return await self.run("keys", entities.read_versions, slug, self._vault)

    async def append_usage(self, rows: list[tuple[object, ...]]) -> None:
        """Adds ledger rows, as `proxy.usage_columns` has them; a request id already there is skipped."""
        if rows:
            await self.run("ledger", ledger.append, rows)

    async def load_budgets(self) -> list[BudgetRow]:
        """What budgets have spent, as it was last written."""
        return await self.run("budgets", budgets.load)

    async def save_budgets(self, rows: list[BudgetRow]) -> None:
        """Writes what some have spent."""
        await self.run("budgets", budgets.save, rows)

    async def close(self) -> None:
        """Waits for what was begun and closes the connections. Calling it again does nothing."""
        if self._closed:
            return
        self._closed = True
        for lane in self._lanes.values():
            await lane.close()


_LANES: dict[str, tuple[bool, float]] = {"keys": (True, 5.0), "ledger": (False, 10.0), "reports": (False, 20.0)}
"""Lanes that are more durable or more patient (seconds for a statement) than others."""
