"""Quiet keys beside a noisy one, at one virtual key with a queue; the long form is `tests.behaviour.fairness`."""

from __future__ import annotations

from pathlib import Path

from tests.behaviour.fairness import run


async def test_quiet_keys_are_served_beside_one_that_asks_a_hundred_times_as_often(tmp_path: Path) -> None:
    alone, beside = await run(tmp_path, 3, workers=2)
    print(alone, beside)
    assert beside.success >= 0.999
    assert beside.most <= 16
    assert beside.p99 < 4 * alone.p99, "twice, on a machine that does nothing else"
