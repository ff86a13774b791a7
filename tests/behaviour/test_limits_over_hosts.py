"""Limits over two gateways with several workers each, over a real Redis, while everything goes wrong."""

from __future__ import annotations

from pathlib import Path

from tests.behaviour.chaos import run


async def test_never_more_than_the_limit_and_nothing_stays_held_whatever_fails(tmp_path: Path) -> None:
    result = await run(tmp_path, 7, workers=2, longest=1.5)
    print(result)
    assert result.most <= 10
    assert result.free == 10
    assert result.held == 0
    assert result.served > 50
    assert result.kills
    assert result.pauses + result.flushes
