"""Jobs on keys, virtual keys, configs and prices: read, add, change, delete, each in one transaction.

Every change begins with raising the change number, whose row is then locked: changes come one after the other, on every
database, and what one reads is what the one before it left.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from adapters.errors import Kind
from proxy.errors import Refused
from proxy.ports import ApiKeyRow, ConfigRow, Rows, VirtualKeyRow
from proxy.store import prices, records
from proxy.store.changes import changing
from proxy.store.engine import Connection, Record
from proxy.vault import Vault


def read_seq(connection: Connection) -> int:
    """The number of the last change."""
    return int(connection.execute(records.READ_SEQ).fetchone()["seq"])


def read_rows(connection: Connection, vault: Vault) -> Rows:
    """All rows as of one moment, decrypted."""
    with connection.reading():
        seq = read_seq(connection)
        api_keys = connection.execute(records.READ_API_KEYS).fetchall()
        virtual_keys = connection.execute(records.READ_VIRTUAL_KEYS).fetchall()
        configs = connection.execute(records.READ_CONFIGS).fetchall()
        single, table = prices.read(connection), prices.read_version(connection)
    return Rows(
        seq=seq,
        api_keys=tuple(records.api_key_row(record) for record in api_keys),
        virtual_keys=tuple(records.virtual_key_row(record, vault) for record in virtual_keys),
        configs=tuple(records.config_row(record, vault) for record in configs),
        prices=single,
        price_table=table,
    )


def insert_api_key(connection: Connection, row: ApiKeyRow) -> None:
    """Adds a key. Raises Refused (409)."""
    record = records.api_key_record(row)
    with changing(connection):
        if _one(connection, records.READ_API_KEY, row.id) is not None:
            raise _taken(f"there is an API key with the id '{row.id}' already")
        _refuse_shared_token(connection, record)
        connection.execute(records.ADD_API_KEY, record)


def edit_api_key(connection: Connection, id: str, change: Callable[[ApiKeyRow], ApiKeyRow]) -> ApiKeyRow:
    """Changes a key and returns it. Raises Refused (404, 409)."""
    with changing(connection):
        row = change(records.api_key_row(_found(connection, records.READ_API_KEY, "API key", id)))
        record = records.api_key_record(row)
        _refuse_shared_token(connection, record)
        connection.execute(records.WRITE_API_KEY, record)
    return row


def _refuse_shared_token(connection: Connection, record: Record) -> None:
    if connection.execute(records.FIND_SHARED_DIGEST, record).fetchone() is not None:
        raise _taken("another API key has this key text already", "key")


def insert_virtual_key(connection: Connection, row: VirtualKeyRow, vault: Vault) -> None:
    """Adds a virtual key. Raises Refused (409)."""
    record = records.virtual_key_record(row, vault)
    with changing(connection):
        if _one(connection, records.READ_VIRTUAL_KEY, row.slug) is not None:
            raise _taken(f"there is a virtual key '{row.slug}' already", "slug")
        connection.execute(records.ADD_VIRTUAL_KEY, record)


def edit_virtual_key(
    connection: Connection, slug: str, change: Callable[[VirtualKeyRow], VirtualKeyRow], vault: Vault
) -> VirtualKeyRow:
    """Changes a virtual key and returns it. Raises Refused (404)."""
    with changing(connection):
        record = _found(connection, records.READ_VIRTUAL_KEY, "virtual key", slug)
        row = change(records.virtual_key_row(record, vault))
        connection.execute(records.WRITE_VIRTUAL_KEY, records.virtual_key_record(row, vault))
    return row


def insert_config(connection: Connection, row: ConfigRow, vault: Vault) -> None:
    """Adds a config with its first version. Raises Refused (409)."""
    head, version = records.config_records(row, vault)
    with changing(connection):
        if _one(connection, records.READ_CONFIG, row.slug) is not None:
            raise _taken(f"there is a config '{row.slug}' already", "slug")
        if row.is_default:
            connection.execute(records.CLEAR_DEFAULTS, head)
        connection.execute(records.ADD_CONFIG, head)
        connection.execute(records.ADD_VERSION, version)


def edit_config(connection: Connection, slug: str, change: Callable[[ConfigRow], ConfigRow], vault: Vault) -> ConfigRow:
    """Changes a config and returns it; a changed config object makes a new version. Raises Refused (404)."""
    with changing(connection):
        old = records.config_row(_found(connection, records.READ_CONFIG, "config", slug), vault)
        new = change(old)
        changed = new.config != old.config
        if changed:
            new = msgspec.structs.replace(new, version=old.version + 1)
        else:
            new = msgspec.structs.replace(new, version=old.version, version_id=old.version_id)
        head, version = records.config_records(new, vault)
        if new.is_default:
            connection.execute(records.CLEAR_DEFAULTS, head)
        connection.execute(records.WRITE_CONFIG, head)
        if changed:
            connection.execute(records.ADD_VERSION, version)
    return new


def read_versions(connection: Connection, slug: str, vault: Vault) -> tuple[ConfigRow, ...]:
    """All versions of one config, newest first."""
    found = connection.execute(records.READ_VERSIONS, {"key": slug}).fetchall()
    return tuple(records.config_row(record, vault) for record in found)


def delete(connection: Connection, what: str, statements: tuple[str, ...], key: str) -> None:
    """Removes an entity with all that belongs to it. Raises Refused (404)."""
    with changing(connection):
        gone = 0
        for statement in statements:
            gone += connection.execute(statement, {"key": key}).rowcount
        if not gone:
            raise _missing(what, key)


def _one(connection: Connection, statement: str, key: str) -> Record | None:
    record: Record | None = connection.execute(statement, {"key": key}).fetchone()
    return record


def _found(connection: Connection, statement: str, what: str, key: str) -> Record:
    record = _one(connection, statement, key)
    if record is None:
        raise _missing(what, key)
    return record


def _missing(what: str, key: str) -> Refused:
    return Refused(Kind.NOT_FOUND, f"there is no {what} '{key}'")


def _taken(message: str, param: str | None = None) -> Refused:
    return Refused(Kind.CONFLICT, message, param=param)
