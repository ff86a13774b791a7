"""Rows as columns and back, and the SQL, which every database shares.

Structured values are JSON text, times integers, flags 0 or 1. What may hold a credential is sealed by the vault: a
virtual key's credential, provider fields and custom headers, and config objects as a whole (their targets may name
keys). Parameters are named (`:slug`); statements are written once and hold no value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from proxy.errors import StoreError
from proxy.ports import ApiKeyRow, ConfigRow, Limits, Secret, VirtualKeyRow
from proxy.usage_columns import COLUMNS, PENDING
from proxy.vault import Vault

Record = Mapping[str, Any]

_API_KEY_COLUMNS = (
    "id",
    "name",
    "digest",
    "scopes",
    "virtual_keys",
    "models",
    "config",
    "allow_config_override",
    "metadata",
    "limits",
    "description",
    "type",
    "sub_type",
    "expires_at",
    "previous_digest",
    "previous_expires_at",
    "created_at",
    "updated_at",
    "extra",
)
_VIRTUAL_KEY_COLUMNS = (
    "slug",
    "name",
    "provider",
    "credential",
    "custom_host",
    "models",
    "aliases",
    "default_model",
    "completions_mode",
    "fields",
    "custom_headers",
    "limits",
    "note",
    "expires_at",
    "created_at",
    "updated_at",
    "extra",
)
_CONFIG_COLUMNS = ("slug", "id", "name", "is_default", "version", "created_at", "updated_at")
_VERSION_COLUMNS = ("slug", "version", "version_id", "config", "created_at")


def _insert(table: str, columns: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(':' + name for name in columns)})"  # noqa: S608


def _update(table: str, columns: tuple[str, ...]) -> str:
    key, *rest = columns
    return f"UPDATE {table} SET {', '.join(f'{name} = :{name}' for name in rest)} WHERE {key} = :{key}"  # noqa: S608


def _select(table: str, columns: tuple[str, ...]) -> str:
    return f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608


READ_SEQ = "SELECT seq FROM changes WHERE id = 1"
RAISE_SEQ = "UPDATE changes SET seq = seq + 1 WHERE id = 1"

FIND_TABLE = {
    "sqlite": "SELECT 1 AS found FROM sqlite_master WHERE type = 'table' AND name = :name",
    "postgresql": "SELECT 1 AS found FROM pg_catalog.pg_tables WHERE tablename = :name "
    "AND schemaname = ANY (current_schemas(false))",
}

READ_META = "SELECT value FROM meta WHERE name = :name"
ADD_META = "INSERT INTO meta (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING"
WRITE_META = "UPDATE meta SET value = :value WHERE name = :name"

READ_API_KEYS = _select("api_keys", _API_KEY_COLUMNS) + " ORDER BY created_at, id"
READ_API_KEY = _select("api_keys", _API_KEY_COLUMNS) + " WHERE id = :key"
ADD_API_KEY = _insert("api_keys", _API_KEY_COLUMNS)
WRITE_API_KEY = _update("api_keys", _API_KEY_COLUMNS)
DELETE_API_KEY = "DELETE FROM api_keys WHERE id = :key"
# A token may be nobody else's, neither now nor in the overlap of a rotation.
FIND_SHARED_DIGEST = """
    SELECT 1 AS found FROM api_keys WHERE id <> :id
    AND (digest IN (:digest, :previous_digest) OR previous_digest IN (:digest, :previous_digest))
"""

READ_VIRTUAL_KEYS = _select("virtual_keys", _VIRTUAL_KEY_COLUMNS) + " ORDER BY created_at, slug"
READ_VIRTUAL_KEY = _select("virtual_keys", _VIRTUAL_KEY_COLUMNS) + " WHERE slug = :key"
ADD_VIRTUAL_KEY = _insert("virtual_keys", _VIRTUAL_KEY_COLUMNS)
WRITE_VIRTUAL_KEY = _update("virtual_keys", _VIRTUAL_KEY_COLUMNS)
DELETE_VIRTUAL_KEY = "DELETE FROM virtual_keys WHERE slug = :key"

_JOINED = """
    SELECT c.slug, c.id, c.name, c.is_default, c.created_at, {updated} AS updated_at, v.version, v.version_id, v.config
    FROM configs c JOIN config_versions v ON v.slug = c.slug
