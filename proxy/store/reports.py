"""Reading the ledger: sums by whatever somebody wants to know, from sums by day where those say it, else from rows.

A report over months reads sums for its whole days and single rows for what is left at its two ends. `usage_days` has
them by keys and models, `usage_facets` by one thing besides (`sums.FACETS`, a field of the metadata). What only rows
know (hours, two facets at once, a field of the metadata by model, and whatever is filtered so) is read from rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from adapters.errors import Kind
from proxy.errors import Refused
from proxy.store import facets
from proxy.store.engine import Connection
from proxy.store.records import TRACED
from proxy.store.sums import DAY, DAY_SUMS, DOLLARS, FACETS, KEYED, LATENCY, METADATA, NAMES, PAIRS, RAW_SUMS

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
_BY_KEYS = {"key": "api_key", "virtual_key": "virtual_key", "provider": "provider", "model": "model"}
_MOST_OF_IDS = 100_000
"""Requests that are grouped by a field with too many values for sums by day."""
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

    def only(self, *names: str) -> bool:
        """Whether nothing but times and the fields of these names is asked for."""
        asked = {name: getattr(self, name) for name in ("since", "until", *names)}
        return Filter(**asked) == self


_SETTLED = "at >= :since AND at < :until AND outcome <> 'pending'"

Group = tuple[Any, ...]
Sums = dict[str, float]
_NONE: Sums = dict.fromkeys(NAMES, 0)


def sums(connection: Connection, by: Sequence[str], wanted: Filter) -> dict[Group, Sums]:
    """The sums of all requests that `wanted` describes, for each set of values of the dimensions `by`. Raises Refused
    (400) where that would be more values than a report is for."""
    facet = _facet(by, wanted)
    first, last = -(-wanted.since // DAY) * DAY, wanted.until // DAY * DAY
    with connection.reading():
        _refuse_ids(connection, [name for name in by if name.startswith(METADATA)], wanted)
        if facet is None or first >= last:
            return _added(by, from_rows(connection, by, wanted))
        parts = []
        rest = [(wanted.since, first), (last, wanted.until)]
        days = facets.open_days(connection, facet, first // DAY, last // DAY)
        for since, until in _stretches(days):
            rest.append((since, until))
        for since, until in _between(first, last, _stretches(days)):
            whole = msgspec.structs.replace(wanted, since=since, until=until)
            parts.append(_from_sums(connection, by, whole, facet))
            if facet:
                parts.append(_added(by, from_rows(connection, by, whole, facets.UNFACETED)))
        for since, until in rest:
            if since < until:
                part = msgspec.structs.replace(wanted, since=since, until=until)
                parts.append(_added(by, from_rows(connection, by, part)))
    return _joined(parts)


def _refuse_ids(connection: Connection, fields: Sequence[str], wanted: Filter) -> None:
    """Refuses to group the requests of many days by a field of the metadata that has a value for nearly each: it would
    hold up every other report for the better part of a minute."""
    if not wanted.only("statuses", "caches", "configs", "models", "virtual_keys"):
        return  # what is left of the others may be few
    for name in fields:
        days = facets.open_days(connection, name, wanted.since // DAY, -(-wanted.until // DAY))
        requests = facets.requests_of(connection, days)
        if requests > _MOST_OF_IDS:
            raise Refused(
                Kind.INVALID_REQUEST,
                f"{name[:100]} has more than {facets.VALUES} values a day, and {requests} requests would have to be "
                f"read (no more than {_MOST_OF_IDS} are): ask for fewer days, for one API key, or for one value of it.",
                param="by",
            )


def _facet(by: Sequence[str], wanted: Filter) -> str | None:
    """Which sums by day know everything that is asked: those of a facet (or one of its `PAIRS`, of closed days), or of
    none (''). None: only the rows do."""
    asked = {name for name in by if name in FACETS or name.startswith(METADATA)}
    if wanted.statuses:
        asked.add("status")
    if wanted.caches:
        asked.add("cache")
    if wanted.configs:
        asked.add("config")
    asked |= {METADATA + name for name, _ in wanted.metadata}
    others = [name for name in by if name not in asked and name not in _BY_KEYS and _day(name) is None]
    if others or len(asked) > 1 or len(wanted.metadata) > 1 or any(not value for _, value in wanted.metadata):
        return None
    if not wanted.only("keys", "virtual_keys", "models", "statuses", "caches", "configs", "metadata"):
        return None
    facet = "".join(asked)
    keys = {_BY_KEYS[name] for name in by if name in _BY_KEYS}
    keys |= {name for name, given in (("api_key", wanted.keys), ("virtual_key", wanted.virtual_keys)) if given}
    keys |= {"provider", "model"} if wanted.models else set()
    if not keys or facet in ("", KEYED):
        return facet
    pairs = (pair for pair, columns in PAIRS.items() if keys <= set(columns) and facet.startswith(METADATA))
    return next((f"{pair}:{facet}" for pair in pairs), None)


def _day(name: str) -> str | None:
    """A dimension of time in terms of days; None for one that is finer."""
    if name == "day":
        return "day"
    step = int(name.removeprefix("step:")) if name.startswith("step:") else 0
    return f"day * {DAY} - day * {DAY} % {step}" if step and step % DAY == 0 else None


def _stretches(days: Sequence[int]) -> list[tuple[int, int]]:
    """Days as few stretches of time."""
    found: list[tuple[int, int]] = []
    for day in days:
        since = found.pop()[0] if found and found[-1][1] == day * DAY else day * DAY
        found.append((since, (day + 1) * DAY))
    return found


def _between(first: int, last: int, holes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What is left of a stretch of time without its holes."""
    ends = [first, *(end for hole in holes for end in hole), last]
    return [(since, until) for since, until in zip(ends[::2], ends[1::2], strict=True) if since < until]


