"""Requests leave nothing behind: the short form of `python -m tests.behaviour.soak`, by counts and not by time."""

from __future__ import annotations

import asyncio
import gc
import sys
from itertools import pairwise

from tests.behaviour.rig import MESSAGES, Rig, open_files
from tests.behaviour.soak import HELLO, KINDS, ORDER
from tests.fakes.gateway import Upstream

CONFIG = '{"virtual_key": "openai", "cache": {"mode": "simple"}}'
CHAT = {"model": "gpt-4o", "messages": HELLO}
ROUND = 60


async def one(rig: Rig, number: int) -> None:
    """A request of one kind after the other; what it gets is other tests' business."""
    kind, streamed = number % 6, number % 2 == 0
    body = CHAT | {"stream": streamed}
    if kind < 2:
        await rig.post("/v1/chat/completions", body, vk="openai")
    elif kind == 2:
        await rig.post("/v1/messages", MESSAGES | {"stream": streamed}, vk="openai")
    elif kind == 3:
        await rig.post("/v1/chat/completions", CHAT, config=CONFIG)
    elif kind == 4:
        line = await rig.open("/v1/chat/completions", body | {"model": "gpt-4o::gap=20,chunks=50"}, vk="openai")
        await line.until(lambda: line.read > 0)
        line.leave()
    else:
        await rig.post("/v1/chat/completions", b'{"model":', vk="openai")


async def round_of(rig: Rig, upstream: Upstream) -> tuple[int, int, int]:
    """So many requests, then what is there: blocks of memory, files, tasks."""
    for number in range(ROUND):
        await one(rig, number)
    await rig.until(lambda: rig.quiet and not rig.gateway.edge.connections)
    await rig.gateway.ledger.flush()
    rig.store.usage.clear()
    await asyncio.to_thread(upstream.reset)
    gc.collect()
    return sys.getallocatedblocks(), open_files(), len(asyncio.all_tasks())


def leaks(rounds: list[tuple[int, int, int]]) -> bool:
    """Whether each round left at least one block of memory a request."""
    return all(after[0] - before[0] >= ROUND for before, after in pairwise(rounds))


async def test_requests_of_every_kind_leave_no_memory_no_file_and_no_task(upstream: Upstream) -> None:
    async with Rig(openai=upstream.url) as rig:
        await round_of(rig, upstream)
        _, files, tasks = await round_of(rig, upstream)
        rounds = [await round_of(rig, upstream) for _ in range(2)]
        # Other threads of the tests come and go: the least of each counts, of as many rounds as it takes.
        while len(rounds) < 4 or (leaks(rounds) and len(rounds) < 12):
            rounds.append(await round_of(rig, upstream))
        assert not leaks(rounds)
        assert min(each[1] for each in rounds) <= files
        assert min(each[2] for each in rounds) <= tasks


def test_the_long_form_knows_a_hundred_requests() -> None:
    assert len(ORDER) == 100 == sum(share for share, _, _ in KINDS.values())
    assert {number * 37 % 100 for number in range(100)} == set(range(100))