"""
_CURRENT = _JOINED.format(updated="c.updated_at") + " AND v.version = c.version"
READ_CONFIGS = _CURRENT + " ORDER BY c.created_at, c.slug"
READ_CONFIG = _CURRENT + " WHERE c.slug = :key"
READ_VERSIONS = _JOINED.format(updated="v.created_at") + " WHERE c.slug = :key ORDER BY v.version DESC"
ADD_CONFIG = _insert("configs", _CONFIG_COLUMNS)
ADD_VERSION = _insert("config_versions", _VERSION_COLUMNS)
WRITE_CONFIG = _update("configs", _CONFIG_COLUMNS)
WRITE_VERSION = "UPDATE config_versions SET config = :config WHERE slug = :slug AND version = :version"
DELETE_VERSIONS = "DELETE FROM config_versions WHERE slug = :key"
DELETE_CONFIG = "DELETE FROM configs WHERE slug = :key"
CLEAR_DEFAULTS = "UPDATE configs SET is_default = 0 WHERE slug <> :slug AND is_default <> 0"
READ_SEALED_VERSIONS = "SELECT slug, version, config FROM config_versions"


TRACED = "(trace_id = :trace_id AND trace_id <> request_id OR request_id = :trace_id AND trace_id = request_id)"
"""The condition for the ledger's rows of one trace: a request without a trace of its own has its id as one."""


STORED = (*COLUMNS, "faceted")
"""The columns of a ledger row as it is stored: whether the sums by day have it as well is our own affair."""


@lru_cache(3)
def find_usage(rows: int) -> str:
    """The statement that says which of so many ids have a ledger row."""
    return f"SELECT request_id FROM usage WHERE request_id IN ({', '.join('?' * rows)})"  # noqa: S608


_CHANGES = ", ".join(f"{name} = excluded.{name}" for name in STORED[1:])
_ADD = f"INSERT INTO usage ({', '.join(STORED)}) "
_UNLESS_THERE = (
    f" ON CONFLICT (request_id) DO UPDATE SET {_CHANGES} WHERE usage.outcome = '{PENDING}' RETURNING request_id"
)


def add_usage(query: str) -> str:
    """The statement that adds the ledger rows that a query gives, no two for one request. A request that is there
    already is skipped, unless it was still pending. Gives the ids of those that were not."""
    return f"{_ADD}{query}{_UNLESS_THERE}"


_limits = msgspec.json.Decoder(Limits)
_names = msgspec.json.Decoder(tuple[str, ...] | None)
_texts = msgspec.json.Decoder(dict[str, str])


def api_key_record(row: ApiKeyRow) -> dict[str, Any]:
    """The columns of an API key."""
    return {
        **{name: getattr(row, name) for name in _API_KEY_COLUMNS},
        "scopes": _text(row.scopes),
        "virtual_keys": _text(row.virtual_keys),
        "models": _text(row.models),
        "allow_config_override": int(row.allow_config_override),
        "metadata": _text(row.metadata),
        "limits": _text(msgspec.to_builtins(row.limits)),
        "extra": _text(row.extra),
    }


def api_key_row(record: Record) -> ApiKeyRow:
    """The API key that `api_key_record` described. Raises `StoreError` when a column is damaged."""
    try:
        return ApiKeyRow(
            **{
                **{name: record[name] for name in _API_KEY_COLUMNS},
                "scopes": _names.decode(record["scopes"]) or (),
                "virtual_keys": _names.decode(record["virtual_keys"]),
                "models": _names.decode(record["models"]),
                "allow_config_override": bool(record["allow_config_override"]),
                "metadata": _texts.decode(record["metadata"]),
                "limits": _limits.decode(record["limits"]),
                "extra": json.loads(record["extra"]),
            }
        )
    except ValueError as error:
        raise StoreError(f"api_keys {record['id']!r}: a column is damaged") from error