def latencies(connection: Connection, step: int, wanted: Filter) -> dict[int, dict[int, int]]:
    """How many requests took how long, for each step of so many milliseconds: durations (microseconds) by their three
    leading digits, which is exact to one in a hundred."""
    found: dict[int, Counter[int]] = {}
    first, last = -(-wanted.since // DAY) * DAY, wanted.until // DAY * DAY
    with connection.reading():
        rest = [wanted]
        if step % DAY == 0 and first < last and wanted.only("caches"):
            contents = facets.contents(connection, LATENCY, first // DAY, last // DAY)
            _count_days(found, contents, step, wanted.caches)
            holes = _stretches(sorted(day for day, content in contents.items() if content is None))
            for since, until in _between(first, last, holes):
                whole = msgspec.structs.replace(wanted, since=since, until=until)
                _count(found, durations_of(connection, whole, _step(step), facets.UNFACETED))
            rest = [
                msgspec.structs.replace(wanted, since=since, until=until)
                for since, until in ((wanted.since, first), *holes, (last, wanted.until))
            ]
        for part in rest:
            if part.since < part.until:
                _count(found, durations_of(connection, part, _step(step)))
    return {bucket: dict(counts) for bucket, counts in found.items() if counts}


def _count_days(
    found: dict[int, Counter[int]], contents: Mapping[int, str | None], step: int, caches: Collection[str]
) -> None:
    """Adds the days that are kept as sums."""
    for day, content in contents.items():
        if content is None:
            continue
        counts = found.setdefault(day * DAY - day * DAY % step, Counter())
        for cache, durations in _decode_durations(content).items():
            if not caches or cache in caches:
                counts.update(durations)


def _count(found: dict[int, Counter[int]], rows: Iterable[Any]) -> None:
    for row in rows:
        if row["duration"] is not None:
            found.setdefault(int(row["bucket"]), Counter())[int(row["duration"])] += int(row["requests"])


def durations_of(connection: Connection, wanted: Filter, bucket: str, also: str = "1 = 1") -> list[Any]:
    """How many rows took how long, for each value of an expression: `bucket`, `duration` (None: not known) and
    `requests`."""
    where, parameters = _where(connection, wanted)
    return connection.execute(
        f"SELECT {bucket} AS bucket, {_LEADING} AS duration, COUNT(*) AS requests "  # noqa: S608 - our expressions
        f"FROM usage WHERE {where} AND {also} GROUP BY 1, 2",
        parameters,
    ).fetchall()


_decode_durations = msgspec.json.Decoder(dict[str, dict[int, int]]).decode
_LEADING = (
    "CASE "
    + " ".join(f"WHEN duration_us < {10**n} THEN duration_us - duration_us % {10 ** (n - 3)}" for n in range(3, 12))
    + " ELSE duration_us END"
)
"""A duration's three leading digits and noughts after them."""


def distinct(connection: Connection, step: int, name: str, wanted: Filter) -> tuple[int, dict[int, int]]:
    """How many values of a metadata field there were, at all and in each step of so many milliseconds."""
    facet = METADATA + name
    first, last = -(-wanted.since // DAY) * DAY, wanted.until // DAY * DAY
    with connection.reading():
        summed = _facet((f"step:{step}", facet), wanted) == facet and first < last
        if summed and not facets.open_days(connection, facet, first // DAY, last // DAY):
            whole = msgspec.structs.replace(wanted, since=first, until=last)
            where, parameters = _where(connection, whole, facet)
            rows = connection.execute(
                f"SELECT DISTINCT {_day(f'step:{step}')} AS bucket, value AS found FROM usage_facets "  # noqa: S608
                f"WHERE {where} AND facet = :facet",
                parameters | {"facet": facet},
            ).fetchall()
            for since, until, also in (
                (wanted.since, first, "1 = 1"),
                (first, last, facets.UNFACETED),
                (last, wanted.until, "1 = 1"),
            ):
                part = msgspec.structs.replace(wanted, since=since, until=until)
                rows += _values(connection, step, name, part, also, "{value}") if since < until else []
            found = {(int(row["bucket"]), row["found"]) for row in rows if row["found"]}
            return len({value for _, value in found}), dict(Counter(bucket for bucket, _ in found))
        rows = _values(connection, step, name, wanted, "1 = 1 GROUP BY 1", "COUNT(DISTINCT {value})")
        total = _values(connection, 2**62, name, wanted, "1 = 1 GROUP BY 1", "COUNT(DISTINCT {value})")
    return sum(int(row["found"]) for row in total), {int(row["bucket"]): int(row["found"]) for row in rows}


def _values(connection: Connection, step: int, name: str, wanted: Filter, also: str, what: str) -> list[Any]:
    """What rows say of a metadata field, for each step."""
    where, parameters = _where(connection, wanted)
    what = what.format(value=_metadata(connection, "named", name, parameters))
    return connection.execute(
        f"SELECT {_step(step)} AS bucket, {what} AS found FROM usage WHERE {where} AND {also}",  # noqa: S608
        parameters,
    ).fetchall()


def _added(by: Sequence[str], rows: Iterable[Any]) -> dict[Group, Sums]:
    """What a statement gave."""
    found: dict[Group, Sums] = {}
    for row in rows:
        if row["requests"]:
            # What a request does not have is empty text in sums by day and nothing in rows.
            values = (row[f"g{index}"] for index in range(len(by)))
            one = {name: float(row[name] or 0) if name in DOLLARS else int(row[name] or 0) for name in NAMES}
            _join(found, tuple(None if value == "" else value for value in values), one)
    return found


def _join(found: dict[Group, Sums], group: Group, one: Sums) -> None:
    known = found.get(group)
    found[group] = one if known is None else {name: known[name] + one[name] for name in NAMES}


def _joined(parts: Iterable[dict[Group, Sums]]) -> dict[Group, Sums]:
    found: dict[Group, Sums] = {}
    for part in parts:
        for group, one in part.items():
            _join(found, group, one)
    return found


def _from_sums(connection: Connection, by: Sequence[str], whole: Filter, facet: str) -> dict[Group, Sums]:
    """Sums of whole days."""
    found = _added(by, _from_days(connection, by, whole, facet))
    if facet.startswith(METADATA) and facet in by and not whole.metadata:
        # The requests that have no such field are what is left of all.
        having: dict[Group, Sums] = {}
        for group, one in found.items():
            _join(having, tuple(None if name == facet else value for name, value in zip(by, group, strict=True)), one)
        for group, one in _added(by, _from_days(connection, by, whole, facet, every=True)).items():
            less = having.get(group, _NONE)
            if one["requests"] > less["requests"]:
                # Dollars that are left by a subtraction are exact to the last digits of the whole.
                found[group] = {name: max(0, round(one[name] - less[name], 9)) for name in NAMES}
    return found


def _from_days(connection: Connection, by: Sequence[str], whole: Filter, facet: str, *, every: bool = False) -> Any:
    """What sums by day say: those of a facet, of none, or (`every`) of all requests that have it or not."""
    where, parameters = _where(connection, whole, facet)
    value = "NULL" if every else "CAST(NULLIF(value, '') AS INTEGER)" if facet == "status" else "value"
    columns = "".join(
        f"{_BY_KEYS.get(name) or _day(name) or value} AS g{index}, " for index, name in enumerate(by)
    )  # fmt: skip
    table = "usage_days"
    if facet:
        table, parameters["facet"] = "usage_facets", "" if every else facet
        where += " AND facet = :facet"
    return connection.execute(
        f"SELECT {columns}{DAY_SUMS} FROM {table} WHERE {where}{_grouped(by)}",  # noqa: S608
        parameters,
    ).fetchall()


def from_rows(
    connection: Connection, by: Sequence[str], wanted: Filter, also: str = "1 = 1", most: int | None = None
) -> list[Any]:
    """What rows add up to: `g0`, `g1` … are the values of `by`. No more than `most` of them, whichever."""
    where, parameters = _where(connection, wanted)
    limit = "" if most is None else f" LIMIT {most}"
    columns = "".join(
        f"{_expression(connection, name, index, parameters)} AS g{index}, " for index, name in enumerate(by)
    )
    return connection.execute(
        f"SELECT {columns}{RAW_SUMS} FROM usage WHERE {where} AND {also}{_grouped(by)}{limit}",  # noqa: S608
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
        # Rows of earlier versions may have a NUL somewhere, and then PostgreSQL would read none of them.
        readable = "CASE WHEN POSITION('\\u0000' IN metadata) = 0 THEN CAST(metadata AS json) END"
        return f"({readable} ->> CAST(:{parameter} AS text))"
    parameters[parameter] = '$."' + name.replace('"', "").replace("\0", "") + '"'
    return f"json_extract(metadata, :{parameter})"


def conditions(connection: Connection, wanted: Filter) -> tuple[str, dict[str, Any]]:
    """What a row of the ledger must be to be one of those that are wanted, as SQL, and the parameters."""
    return _where(connection, wanted)


def _where(connection: Connection, wanted: Filter, facet: str | None = None) -> tuple[str, dict[str, Any]]:
    """The conditions and their parameters: for rows, or for sums by day of a facet ('': of none)."""
    conditions = [_SETTLED if facet is None else "day >= :since AND day < :until"]
    days = 1 if facet is None else DAY
    parameters: dict[str, Any] = {"since": wanted.since // days, "until": min(wanted.until, 2**62) // days}

    def among(column: str, values: Sequence[object], name: str) -> None:
        if values:
            parameters.update({f"{name}_{index}": value for index, value in enumerate(values)})
            conditions.append(f"{column} IN ({', '.join(f':{name}_{index}' for index in range(len(values)))})")

    among("api_key", wanted.keys, "key")
    among("virtual_key", wanted.virtual_keys, "slug")
    among("value" if facet else "config", wanted.configs, "config")
    among("value" if facet else "status", tuple(map(str, wanted.statuses)) if facet else wanted.statuses, "status")
    among("value" if facet else "cache", wanted.caches, "cache")
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
        column = "value" if facet else _metadata(connection, f"name_{index}", name, parameters)
        conditions.append(f"{column} = :value_{index}")
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
