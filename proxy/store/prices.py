"""Jobs on prices: single ones that administrators set, and a whole table in place of the shipped one."""

from __future__ import annotations

from proxy.ports import PriceRow
from proxy.store.changes import changing
from proxy.store.engine import Connection

_PUT = """
    INSERT INTO prices (provider, model, entry, updated_at) VALUES (:provider, :model, :entry, :updated_at)
    ON CONFLICT (provider, model) DO UPDATE SET entry = excluded.entry, updated_at = excluded.updated_at
"""
_PUT_TABLE = """
    INSERT INTO price_tables (id, version, content, updated_at) VALUES (1, :version, :content, :updated_at)
    ON CONFLICT (id) DO UPDATE
    SET version = excluded.version, content = excluded.content, updated_at = excluded.updated_at
"""


def read(connection: Connection) -> tuple[PriceRow, ...]:
    """The single prices."""
    found = connection.execute("SELECT provider, model, entry, updated_at FROM prices ORDER BY provider, model")
    return tuple(PriceRow(**dict(row)) for row in found.fetchall())


def put(connection: Connection, row: PriceRow) -> None:
    """Sets one price."""
    with changing(connection):
        connection.execute(
            _PUT,
            {"provider": row.provider, "model": row.model, "entry": row.entry, "updated_at": row.updated_at},
        )


def delete(connection: Connection, provider: str, model: str) -> bool:
    """Removes one price; whether there was one."""
    with changing(connection):
        statement = "DELETE FROM prices WHERE provider = :provider AND model = :model"
        return connection.execute(statement, {"provider": provider, "model": model}).rowcount > 0


def read_version(connection: Connection) -> str | None:
    """Which table takes the place of the shipped one: its version and when it came, None where none does."""
    found = connection.execute("SELECT version, updated_at FROM price_tables WHERE id = 1").fetchone()
    return None if found is None else f"{found['version']}@{found['updated_at']}"


def read_table(connection: Connection) -> bytes | None:
    """That table as JSON."""
    found = connection.execute("SELECT content FROM price_tables WHERE id = 1").fetchone()
    return None if found is None else str(found["content"]).encode()


def put_table(connection: Connection, version: str, content: bytes, now: int) -> None:
    """Replaces it. The content must have been checked."""
    with changing(connection):
        connection.execute(_PUT_TABLE, {"version": version, "content": content.decode(), "updated_at": now})


def drop_table(connection: Connection) -> bool:
    """Goes back to the shipped table; whether there was another."""
    with changing(connection):
        return connection.execute("DELETE FROM price_tables WHERE id = 1").rowcount > 0