def virtual_key_record(row: VirtualKeyRow, vault: Vault) -> dict[str, Any]:
    """The columns of a virtual key, its secrets sealed."""
    return {
        "slug": row.slug,
        "name": row.name,
        "provider": row.provider,
        "credential": _seal(vault, row.key.reveal(), "virtual_keys", row.slug, "credential"),
        "custom_host": row.custom_host,
        "models": _text(row.models),
        "aliases": _text(row.aliases),
        "default_model": row.default_model,
        "completions_mode": row.completions_mode,
        "fields": _seal(vault, _text(row.fields) if row.fields else "", "virtual_keys", row.slug, "fields"),
        "custom_headers": _seal(
            vault, _text(row.custom_headers) if row.custom_headers else "", "virtual_keys", row.slug, "custom_headers"
        ),
        "limits": _text(msgspec.to_builtins(row.limits)),
        "note": row.note,
        "expires_at": row.expires_at,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "extra": _text(row.extra),
    }


def virtual_key_row(record: Record, vault: Vault) -> VirtualKeyRow:
    """The virtual key that `virtual_key_record` described. Raises `StoreError` when it does not decrypt."""
    slug = record["slug"]
    fields = _unseal(vault, record["fields"], "virtual_keys", slug, "fields")
    headers = _unseal(vault, record["custom_headers"], "virtual_keys", slug, "custom_headers")
    try:
        return VirtualKeyRow(
            slug=slug,
            name=record["name"],
            provider=record["provider"],
            key=Secret(_unseal(vault, record["credential"], "virtual_keys", slug, "credential")),
            custom_host=record["custom_host"],
            models=_names.decode(record["models"]),
            aliases=_texts.decode(record["aliases"]),
            default_model=record["default_model"],
            completions_mode=record["completions_mode"],
            fields=json.loads(fields) if fields else {},
            custom_headers=_texts.decode(headers) if headers else {},
            limits=_limits.decode(record["limits"]),
            note=record["note"],
            expires_at=record["expires_at"],
            created_at=record["created_at"],
            updated_at=record["updated_at"],
            extra=json.loads(record["extra"]),
        )
    except ValueError as error:
        raise StoreError(f"virtual_keys {slug!r}: a column is damaged") from error


SEALED_VIRTUAL_KEY_COLUMNS = ("credential", "fields", "custom_headers")


def config_records(row: ConfigRow, vault: Vault) -> tuple[dict[str, Any], dict[str, Any]]:
    """The columns of a config and of its current version."""
    head = {
        "slug": row.slug,
        "id": row.id,
        "name": row.name,
        "is_default": int(row.is_default),
        "version": row.version,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }
    version = {
        "slug": row.slug,
        "version": row.version,
        "version_id": row.version_id,
        "config": vault.seal(_text(row.config), **version_place(row.slug, row.version)),
        "created_at": row.updated_at,
    }
    return head, version


def config_row(record: Record, vault: Vault) -> ConfigRow:
    """The config, in one of its versions, that a joined record describes. Raises `StoreError`."""
    text = vault.unseal(record["config"], **version_place(record["slug"], record["version"]))
    return ConfigRow(
        slug=record["slug"],
        name=record["name"],
        config=json.loads(text),
        id=record["id"],
        version=record["version"],
        version_id=record["version_id"],
        is_default=bool(record["is_default"]),
        created_at=record["created_at"],
        updated_at=record["updated_at"],
    )


def version_place(slug: str, version: int) -> dict[str, str]:
    """Where a version's config object is sealed for."""
    return {"table": "config_versions", "row": f"{slug}@{version}", "column": "config"}


def _text(value: object) -> str:
    # The standard library's: it keeps integers of any size, and floats as they were written.
    return json.dumps(value, separators=(",", ":"))


def _seal(vault: Vault, text: str, table: str, row: str, column: str) -> str:
    return vault.seal(text, table=table, row=row, column=column) if text else ""


def _unseal(vault: Vault, sealed: str, table: str, row: str, column: str) -> str:
    return vault.unseal(sealed, table=table, row=row, column=column) if sealed else ""
