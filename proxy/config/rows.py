"""How virtual keys, API keys and configs stand in the configuration file: tables of what they hold, and their rows."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from msgspec import UNSET

from adapters.providers import PROVIDERS, RETIRED
from proxy import scopes
from proxy.config import objects
from proxy.config.checks import Path
from proxy.config.fields import PROVIDER_FIELDS, SECRET_FIELDS
from proxy.config.near import hint
from proxy.config.read import (
    Field,
    Reader,
    Source,
    choice,
    duration,
    flag,
    header_fault,
    header_value,
    host_url,
    integer,
    listing,
    mapping,
    matching,
    moment,
    named,
    plain,
    positive,
    record,
    secret,
    secret_text,
    text,
)
from proxy.config.tree import Value
from proxy.ports import ApiKeyRow, Budget, ConfigRow, Limits, ModelLimits, Queue, Rates, Secret, VirtualKeyRow

# Limits

_RATES = record(dict.fromkeys(("per_second", "per_minute", "per_hour", "per_day"), Field(integer(1))), Rates)
_WINDOW = matching(
    r"daily|weekly|monthly|total|(?:[1-9]|[1-9]\d|[12]\d\d|3[0-5]\d|36[0-5])d",
    "expected daily, weekly, monthly, total, or a number of days such as 14d (1d to 365d)",
)
_BUDGET = record(
    {
        "usd": Field(positive),
        "tokens": Field(integer(1)),
        "window": Field(_WINDOW),
        "alert_threshold": Field(positive),
        "webhook": Field(host_url),
        "unknown_price": Field(choice(("refuse", "allow"))),
    },
    Budget,
)


def _budget(source: Source, value: Value, path: str) -> Any:
    budget = _BUDGET(source, value, path)
    if budget is not UNSET and budget.usd is None and budget.tokens is None:
        return source.bad(value, path, "needs 'usd' or 'tokens'")
    return budget


_MODEL_LIMITS = record(
    {"concurrency": Field(integer(1)), "requests": Field(_RATES), "tokens": Field(_RATES)}, ModelLimits
)
LIMITS = record(
    {
        "concurrency": Field(integer(1)),
        "queue": Field(record({"size": Field(integer(0, 1_000_000)), "timeout": Field(duration)}, Queue)),
        "requests": Field(_RATES),
        "tokens": Field(_RATES),
        "budget": Field(_budget),
        "models": Field(mapping(_MODEL_LIMITS)),
        "priority": Field(choice(("high", "normal", "low"))),
    },
    Limits,
)


# Virtual keys

_slug = matching(
    r"(?!(?:cf|hf)\Z)[^\s/@,\"'{}\[\]\x00-\x1f]{1,128}",
    "a slug has up to 128 characters, none of them a space, '/', '@', a comma, a quote or a bracket; "
    "'cf' and 'hf' are taken",
)


def _provider(source: Source, value: Value, path: str) -> Any:
    given = text(source, value, path)
    if given is UNSET or given in PROVIDERS:
        return given
    if given in RETIRED:
        return source.bad(value, path, f"the provider {given} is no more: {RETIRED[given]}")
    return source.bad(value, path, f"unknown provider{hint(given, PROVIDERS) or '; its id is one such as openai'}")


def _json_object(source: Source, value: Value, path: str) -> Any:
    """A mapping, or its JSON as text, or a reference to that; a service account's key file comes in all three ways."""
    if isinstance(value.data, dict):
        return plain(source, value, path, (), ())
    given = secret_text(source, value, path)
    if given is UNSET:
        return UNSET
    try:
        return msgspec.json.decode(given, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return source.bad(value, path, "expected a mapping, or a reference to a file with its JSON")


def _json_objects(source: Source, value: Value, path: str) -> Any:
    if all(isinstance(item.data, dict) for item in value.items()) and isinstance(value.data, list):
        return plain(source, value, path, (), ())
    return source.expected("a list of mappings", value, path)


_FIELD_READERS: dict[str, Reader] = {"text": text, "flag": flag, "object": _json_object, "objects": _json_objects}

_CREDENTIAL_FIELDS = SECRET_FIELDS | {"azure_auth_mode", "aws_auth_type", "aws_role_arn", "vertex_auth_type"}
"""With one of these a virtual key needs no `key`: the credential is there, or is fetched."""


def _virtual_key_row(**given: Any) -> VirtualKeyRow:
    fields = {name: given.pop(name) for name in tuple(given) if name in PROVIDER_FIELDS}
    given.setdefault("name", given["slug"])
    given.setdefault("key", Secret(""))
    return VirtualKeyRow(**given, fields=fields, origin="file")


_VIRTUAL_KEY = record(
    {
        "slug": Field(_slug, required=True),
        "name": Field(named),
        "provider": Field(_provider, required=True),
        "key": Field(secret),
        "custom_host": Field(host_url),
        "models": Field(listing(named)),
        "aliases": Field(mapping(named)),
        "default_model": Field(named),
        "completions_mode": Field(choice(("auto", "legacy", "messages"))),
        "custom_headers": Field(mapping(header_value, header_fault)),
        "note": Field(text),
        "expires_at": Field(moment),
        "limits": Field(LIMITS),
        **{
            name: Field(secret_text if name in SECRET_FIELDS and kind == "text" else _FIELD_READERS[kind])
            for name, kind in PROVIDER_FIELDS.items()
        },
    },
    _virtual_key_row,
)


def virtual_key(source: Source, value: Value, path: str) -> Any:
    """A `VirtualKeyRow`."""
    row = _VIRTUAL_KEY(source, value, path)
    if row is UNSET:
        return UNSET
    provider = PROVIDERS[row.provider]
    if provider.host_required and row.custom_host is None:
        source.bad(value, f"{path}.custom_host", f"is missing. {provider.homeless}")
    key = value.get("key")
    # Where a credential may also be in fields, its own reader says what is missing; but for an empty variable.
    needed = provider.key_required or (provider.signer is not None and key is not None and key.replaced)
    if not row.key and needed and not _CREDENTIAL_FIELDS & row.fields.keys():
        if key is None:
            return source.bad(value, f"{path}.key", "is missing; give the credential, or env:NAME, or file:PATH")
        if not key.replaced:
            return source.bad(key, f"{path}.key", "must not be empty")
        source.problems.warn(key.at, f"{path}.key", "is empty; this virtual key is left out")
        return UNSET
    return row


# API keys


def _token(source: Source, value: Value, path: str) -> Any:
    """The SHA-256 of a credential of this gateway, in hex; "" for one that is empty because its variable is."""
    given = secret_text(source, value, path)
    if given is UNSET:
        return UNSET
    if not given:
        return given if value.replaced else source.bad(value, path, "must not be empty")
    if given != given.strip() or not all(" " <= character <= "~" for character in given):
        return source.bad(value, path, "has characters that no header can carry")
    return hashlib.sha256(given.encode()).hexdigest()


_hash = matching(r"sha256:[0-9a-fA-F]{64}", "expected sha256: and 64 hexadecimal digits")


def _metadata_value(source: Source, value: Value, path: str) -> Any:
    given = text(source, value, path)
    return source.bad(value, path, "may have 128 characters") if given is not UNSET and len(given) > 128 else given


def _api_key_row(**given: Any) -> ApiKeyRow:
    digest = given.pop("key", None)
    if digest is None:
        digest = given.pop("hash", "").removeprefix("sha256:").lower()
    given.pop("hash", None)
    group = given.pop("cache_group", None)
    if group is not None:
        given["extra"] = {"cache_group": group}
    return ApiKeyRow(id=f"file-{given['name']}", digest=digest, **given, origin="file")


_API_KEY = record(
    {
        "name": Field(named, required=True),
        "key": Field(_token),
        "hash": Field(_hash),
        "scopes": Field(listing(choice(scopes.KNOWN))),
        "virtual_keys": Field(listing(_slug)),
        "models": Field(listing(named)),
        "config": Field(named),
        "allow_config_override": Field(flag),
        "metadata": Field(mapping(_metadata_value)),
        "cache_group": Field(named),
        "description": Field(text),
        "expires_at": Field(moment),
        "limits": Field(LIMITS),
    },
    _api_key_row,
)


def api_key(source: Source, value: Value, path: str) -> Any:
    """An `ApiKeyRow`; UNSET, with a warning, for one whose credential is empty because its variable is."""
    row = _API_KEY(source, value, path)
    if not isinstance(value.data, dict):
        return UNSET
    given = value.data.keys() & {"key", "hash"}
    if len(given) != 1:
        problem = "give 'key' or 'hash', not both" if given else "is missing; give 'key', or 'hash' as sha256:…"
        return source.bad(value, f"{path}.key", problem)
    if row is not UNSET and not row.digest:
        source.problems.warn(value.data["key"].at, f"{path}.key", "is empty; this key is left out")
        return UNSET
    return row


# Configs

_config_slug = matching(
    r"pc-[A-Za-z0-9._-]{1,128}", "a config's slug begins with pc-, then letters, digits, '.', '_' or '-'"
)
_TEXT_KEYS = frozenset(
    {"provider", "virtual_key", "api_key", "custom_host", "name", "then", "default"}
    | {name for name, kind in PROVIDER_FIELDS.items() if kind == "text"}
)
_SECRET_KEYS = SECRET_FIELDS | {"api_key"}


def _config_object(source: Source, value: Value, path: str) -> Any:
    """A config object as plain data, sound."""
    if not isinstance(value.data, dict):
        return source.expected("a mapping", value, path)
    raw = plain(source, value, path, _SECRET_KEYS, _TEXT_KEYS)
    node, findings, warnings = objects.examine(raw)
    for finding in findings:
        at = value.walk(finding.path)
        if not at.broken:
            source.bad(at, _below(path, finding.path), finding.message)
    for finding in warnings:
        above = value.walk(finding.path[:-1])
        key = str(finding.path[-1])
        if finding.unknown:
            source.problems.find(above.keys.get(key, above.at), _below(path, finding.path), finding.message)
        else:
            source.problems.warn(value.walk(finding.path).at, _below(path, finding.path), finding.message)
    return UNSET if node is None else raw


def _below(path: str, steps: Path) -> str:
    return path + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def _config_row(**given: Any) -> ConfigRow:
    slug = given["slug"]
    # The same content has the same version in every process that reads the file.
    version = hashlib.sha256(msgspec.json.encode(given["config"], order="sorted")).hexdigest()[:16]
    return ConfigRow(
        slug=slug,
        name=given.get("name", slug),
        config=given["config"],
        id=f"file-{slug}",
        version_id=version,
        is_default=given.get("is_default", False),
        origin="file",
    )


config = record(
    {
        "slug": Field(_config_slug, required=True),
        "name": Field(named),
        "config": Field(_config_object, required=True),
        "is_default": Field(flag),
    },
    _config_row,
)
