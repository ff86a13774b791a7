"""One request cannot spoil what is written down of others, whatever its client or its provider puts into it.

A tenant may name a host of its own, so what a provider says it counted is as hostile as any byte of a client.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.ports import Budget, Limits, Rates, Store
from proxy.store import migrate, open_store
from proxy.usage_columns import COLUMNS, OWN
from proxy.vault import Vault
from tests.behaviour.rig import CHAT, MESSAGES, Rig
from tests.fakes.upstream import Asked, Script, Scripted, ok

ABSURD = [10**30, 2**63, 2**62, -1, -(10**9), -(10**30)]


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store with its tables."""
    where: Any = tmp_path / "loopway.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    migrate(where)
    return open_store(where, Vault.open(tmp_path, {}))


def _of_openai(count: int) -> bytes:
    usage = {
        "prompt_tokens": count,
        "completion_tokens": count,
        "total_tokens": count,
        "prompt_tokens_details": {"cached_tokens": count},
    }
    return json.dumps({"id": "x", "object": "chat.completion", "choices": [], "usage": usage}).encode()


def _of_anthropic(count: int) -> bytes:
    usage = {
        "input_tokens": count,
        "output_tokens": count,
        "cache_read_input_tokens": count,
        "cache_creation": {"ephemeral_1h_input_tokens": count},
    }
    body = {"id": "msg_1", "type": "message", "role": "assistant", "model": "x", "content": [], "usage": usage}
    return json.dumps({**body, "stop_reason": "end_turn"}).encode()


def _of_google(count: int) -> bytes:
    usage = {"promptTokenCount": count, "candidatesTokenCount": count, "cachedContentTokenCount": count}
    content = {"role": "model", "parts": [{"text": "hi"}]}
    return json.dumps({"candidates": [{"content": content}], "usageMetadata": usage}).encode()


ANSWERS = {"openai": _of_openai, "anthropic": _of_anthropic, "google": _of_google}


def _streamed(body: bytes) -> bytes:
    events = b"data: " + body + b"\n\ndata: [DONE]\n\n"
    return b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n%b" % (len(events), events)


@asynccontextmanager
async def _telling(name: str, *counts: int, **more: Any) -> AsyncIterator[Rig]:
    """A gateway whose provider says that it counted so many tokens, another number at each request."""
    bodies = itertools.cycle([ANSWERS[name](count) for count in counts])

    def play(asked: Asked) -> Script:
        body = next(bodies)
        return [_streamed(body) if b'"stream":true' in asked.body.replace(b" ", b"") else ok(body)]

    async with Scripted(play=play) as upstream, Rig(**{name: upstream.url}, **more) as rig:
        yield rig


def _kept(connection: Any) -> tuple[list[dict[str, Any]], int]:
    rows = [dict(row) for row in connection.execute(f"SELECT {', '.join(COLUMNS)} FROM usage").fetchall()]
    days = connection.execute("SELECT COALESCE(SUM(requests), 0) AS n FROM usage_days").fetchone()
    return rows, int(days["n"])


async def _rows(rig: Rig) -> list[dict[str, Any]]:
    """What the store has of the requests so far, once nothing waits for it; sums by day have just as many."""
    await rig.gateway.ledger.flush(last=True)
    assert not rig.gateway.ledger.failing
    assert rig.gateway.ledger.waiting == 0
    rows, total = await rig.store.run("reports", _kept)
    assert total == len(rows)
    return rows


@pytest.mark.parametrize(
    ("store", "name", "streamed"),
    [("sqlite", name, streamed) for name in ANSWERS for streamed in (False, True)] + [("postgresql", "openai", False)],
    indirect=["store"],
)
async def test_what_a_provider_counts_costs_nobody_a_row(store: Store, name: str, streamed: bool) -> None:
    limits = Limits(concurrency=1, budget=Budget(tokens=10**9), tokens=Rates(per_day=10**9))
    async with _telling(name, *ABSURD, store=store, limits=limits) as rig:
        for _ in ABSURD:
            for path, body in (("/v1/chat/completions", CHAT), ("/v1/messages", MESSAGES)):
                answer = await rig.post(path, {**body, "stream": streamed})
                assert answer.status in (200, 502)
        rows = await _rows(rig)
        assert len(rows) == 2 * len(ABSURD)
        assert all(0 <= (row["input_tokens"] or 0) <= 2**33 for row in rows)
        assert rig.quiet


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_provider_gives_no_budget_back(name: str, streamed: bool) -> None:
    async with _telling(name, -(10**6), limits=Limits(budget=Budget(tokens=1_000_000))) as rig:
        await rig.chat(stream=streamed)
        (meter,) = [each.meter for each in rig.gateway.live.limiters.all.values() if each.meter is not None]
        assert meter.spent >= 0


@pytest.mark.parametrize("budget", [Budget(tokens=1000), Budget(usd=1.0)])
async def test_what_a_client_asks_for_cannot_break_a_budget(budget: Budget) -> None:
    limits = Limits(concurrency=1, budget=budget, tokens=Rates(per_day=10**9))
    async with _telling("openai", 1, limits=limits) as rig:
        for most in (2**32, 2**62, 2**63, 2**64, 10**30, -1, -(10**30)):
            for n in (1, 10**30, -1):
                assert (await rig.chat(max_tokens=most, n=n)).status == 200
        assert rig.quiet


NUL = "gpt\0-4o"


async def test_a_character_that_a_store_cannot_keep_costs_nobody_a_row(store: Store) -> None:
    async with _telling("openai", 1, store=store) as rig:
        await rig.chat(model=NUL)
        await rig.chat(model=f"@openai/{NUL}", user=NUL)
        await rig.post("/v1/chat/completions", CHAT, x_portkey_metadata=json.dumps({NUL: NUL}))
        assert len(await _rows(rig)) == 3


async def test_a_row_that_no_store_can_keep_costs_none_of_the_others(store: Store) -> None:
    async with _telling("openai", 1, store=store) as rig:
        for _ in range(5):
            await rig.chat()
        taken, _ = rig.gateway.ledger._take()
        rows = list(taken)
        spoilt = list(rows[2])
        spoilt[OWN.index("input_tokens")] = 2**70
        rows[2] = tuple(spoilt)
        await rig.gateway.ledger._give(rows)
        assert len(await _rows(rig)) == 4
        assert rig.gateway.ledger.dropped == 1
