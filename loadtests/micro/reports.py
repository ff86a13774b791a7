"""How long reports over a large ledger take: seconds, the best of three, on SQLite or PostgreSQL.

    python -m loadtests.micro.reports [--rows 1000000] [--days 90] [--postgres | --url postgresql://…] [--keep PATH]

Rows of twenty API keys, five virtual keys and ten models go into an empty database by the ledger's own job. One in ten
failed; every one has a team (of twenty), a user (of its key's fifty) and a request of its own as metadata. The days are
then closed, as the gateway does when they are over. `--postgres` starts a server of its own with PostgreSQL's own
settings; `--keep` builds the SQLite file there, or takes what is there.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from proxy.store import closing, migrate, reports
from proxy.store import ledger as jobs
from proxy.store.engine import Connection, Lane
from proxy.store.reports import Filter
from proxy.store.store import engine_of
from proxy.store.sums import DAY
from proxy.usage_columns import COLUMNS, folded

_BATCH = 2000
_FIRST = 20_000 * DAY
_STATUSES = [200] * 18 + [429, 500]

Row = tuple[object, ...]


def rows(count: int, days: int) -> list[Row]:
    """The rows of one batch after the other, in the order of time."""
    dice = random.Random(count)
    made = []
    for n in range(count):
        status, key = dice.choice(_STATUSES), dice.randrange(20)
        known = {
            "request_id": f"{dice.getrandbits(32):08x}{n:024x}",
            "at": _FIRST + n * days * DAY // count,
            "api_key": f"key-{key}",
            "virtual_key": f"vk-{dice.randrange(5)}",
            "provider": "openai",
            "model": f"model-{dice.randrange(10)}",
            "dialect": "openai.chat",
            "operation": "/v1/chat/completions",
            "status": status,
            "input_tokens": dice.randrange(2000),
            "output_tokens": dice.randrange(500),
            "cached_tokens": 0,
            "cache_write_tokens": 0,
            "reasoning_tokens": 0,
            "attempts": 1,
            "streamed": 0,
            "duration_us": int(dice.lognormvariate(14, 1)),
            "ttfb_us": 250_000,
            "outcome": "ok" if status == 200 else "rate_limited" if status == 429 else "server",
            "asked_model": "model",
            "config": f"pc-{dice.randrange(8)}",
            "target": "config",
            "metadata": json.dumps(
                {"team": f"t{dice.randrange(20)}", "_user": f"u{key * 50 + dice.randrange(50)}", "request": f"{n}"},
                separators=(",", ":"),
            ),
            "cache": dice.choice([None, "HIT", "MISS"]),
            "cost": dice.random() / 100,
            "price": "litellm:openai/gpt-4o",
            "estimated": 0,
        }
        known["trace_id"] = known["request_id"]
        made.append(folded([known.get(name) for name in COLUMNS]))
    return made


def _fill(lane: Lane, count: int, days: int) -> None:
    began = time.perf_counter()
    made = rows(count, days)
    built = time.perf_counter()
    for start in range(0, count, _BATCH):
        lane.now(jobs.append, made[start : start + _BATCH])
    written = time.perf_counter() - built
    print(f"{count} rows made in {built - began:.0f} s, written in {written:.0f} s", flush=True)


def cases(days: int) -> dict[str, Callable[[Connection], object]]:
    """Reports by name."""
    half = Filter(since=_FIRST + DAY // 3, until=_FIRST + days * DAY - DAY // 5)
    week = Filter(since=_FIRST, until=_FIRST + 7 * DAY)
    hours = Filter(since=_FIRST + DAY // 3, until=_FIRST + DAY // 3 + 3 * DAY)
    one, model = Filter(keys=("key-7",)), Filter(models=((None, "model-7"),))

    def summed(by: tuple[str, ...], wanted: Filter = Filter()) -> Callable[[Connection], object]:  # noqa: B008
        return lambda connection: reports.sums(connection, by, wanted)

    return {
        "all": summed(()),
        "day": summed(("day",)),
        "key, model, day": summed(("key", "model", "day")),
        "key, odd times": summed(("key",), half),
        "status": summed(("status",)),
        "status, day": summed(("status", "day")),
        "status, day, odd times": summed(("status", f"step:{DAY}"), half),
        "outcome": summed(("outcome",)),
        "cache": summed(("cache",)),
        "config, day": summed(("config", "day")),
        "metadata:team": summed(("metadata:team",)),
        "metadata:team, day": summed(("metadata:team", "day")),
        "metadata:_user": summed(("metadata:_user",)),
        "day of one team": summed(("day",), Filter(metadata=(("team", "t3"),))),
        "day of one status": summed(("day",), Filter(statuses=(429,))),
        "day of one key": summed(("day",), one),
        "status, day of one key": summed(("status", "day"), one),
        "metadata:team of one key": summed(("metadata:team",), one),
        "hours of three days": summed(("step:3600000",), hours),
        "latency, day, odd times": lambda connection: reports.latencies(connection, DAY, half),
        "latency of one key": lambda connection: reports.latencies(connection, DAY, one),
        "latency of one model": lambda connection: reports.latencies(connection, DAY, model),
        "latency, day": lambda connection: reports.latencies(connection, DAY, Filter()),
        "users, day": lambda connection: reports.distinct(connection, DAY, "_user", Filter()),
        "status, model": summed(("status", "model")),
        "metadata:team, model": summed(("metadata:team", "model")),
        "metadata:team, key": summed(("metadata:team", "key")),
        "metadata:_user, key": summed(("metadata:_user", "key")),
        "model of one team": summed(("model",), Filter(metadata=(("team", "t3"),))),
        "metadata:_user, model": summed(("metadata:_user", "model")),
        "metadata:request, a week": summed(("metadata:request",), week),
    }


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--url")
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ends:
        place = given.url or str(given.keep or Path(folder) / "loopway.db")
        if given.postgres:
            from tests.fakes.postgres import Postgres

            server = Postgres("")
            ends.callback(server.close)
            place = server.database()
        _measure(place, given.rows, given.days)


def _measure(place: str, count: int, days: int) -> None:
    migrate(place)
    lane = Lane(engine_of(place), "ledger", patience=120)
    if lane.now(lambda connection: connection.execute("SELECT 1 FROM usage LIMIT 1").fetchone()) is None:
        _fill(lane, count, days)
    began, closed = time.perf_counter(), 0
    while lane.now(closing.close_next, (_FIRST // DAY + days + 1) * DAY / 1000):
        closed += 1
    if closed:
        print(f"{closed} times a day was closed in one respect: {time.perf_counter() - began:.1f} s", flush=True)
    lane.close_now()
    reading = Lane(engine_of(place), "reports", patience=120)
    for name, job in cases(days).items():
        taken = []
        for _ in range(3):
            began = time.perf_counter()
            reading.now(job)
            taken.append(time.perf_counter() - began)
        print(f"| {name} | {min(taken):.3f} |", flush=True)
    reading.close_now()


if __name__ == "__main__":
    main()
