"""Reading the ledger: sums by whatever somebody wants to know, from sums by day where those say it, else from rows.

A report over months reads `usage_days` for its whole days and single rows for what is left at its two ends. What only
rows know (hours, metadata, statuses, configs, and whatever is filtered by them) is read from rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from proxy.store.engine import Connection
from proxy.store.records import TRACED
from proxy.store.sums import DAY, DAY_SUMS, DOLLARS, NAMES, RAW_SUMS

_PLAIN = {
    "key": "api_key",
    "virtual_key": "virtual_key",
    "provider": "provider",
    "model": "model",
    "config": "config",
    "status": "status",
    "outcome": "outcome",
    "cache": "cache",
}
_BY_DAY = {"key": "api_key", "virtual_key": "virtual_key", "provider": "provider", "model": "model", "day": "day"}
DIMENSIONS: tuple[str, ...] = (*_PLAIN, "day", "hour")
"""What sums can be had by; beside `metadata:NAME` and `step:MILLISECONDS`."""


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests count. Times are Unix milliseconds, `until` is not included; costs are US dollars. Empty: all.

    `models` are (provider or None, model). `metadata` must all be there.
    """

    since: int = 0
    until: int = 2**62
    keys: tuple[str, ...] = ()
    virtual_keys: tuple[str, ...] = ()
    models: tuple[tuple[str | None, str], ...] = ()
    configs: tuple[str, ...] = ()
    statuses: tuple[int, ...] = ()
    caches: tuple[str, ...] = ()
    trace: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    cost: tuple[float | None, float | None] = (None, None)
    tokens: tuple[int | None, int | None] = (None, None)
    input: tuple[int | None, int | None] = (None, None)
    output: tuple[int | None, int | None] = (None, None)

    @property
    def by_day(self) -> bool:
        """Whether sums by day know everything that is asked."""
        plain = Filter(
            since=self.since, until=self.until, keys=self.keys, virtual_keys=self.virtual_keys, models=self.models
        )
        return plain == self


_SETTLED = "at >= :since AND at < :until AND outcome <> 'pending'"

Group = tuple[Any, ...]
Sums = dict[str, float]


