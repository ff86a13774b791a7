"""Many rows at once: what was given is what is kept, in as few statements whatever the number of rows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.errors import UnfitError
from proxy.store import ledger, migrate
from proxy.store.engine import Connection, Lane, Parameters
from proxy.store.store import engine_of
from proxy.usage_columns import COLUMNS, PENDING, folded
from tests.proxy.stored import ask
from tests.proxy.test_reports import place

__all__ = ["place"]

ODD = ["plain", 'a "b" \\u0000 \\', "{a,b}", "NULL", "%s :at ?", "ä𝄞\u2028\ud7ff", " ", "a\tb\r\nc\x01"]


def row(id: str, **known: Any) -> tuple[Any, ...]:
    values = {"request_id": id, "at": 1_700_000_000_000, "outcome": "ok", "trace_id": id, "cost": 1e-9} | known
    return folded([values.get(name) for name in COLUMNS])


def put(place: str, *batches: list[tuple[Any, ...]]) -> list[str]:
    """Adds batches of rows; the statements that it took."""
    lane, made = Lane(engine_of(place), "test"), list[str]()

    def job(connection: Connection) -> None:
        class Watched:
            kind = connection.kind
            writing, reading = connection.writing, connection.reading

            def execute(self, statement: str, parameters: Parameters = ()) -> Any:
                made.append(statement)
                return connection.execute(statement, parameters)

        for batch in batches:
            ledger.append(Watched(), batch)  # type: ignore[arg-type]

    try:
        lane.now(job)
    finally:
        lane.close_now()
    return made


def test_texts_and_numbers_come_back_as_they_were_given(place: str) -> None:
    migrate(place)
    rows = [
        row(f"{n} {text}", model=text, metadata=None if n % 2 else "{}", cost=n / 3, input_tokens=2**59 + n, status=n)
        for n, text in enumerate(ODD)
    ]
    put(place, rows)
    found = ask(place, "SELECT request_id, model, metadata, cost, input_tokens, status FROM usage ORDER BY status")
    assert found == [(f"{n} {text}", text, None if n % 2 else "{}", n / 3, 2**59 + n, n) for n, text in enumerate(ODD)]
    summed = ask(place, "SELECT model, cost FROM usage_days")
    assert dict(summed) == {text: n / 3 for n, text in enumerate(ODD)}


def test_a_row_whose_text_has_a_nul_is_kept_and_so_are_the_others(place: str) -> None:
    migrate(place)
    put(place, [row("a", model="x\0y"), row("b", model="x")], [row("c", model="\0"), row("d", model="\0")])
    found = dict(ask(place, "SELECT request_id, model FROM usage"))
    nul = "\0" if place.startswith("/") else "\ufffd"
    assert found == {"a": f"x{nul}y", "b": "x", "c": nul, "d": nul}


@pytest.mark.parametrize("value", [2**63, 2**65, "\ud800"])
def test_what_no_database_keeps_is_said_to_be_unfit(place: str, value: Any) -> None:
    migrate(place)
    name = "model" if isinstance(value, str) else "input_tokens"
    with pytest.raises(UnfitError):
        put(place, [row("a", status=200), row("b", **{name: value})])
    assert ask(place, "SELECT request_id FROM usage") == []


def test_what_ends_a_pending_row_leaves_nothing_of_it(place: str) -> None:
    migrate(place)
    put(
        place,
        [row(f"r{n}", outcome=PENDING, config="pc-a", cost=None) for n in range(3)],
        [row("r0"), row("r1"), row("new")],
        [row("r0", outcome="server")],
    )
    found = ask(place, "SELECT request_id, outcome, config FROM usage ORDER BY 1")
    assert found == [("new", "ok", None), ("r0", "ok", None), ("r1", "ok", None), ("r2", PENDING, "pc-a")]
    assert ask(place, "SELECT requests FROM usage_days") == [(3,)]


async def test_a_large_batch_takes_postgresql_as_many_statements_as_a_small_one(postgres_url: str) -> None:
    await asyncio.to_thread(migrate, postgres_url)

    def batch(first: int, count: int) -> list[tuple[Any, ...]]:
        return [row(f"r{n}", model=f"m{n}", input_tokens=n) for n in range(first, first + count)]

    few, many = put(postgres_url, batch(0, 2)), put(postgres_url, batch(2, 1500))
    assert len(few) == len(many)
    assert max(map(len, many)) < 5_000
    assert ask(postgres_url, "SELECT SUM(requests) FROM usage_days") == [(1502,)]
