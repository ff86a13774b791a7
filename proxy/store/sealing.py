"""Whether the master key is the store's, and taking everything over to a new one."""

from __future__ import annotations

from proxy.errors import StartupError, StoreError
from proxy.store import records
from proxy.store.engine import Connection
from proxy.vault import VARIABLE, Vault

_CHECK = {"table": "meta", "row": "vault_check", "column": "value"}
_CHECK_TEXT = "loopway"


def verify(connection: Connection, vault: Vault, label: str) -> None:
    """Refuses to go on with a master key that is not the store's. Raises StartupError."""
    name = {"name": _CHECK["row"]}
    found = connection.execute(records.READ_META, name).fetchone()
    if found is None:
        with connection.writing():
            connection.execute(records.ADD_META, {**name, "value": vault.seal(_CHECK_TEXT, **_CHECK)})
        found = connection.execute(records.READ_META, name).fetchone()
    try:
        vault.unseal(found["value"], **_CHECK)
    except StoreError as error:
        raise StartupError(
            f"the store {label} was encrypted under another master key than the one in {vault.origin}; "
            f"set {VARIABLE} to the right one, or put the file master.key back"
        ) from error


def reseal(connection: Connection, vault: Vault) -> None:
    """Seals everything under the vault's first key that is sealed under an older one. One transaction."""
    with connection.writing():
        changed = 0
        for record in connection.execute(records.READ_VIRTUAL_KEYS).fetchall():
            if not all(_fresh(vault, record[column]) for column in records.SEALED_VIRTUAL_KEY_COLUMNS):
                row = records.virtual_key_row(record, vault)
                changed += connection.execute(
                    records.WRITE_VIRTUAL_KEY, records.virtual_key_record(row, vault)
                ).rowcount
        for record in connection.execute(records.READ_SEALED_VERSIONS).fetchall():
            if not _fresh(vault, record["config"]):
                place = records.version_place(record["slug"], record["version"])
                sealed = vault.seal(vault.unseal(record["config"], **place), **place)
                changed += connection.execute(records.WRITE_VERSION, {**dict(record), "config": sealed}).rowcount
        connection.execute(records.WRITE_META, {"name": _CHECK["row"], "value": vault.seal(_CHECK_TEXT, **_CHECK)})
        if changed:
            connection.execute(records.RAISE_SEQ)


def _fresh(vault: Vault, sealed: str) -> bool:
    return not sealed or vault.sealed_by_current(sealed)
