"""The section `prices:` of the configuration file: a table of one's own, and single models' prices."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from msgspec import UNSET

from proxy.config.read import Field, Source, mapping, named, record
from proxy.config.tree import Value
from proxy.errors import PriceError
from proxy.prices import PIECES, TIERS, Entry, Rates, Table, Tier, decode_table, table_of


class PriceSettings(msgspec.Struct, frozen=True):
    """`file` takes the place of the shipped table; `models` win over everything."""

    file: Table | None = None
    models: Table | None = None

    @property
    def tables(self) -> tuple[Table, ...]:
        """Both that are there, the more authoritative first."""
        return tuple(table for table in (self.models, self.file) if table is not None)


def _rate(source: Source, value: Value, path: str) -> Any:
    """US dollars per million tokens."""
    if isinstance(value.data, bool) or not isinstance(value.data, int | float):
        return source.expected("a number of US dollars per million tokens", value, path)
    return float(value.data) if 0 <= value.data <= 1_000_000 else source.bad(value, path, "must be from 0 to 1000000")


def _threshold(key: str) -> str | None:
    fine = key.isascii() and key.isdigit() and len(key) <= 9 and key[0] != "0"
    return None if fine else "expected a number of input tokens"


def _factor(source: Source, value: Value, path: str) -> Any:
    """By how much rates are multiplied."""
    if isinstance(value.data, bool) or not isinstance(value.data, int | float):
        return source.expected("a number that rates are multiplied with", value, path)
    return float(value.data) if 0 < value.data <= 100 else source.bad(value, path, "must be above 0, and 100 at most")


_RATES = {name: Field(_rate) for name in Rates.__struct_fields__}
_TIER = {**_RATES, "above": Field(mapping(record(_RATES, Rates), _threshold))}
_READ_ENTRY = record(
    {
        **_TIER,
        **dict.fromkeys(TIERS, Field(record(_TIER, Tier))),
        "regions": Field(mapping(_factor)),
        "same_as": Field(named),
    },
    Entry,
)


def _entry(source: Source, value: Value, path: str) -> Any:
    """A model's prices."""
    entry = _READ_ENTRY(source, value, path)
    if isinstance(entry, Entry) and not entry.complete:
        return source.bad(value, path, f"needs 'input', or the price of a piece: {', '.join(PIECES)}")
    return entry


def _models(source: Source, value: Value, path: str) -> Any:
    """A table of the prices written here; its version follows from what it says."""
    given = mapping(mapping(_entry))(source, value, path)
    if given is UNSET:
        return UNSET
    version = hashlib.sha256(msgspec.json.encode(given, order="deterministic")).hexdigest()[:12]
    return table_of(
        f"file-{version}", ((provider, model, entry) for provider in given for model, entry in given[provider].items())
    )


def _file(source: Source, value: Value, path: str) -> Any:
    """A table from a file of its own, relative to this file's folder."""
    name = named(source, value, path)
    if name is UNSET:
        return UNSET
    file = source.folder / name
    source.files.append(file)
    try:
        text = file.read_bytes()
        source.digest.update(text)
        return decode_table(text)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a file name"
        return source.bad(value, path, f"the file {file} cannot be read: {reason}")
    except PriceError as error:
        return source.bad(value, path, f"the file {file} cannot be used: {error}")


PRICES = record({"file": Field(_file), "models": Field(_models)}, PriceSettings)
"""Gives `PriceSettings`."""
