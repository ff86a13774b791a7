"""Whether the master key is the store's, and taking everything over to a new one."""

from __future__ import annotations

import msgspec

from proxy.errors import StartupError, StoreError
from proxy.store import records
from proxy.store.engine import Connection
from proxy.store.logs import BODIES
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


class Resealed(msgspec.Struct, frozen=True):
    """One batch: how many bodies were sealed afresh, how many no key opens, and the id to go on behind (None: done)."""

    done: int
    lost: int
    after: str | None


def reseal_bodies(connection: Connection, vault: Vault, after: str = "", size: int = 100) -> Resealed:
    """Seals the next bodies of the log under the vault's first key, in one transaction.

    What is under that key already is passed over without being read, so whoever is killed may simply begin again.
    What no key of the vault opens stays as it is.
    """
    with connection.writing():
        found = connection.execute(
            "SELECT request_id, request, response FROM bodies WHERE request_id > :after "
            "AND (request NOT LIKE :fresh OR response NOT LIKE :fresh) ORDER BY request_id LIMIT :size",
            {"after": after, "fresh": f"{vault.seals_with}%", "size": size},
        ).fetchall()
        lost = 0
        for row in found:
            id = row["request_id"]
            try:
                sealed = {
                    column: vault.seal(
                        vault.unseal(row[column], table=BODIES, row=id, column=column),
                        table=BODIES, row=id, column=column,
                    )
                    for column in ("request", "response")
                }  # fmt: skip
            except StoreError:
                lost += 1
                continue
            connection.execute(
                "UPDATE bodies SET request = :request, response = :response WHERE request_id = :id",
                {**sealed, "id": id},
            )
    return Resealed(len(found) - lost, lost, found[-1]["request_id"] if len(found) == size else None)