def sums(connection: Connection, by: Sequence[str], wanted: Filter) -> dict[Group, Sums]:
    """The sums of all requests that `wanted` describes, for each set of values of the dimensions `by`."""
    found: dict[Group, Sums] = {}
    first, last = -(-wanted.since // DAY), wanted.until // DAY
    with connection.reading():
        if wanted.by_day and all(name in _BY_DAY for name in by) and first < last:
            _merge(found, _from_days(connection, by, wanted, first, last), by)
            ends = ((wanted.since, first * DAY), (last * DAY, wanted.until))
        else:
            ends = ((wanted.since, wanted.until), (0, 0))
        for since, until in ends:
            if since < until:
                part = msgspec.structs.replace(wanted, since=since, until=until)
                _merge(found, _from_rows(connection, by, part), by)
    return found


def latencies(connection: Connection, step: int, wanted: Filter) -> dict[int, dict[int, int]]:
    """How many requests took how long, for each step of so many milliseconds: durations (microseconds) by their three
    leading digits, which is exact to one in a hundred."""
    where, parameters = _where(connection, wanted)
    text = "CAST(duration_us AS TEXT)"
    found: dict[int, dict[int, int]] = {}
    for row in connection.execute(
        f"SELECT {_step(step)} AS bucket, length({text}) AS digits, substr({text}, 1, 3) AS lead, COUNT(*) AS requests "  # noqa: S608
        f"FROM usage WHERE {where} AND duration_us IS NOT NULL GROUP BY 1, 2, 3",
        parameters,
    ).fetchall():
        lead = str(row["lead"])
        duration = int(lead) * 10 ** (int(row["digits"]) - len(lead))
        bucket = found.setdefault(int(row["bucket"]), {})
        bucket[duration] = bucket.get(duration, 0) + int(row["requests"])
    return found


def distinct(connection: Connection, step: int, name: str, wanted: Filter) -> tuple[int, dict[int, int]]:
    """How many values of a metadata field there were, at all and in each step of so many milliseconds."""
    where, parameters = _where(connection, wanted)
    value = _metadata(connection, "named", name, parameters)
    counts: dict[int, int] = {}
    for row in connection.execute(
        f"SELECT {_step(step)} AS bucket, COUNT(DISTINCT {value}) AS found FROM usage WHERE {where} GROUP BY 1",  # noqa: S608
        parameters,
    ).fetchall():
        counts[int(row["bucket"])] = int(row["found"])
    total = connection.execute(f"SELECT COUNT(DISTINCT {value}) AS found FROM usage WHERE {where}", parameters)  # noqa: S608
    return int(total.fetchone()["found"]), counts


def _merge(found: dict[Group, Sums], rows: Iterable[Any], by: Sequence[str]) -> None:
    for row in rows:
        group = tuple(row[f"g{index}"] for index in range(len(by)))
        # What a request does not have is empty text in sums by day and nothing in rows.
        group = tuple(None if value == "" else value for value in group)
        if not row["requests"]:
            continue
        total = found.setdefault(group, dict.fromkeys(NAMES, 0))
        for name in NAMES:
            total[name] += float(row[name] or 0) if name in DOLLARS else int(row[name] or 0)


def _from_days(connection: Connection, by: Sequence[str], wanted: Filter, first: int, last: int) -> list[Any]:
    where, parameters = _where(connection, wanted)
    parameters |= {"first": first, "last": last}
    columns = "".join(f"{_BY_DAY[name]} AS g{index}, " for index, name in enumerate(by))
    where = where.replace(_SETTLED, "day >= :first AND day < :last", 1)
    return connection.execute(
        f"SELECT {columns}{DAY_SUMS} FROM usage_days WHERE {where}{_grouped(by)}",  # noqa: S608
        parameters,
    ).fetchall()


def _from_rows(connection: Connection, by: Sequence[str], wanted: Filter) -> list[Any]:
    where, parameters = _where(connection, wanted)
    columns = "".join(
        f"{_expression(connection, name, index, parameters)} AS g{index}, " for index, name in enumerate(by)
    )
    return connection.execute(
        f"SELECT {columns}{RAW_SUMS} FROM usage WHERE {where}{_grouped(by)}",  # noqa: S608
        parameters,
    ).fetchall()


def _grouped(by: Sequence[str]) -> str:
    return f" GROUP BY {', '.join(str(index + 1) for index in range(len(by)))}" if by else ""


def _expression(connection: Connection, name: str, index: int, parameters: dict[str, Any]) -> str:
    if name in _PLAIN:
        return _PLAIN[name]
    kind, _, value = name.partition(":")
    if kind == "metadata":
        return _metadata(connection, f"group_{index}", value, parameters)
    return f"at / {DAY}" if kind == "day" else "at / 3600000" if kind == "hour" else _step(int(value))


def _step(milliseconds: int) -> str:
    return f"at - at % {milliseconds}"


def _metadata(connection: Connection, parameter: str, name: str, parameters: dict[str, Any]) -> str:
    """The value of a metadata field. The name is a parameter, in a JSON path for SQLite."""
    if connection.kind == "postgresql":
        parameters[parameter] = name
        return f"CAST(metadata AS json) ->> CAST(:{parameter} AS text)"
    parameters[parameter] = '$."' + name.replace('"', "") + '"'
    return f"json_extract(metadata, :{parameter})"


def _where(connection: Connection, wanted: Filter) -> tuple[str, dict[str, Any]]:
    """The conditions and their parameters."""
    conditions = [_SETTLED]
    parameters: dict[str, Any] = {"since": wanted.since, "until": min(wanted.until, 2**62)}

    def among(column: str, values: Sequence[object], name: str) -> None:
        if values:
            parameters.update({f"{name}_{index}": value for index, value in enumerate(values)})
            conditions.append(f"{column} IN ({', '.join(f':{name}_{index}' for index in range(len(values)))})")

    among("api_key", wanted.keys, "key")
    among("virtual_key", wanted.virtual_keys, "slug")
    among("config", wanted.configs, "config")
    among("status", wanted.statuses, "status")
    among("cache", wanted.caches, "cache")
    if wanted.models:
        each = []
        for index, (provider, model) in enumerate(wanted.models):
            parameters[f"model_{index}"] = model
            each.append(f"model = :model_{index}")
            if provider is not None:
                parameters[f"provider_{index}"] = provider
                each[-1] += f" AND provider = :provider_{index}"
        conditions.append(f"({' OR '.join(each)})")
    if wanted.trace is not None:
        parameters["trace_id"] = wanted.trace
        conditions.append(TRACED)
    for index, (name, value) in enumerate(wanted.metadata):
        parameters[f"value_{index}"] = value
        conditions.append(f"{_metadata(connection, f'name_{index}', name, parameters)} = :value_{index}")
    for column, name in (
        ("cost", "cost"),
        ("(input_tokens + output_tokens)", "tokens"),
        ("input_tokens", "input"),
        ("output_tokens", "output"),
    ):
        for bound, sign, word in zip(getattr(wanted, name), (">=", "<="), ("least", "most"), strict=True):
            if bound is not None:
                parameters[f"{name}_{word}"] = bound
                conditions.append(f"{column} {sign} :{name}_{word}")
    return " AND ".join(conditions), parameters
