"""Reports add up: against an addition of their own over the same rows, on each database."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import Refused
from proxy.store import SqlStore, closing, facets, logs, migrate, open_store, reports
from proxy.store import ledger as ledger_jobs
from proxy.store.reports import Filter, distinct, latencies, sums
from proxy.store.sums import DAY, NAMES
from proxy.usage_columns import COLUMNS, PENDING, folded
from proxy.vault import Vault
from tests.proxy.stored import ask
from tests.proxy.test_store import MASTER

START = 20_000 * DAY
Row = dict[str, Any]


def rows(count: int = 600) -> list[Row]:
    dice = random.Random(7)
    made = []
    for n in range(count):
        status = dice.choice([200] * 8 + [429, 500])
        tokens = dice.choice([(None, None), (dice.randint(1, 999), dice.randint(0, 99))])
        cost = None if tokens[0] is None or dice.random() < 0.1 else dice.random()
        made.append(
            dict.fromkeys(COLUMNS)
            | {
                "request_id": f"r{n}",
                "at": START + dice.randrange(4 * DAY),
                "api_key": dice.choice([None, "key-1", "key-2"]),
                "virtual_key": dice.choice([None, "vk-1", "vk-2"]),
                "provider": "openai",
                "model": dice.choice(["gpt-4o", "gpt-4o-mini"]),
                "status": status,
                "input_tokens": tokens[0],
                "output_tokens": tokens[1],
                "cached_tokens": 0 if tokens[0] else None,
                "reasoning_tokens": 1 if tokens[0] else None,
                "attempts": dice.choice([1, 1, 2]),
                "streamed": 0,
                "duration_us": dice.randint(1, 5_000_000),
                "outcome": "ok" if status == 200 else "rate_limited",
                "config": dice.choice([None, "pc-a"]),
                "metadata": json.dumps({"team": dice.choice("ab"), 'a "b" $.c': "x"}) if dice.random() < 0.8 else None,
                "cache": dice.choice([None, "HIT", "MISS"]),
                "cost": cost,
                "wasted": dice.choice([None, 0.5]),
                "saved": dice.choice([None, 0.25]),
                "estimated": dice.choice([0, 1]),
            }
        )
    return made


ROWS = rows()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "loopway.db")
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
async def store(place: str) -> AsyncIterator[SqlStore]:
    migrate(place)
    opened = open_store(place, Vault.open("unused", MASTER))
    raw = [folded([*row.values()]) for row in ROWS]
    pending = [folded([*(row | {"outcome": PENDING, "status": None}).values()]) for row in ROWS[:100]]
    unfinished = ROWS[0] | {"request_id": "unfinished", "outcome": PENDING}
    await opened.append_usage([*pending, folded([*unfinished.values()])])
    await opened.append_usage(raw[:400])
    await opened.append_usage(raw[300:])
    yield opened
    await opened.close()


def plainly(value: Callable[[Row], Any], keep: Callable[[Row], bool]) -> dict[Any, dict[str, float]]:
    """The same sums by a loop."""
    found: dict[Any, dict[str, float]] = {}
    for row in filter(keep, ROWS):
        one = found.setdefault(value(row), dict.fromkeys(NAMES, 0.0))
        one["requests"] += 1
        one["errors"] += row["outcome"] != "ok" or row["status"] >= 400
        one["rescued"] += row["attempts"] > 1 and row["status"] < 400
        one["cache_hits"] += row["cache"] == "HIT"
        one["unpriced"] += row["input_tokens"] is not None and row["cost"] is None
        for name in NAMES[5:]:
            one[name] += row[name] or 0
    return found


def team(row: Row) -> Any:
    return (json.loads(row["metadata"]) if row["metadata"] else {}).get("team")


CASES: dict[str, tuple[tuple[str, ...], Callable[[Row], Any], Filter, Callable[[Row], bool]]] = {
    "everything": ((), lambda row: (), Filter(), lambda row: True),
    "by day": (("day",), lambda row: (row["at"] // DAY,), Filter(), lambda row: True),
    "by key, model and day": (
        ("key", "model", "day"),
        lambda row: (row["api_key"], row["model"], row["at"] // DAY),
        Filter(),
        lambda row: True,
    ),
    "whole days and two parts": (
        ("virtual_key",),
        lambda row: (row["virtual_key"],),
        Filter(since=START + DAY // 3, until=START + 3 * DAY + DAY // 5),
        lambda row: START + DAY // 3 <= row["at"] < START + 3 * DAY + DAY // 5,
    ),
    "less than a day": (
        ("key",),
        lambda row: (row["api_key"],),
        Filter(since=START + 1000, until=START + DAY // 2),
        lambda row: START + 1000 <= row["at"] < START + DAY // 2,
    ),
    "by hour": (("hour",), lambda row: (row["at"] // 3_600_000,), Filter(), lambda row: True),
    "by step": (("step:7200000",), lambda row: (row["at"] - row["at"] % 7_200_000,), Filter(), lambda row: True),
    "by metadata": (("metadata:team",), lambda row: (team(row),), Filter(), lambda row: True),
    "by metadata and day, in odd times": (
        ("day", "metadata:team"),
        lambda row: (row["at"] // DAY, team(row)),
        Filter(since=START + DAY // 3, until=START + 3 * DAY + DAY // 5),
        lambda row: START + DAY // 3 <= row["at"] < START + 3 * DAY + DAY // 5,
    ),
    "days of one team": (
        (f"step:{2 * DAY}",),
        lambda row: (row["at"] - row["at"] % (2 * DAY),),
        Filter(metadata=(("team", "a"),)),
        lambda row: team(row) == "a",
    ),
    "by metadata of one team": (
        ("metadata:team",),
        lambda row: (team(row),),
        Filter(metadata=(("team", "a"),)),
        lambda row: team(row) == "a",
    ),
    "by metadata and model": (
        ("metadata:team", "model"),
        lambda row: (team(row), row["model"]),
        Filter(),
        lambda row: True,
    ),
    "by metadata and key": (
        ("key", "metadata:team"),
        lambda row: (row["api_key"], team(row)),
        Filter(),
        lambda row: True,
    ),
    "by metadata of one model": (
        ("metadata:team",),
        lambda row: (team(row),),
        Filter(models=(("openai", "gpt-4o"),), since=START - DAY),
        lambda row: row["model"] == "gpt-4o",
    ),
    "virtual keys of one team": (
        ("virtual_key",),
        lambda row: (row["virtual_key"],),
        Filter(metadata=(("team", "b"),)),
        lambda row: team(row) == "b",
    ),
    "by metadata, key and model": (
        ("metadata:team", "model", "key"),
        lambda row: (team(row), row["model"], row["api_key"]),
        Filter(),
        lambda row: True,
    ),
    "by status, day and key": (
        ("status", "day", "key"),
        lambda row: (row["status"], row["at"] // DAY, row["api_key"]),
        Filter(),
        lambda row: True,
    ),
    "models of some statuses and one key": (
        ("model",),
        lambda row: (row["model"],),
        Filter(statuses=(429, 500), keys=("key-1",)),
        lambda row: row["status"] >= 400 and row["api_key"] == "key-1",
    ),
    "by cache": (("cache",), lambda row: (row["cache"],), Filter(), lambda row: True),
    "by outcome of one cache": (
        ("outcome",),
        lambda row: (row["outcome"],),
        Filter(caches=("HIT",)),
        lambda row: row["cache"] == "HIT",
    ),
    "by config and day": (
        ("config", "day"),
        lambda row: (row["config"], row["at"] // DAY),
        Filter(),
        lambda row: True,
    ),
    "by metadata with a strange name": (
        ("metadata:no'such\"name",),
        lambda row: (None,),
        Filter(),
        lambda row: True,
    ),
    "by status and config": (
        ("status", "config"),
        lambda row: (row["status"], row["config"]),
        Filter(),
        lambda row: True,
    ),
    "of one key and model": (
        ("day",),
        lambda row: (row["at"] // DAY,),
        Filter(keys=("key-1",), models=(("openai", "gpt-4o"), (None, "nothing"))),
        lambda row: row["api_key"] == "key-1" and row["model"] == "gpt-4o",
    ),
    "of some statuses, costs and tokens": (
        ("key",),
        lambda row: (row["api_key"],),
        Filter(statuses=(200, 429), cost=(0.1, 0.9), tokens=(100, None), input=(None, 900), output=(1, 98)),
        lambda row: (
            row["status"] in (200, 429)
            and row["cost"] is not None
            and 0.1 <= row["cost"] <= 0.9
            and row["input_tokens"] + row["output_tokens"] >= 100
            and row["input_tokens"] <= 900
            and 1 <= row["output_tokens"] <= 98
        ),
    ),
    "of one team": (
        (),
        lambda row: (),
        Filter(metadata=(("team", "a"),), caches=("HIT", "MISS"), configs=("pc-a",), virtual_keys=("vk-1",)),
        lambda row: (
            team(row) == "a" and row["cache"] is not None and row["config"] == "pc-a" and row["virtual_key"] == "vk-1"
        ),
    ),
}


async def adds_up(store: SqlStore, case: str) -> None:
    by, value, wanted, keep = CASES[case]
    found = await store.run("reports", sums, by, wanted)
    expected = plainly(value, keep)
    assert found.keys() == expected.keys(), case
    for group, one in expected.items():
        assert found[group] == pytest.approx(one), (case, group)


async def test_sums_are_those_of_a_plain_addition(store: SqlStore) -> None:
    for case in CASES:
        await adds_up(store, case)


async def test_rows_of_an_older_version_count_before_and_after_they_are_added_up(place: str, store: SqlStore) -> None:
    # As an instance leaves it that knows nothing of facets.
    ask(place, "DELETE FROM usage_facets")
    ask(place, "DELETE FROM usage_facet_days")
    ask(place, "UPDATE usage SET faceted = NULL")
    for case in CASES:
        await adds_up(store, case)
    assert await store.run("reports", facets.catch_up, len(ROWS) // 2) == len(ROWS) // 2
    for case in CASES:
        await adds_up(store, case)
    while await store.run("reports", facets.catch_up, 70):
        pass
    assert ask(place, "SELECT outcome FROM usage WHERE faceted IS NULL") == [(PENDING,)]
    for case in CASES:
        await adds_up(store, case)
    ask(place, "DELETE FROM usage WHERE outcome <> 'pending'")
    assert {key for (key,) in await store.run("reports", sums, ("metadata:team",), Filter())} == {"a", "b", None}


async def test_fields_with_too_many_values_are_read_from_the_rows(
    place: str, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facets, "VALUES", 40)
    monkeypatch.setattr(facets, "FIELDS", 4)
    fresh = [
        row
        | {
            "request_id": f"new-{n}",
            "at": START + (n % 4) * DAY + n,
            "metadata": json.dumps({"team": "a", "id": f"{n if n % 4 < 2 else n % 8}", f"field {n % 9}": "x"}),
        }
        for n, row in enumerate(ROWS)
    ]
    for start in range(0, len(fresh), 50):
        await store.append_usage([folded([*row.values()]) for row in fresh[start : start + 50]])
    for name in ("id", "team", "field 3", "field 8"):
        found = await store.run("reports", sums, (f"metadata:{name}", "day"), Filter())
        expected: dict[Any, int] = {}
        for row in (*ROWS, *fresh):
            value = json.loads(row["metadata"] or "{}").get(name)
            group = (value, row["at"] // DAY)
            expected[group] = expected.get(group, 0) + 1
        assert {group: one["requests"] for group, one in found.items()} == expected
        total, counts = await store.run("reports", distinct, DAY, name, Filter())
        assert total == len({value for value, _ in expected} - {None})
        assert sum(counts.values()) == len([value for value, _ in expected if value is not None])
    monkeypatch.setattr(reports, "_MOST_OF_IDS", 100)
    with pytest.raises(Refused, match="metadata:id has more than 40 values a day, and 1200 requests"):
        await store.run("reports", sums, ("metadata:id", "model"), Filter())
    assert await store.run("reports", sums, ("metadata:id", "model"), Filter(keys=("key-1",)))
    assert await store.run("reports", sums, ("metadata:team", "model"), Filter())
    kept = ask(place, "SELECT count(*) FROM usage_facets WHERE facet = 'metadata:id'")[0][0]
    assert kept <= 4 * 40
    assert ask(place, "SELECT count(DISTINCT facet) FROM usage_facets WHERE facet LIKE 'metadata:%'")[0][0] <= 4 * 4


async def test_models_that_clients_invent_are_summed_up_as_one(
    place: str, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facets, "SETS", 25)
    base = START + 100 * DAY
    invented = [
        row | {"request_id": f"new-{n}", "at": base + n % 2 * DAY + n, "api_key": "hostile", "model": f"m{n // 3:03}"}
        for n, row in enumerate(ROWS)
    ]
    honest = [row | {"request_id": f"honest-{n}", "at": base + n} for n, row in enumerate(ROWS[:50])]
    for start in range(0, len(ROWS), 40):
        await store.append_usage([folded([*row.values()]) for row in (*invented[start : start + 40], *honest)])
    wanted = Filter(since=base, until=base + 2 * DAY, keys=("hostile",))
    by_model = await store.run("reports", sums, ("model",), wanted)
    assert len(by_model) <= 2 * 25 + 1
    assert by_model[("(other)",)]["requests"] > 400
    assert by_model[("m000",)]["requests"] == 3
    # Nothing is lost by it, the statuses are still told apart, and other keys keep their models.
    whole = await store.run("reports", sums, ("status",), wanted)
    assert {status: one["requests"] for (status,), one in whole.items()} == Counter(row["status"] for row in invented)
    assert sum(one["requests"] for one in by_model.values()) == len(ROWS)
    found = await store.run("reports", sums, ("model",), Filter(since=base, until=base + DAY, keys=("key-1",)))
    assert {model for (model,) in found} == {"gpt-4o", "gpt-4o-mini"}
    count = "SELECT count(*) FROM {} WHERE api_key = 'hostile'"
    assert ask(place, count.format("usage_days"))[0][0] <= 2 * (25 + 3)
    assert ask(place, count.format("usage_facets"))[0][0] <= 2 * (25 + 9)


async def test_sums_by_day_are_those_of_the_rows_whatever_was_written_twice(place: str, store: SqlStore) -> None:
    every = await store.run("reports", sums, ("day",), Filter())
    ask(place, "DELETE FROM usage")
    kept = await store.run("reports", sums, ("day",), Filter(since=START, until=START + 4 * DAY))
    assert kept.keys() == every.keys()
    for group, one in every.items():
        assert kept[group] == pytest.approx(one)


async def test_durations_are_told_to_one_in_a_hundred(store: SqlStore) -> None:
    found = await store.run("reports", latencies, DAY, Filter())
    exact = sorted(row["duration_us"] for row in ROWS)
    rounded = sorted(duration for counts in found.values() for duration, n in counts.items() for _ in range(n))
    assert len(rounded) == len(exact)
    assert all(0 <= one - other <= one / 100 for one, other in zip(exact, rounded, strict=True))


async def close(store: SqlStore, after: float = 0.0) -> int:
    """Closes all days, so long (seconds) after they are over; returns how many things were done."""
    done = 0
    while await store.run("reports", closing.close_next, (START + 5 * DAY) / 1000 + after, 1):
        done += 1
    return done


async def times(store: SqlStore, wanted: Filter) -> dict[int, dict[int, int]]:
    found = await store.run("reports", latencies, DAY, wanted)
    return {day: dict(sorted(counts.items())) for day, counts in sorted(found.items())}


HITS, ODD = Filter(caches=("HIT", "MISS")), Filter(since=START + DAY // 3, until=START + 3 * DAY + DAY // 5)


async def test_closed_days_say_the_same_as_their_rows_and_outlive_them(place: str, store: SqlStore) -> None:
    open_times = [await times(store, wanted) for wanted in (Filter(), HITS, ODD)]
    assert await close(store) == 4 * 3  # durations, and two fields
    assert await close(store) == 0
    for case in CASES:
        await adds_up(store, case)
    assert [await times(store, wanted) for wanted in (Filter(), HITS, ODD)] == open_times
    # Rows of an instance that knows nothing of sums are in none.
    last = ROWS[0] | {"request_id": "elsewhere", "at": START + DAY + 1, "duration_us": 7, "cache": None}
    names = ", ".join(last)
    ask(place, f"INSERT INTO usage ({names}) VALUES ({', '.join(f':{name}' for name in last)})", last)
    assert [7 in counts for counts in (await times(store, Filter())).values()] == [False, True, False, False]
    ask(place, "DELETE FROM usage WHERE request_id = 'elsewhere'")
    ask(place, "DELETE FROM usage WHERE outcome <> 'pending'")
    for case in (
        "by metadata and model",
        "by metadata and key",
        "by metadata of one model",
        "virtual keys of one team",
    ):
        await adds_up(store, case)
    assert [await times(store, wanted) for wanted in (Filter(), HITS)] == open_times[:2]


async def test_a_row_that_comes_late_opens_its_day_until_it_is_closed_again(place: str, store: SqlStore) -> None:
    await close(store)
    late = ROWS[0] | {"request_id": "late", "at": START + DAY + 1, "duration_us": 77, "metadata": '{"team":"a"}'}
    await store.append_usage([folded([*late.values()])])

    async def told() -> tuple[float, bool]:
        found = await store.run("reports", sums, ("metadata:team", "model"), Filter())
        day = (await times(store, Filter()))[START + DAY]
        return found[("a", late["model"])]["requests"], 77 in day

    expected = 1 + sum(team(row) == "a" and row["model"] == late["model"] for row in ROWS)
    assert await told() == (expected, True)
    assert await close(store) == 0  # the work of a moment ago is not done again
    assert await told() == (expected, True)
    assert await close(store, after=7200) == 3
    assert await told() == (expected, True)
    # A day whose rows are gone in part cannot be closed; one with too many values stays open.
    ask(place, "DELETE FROM usage_closed_days")
    ask(place, "DELETE FROM usage WHERE request_id IN ('late', :id)", {"id": ROWS[1]["request_id"]})
    assert await close(store) == 4 * 3
    assert ("open",) in ask(place, "SELECT content FROM usage_closed_days")


async def test_a_field_with_too_many_values_by_keys_stays_open(
    place: str, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "MOST", 1)
    await close(store)
    assert ask(place, "SELECT count(*) FROM usage_facets WHERE facet LIKE '%:metadata:%'") == [(0,)]
    for case in ("by metadata and model", "by metadata"):
        await adds_up(store, case)


async def test_two_who_close_the_same_days_at_once_count_nothing_twice(place: str, store: SqlStore) -> None:
    other = open_store(place, Vault.open("unused", MASTER))
    try:
        await asyncio.gather(close(store), close(other))
    finally:
        await other.close()
    await adds_up(store, "by metadata and model")


async def test_old_rows_are_forgotten_and_their_sums_stay(place: str, store: SqlStore) -> None:
    before = await store.run("reports", sums, ("day",), Filter(since=START, until=START + 2 * DAY))
    gone = 0
    while part := await store.run("reports", ledger_jobs.forget, START + 2 * DAY, 50):
        gone += part
    assert gone == sum(1 for row in ROWS if row["at"] < START + 2 * DAY) + (ROWS[0]["at"] < START + 2 * DAY)
    assert ask(place, "SELECT count(*) FROM usage WHERE at < :at", {"at": START + 2 * DAY}) == [(0,)]
    assert await store.run("reports", sums, ("day",), Filter(since=START, until=START + 2 * DAY)) == before


async def test_old_sums_are_deleted_a_day_at_a_time_and_old_feedback_with_old_rows(store: SqlStore) -> None:
    given = [(f"fb-{n}", START + n * DAY, "key-1", "trace", 1, 1.0, "{}") for n in range(4)]
    await store.run("reports", logs.add_feedback, given)
    every = {day: one["requests"] for (day,), one in (await store.run("reports", sums, ("day",), Filter())).items()}
    assert await store.run("reports", ledger_jobs.forget, START + DAY) > 1
    kept = await store.run("reports", logs.feedback_of, "trace", ["key-1"])
    assert [row["id"] for row in kept] == ["fb-1", "fb-2", "fb-3"]
    assert await store.run("reports", logs.feedback_of, "trace", ["key-2"]) == []
    before = START + 2 * DAY + DAY // 2
    for gone in (1, 2):
        assert await store.run("reports", ledger_jobs.forget_sums, before)
        left = await store.run("reports", sums, ("day",), Filter())
        assert {day: one["requests"] for (day,), one in left.items()} == dict(sorted(every.items())[gone:])
    assert await store.run("reports", ledger_jobs.forget_sums, before) == 0


async def test_a_row_with_a_nul_in_its_metadata_hides_no_other(store: SqlStore) -> None:
    odd = [{"te\0am": "x"}, {"team": "a", "user": "a\0b"}, {"team": "c"}]
    rows = [ROWS[0] | {"request_id": f"odd{n}", "at": START, "metadata": json.dumps(one)} for n, one in enumerate(odd)]
    await store.append_usage([folded([*row.values()]) for row in rows])
    for by in (("metadata:team", "key"), ("metadata:team", "day"), ("metadata:user",), ("metadata:te\0am", "model")):
        found = await store.run("reports", sums, by, Filter(until=START + DAY // 2))
        assert sum(one["requests"] for one in found.values()) >= 3
    (counted,) = (await store.run("reports", sums, (), Filter(until=START + 1, metadata=(("team", "c"),)))).values()
    assert counted["requests"] == 1


@pytest.mark.parametrize(("limit", "offset", "shown"), [(50, 0, 50), (1000, 0, 601), (50, 590, 11), (50, 700, 0)])
async def test_the_log_says_how_many_requests_fit_on_every_page(
    store: SqlStore, limit: int, offset: int, shown: int
) -> None:
    found, total = await store.run("reports", logs.search, logs.Filter(), limit, offset)
    assert (len(found), total) == (shown, 601)
