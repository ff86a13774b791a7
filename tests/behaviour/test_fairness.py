"""Quiet keys beside a noisy one, at one virtual key with a queue; the long form is `tests.behaviour.fairness`."""

from __future__ import annotations

from pathlib import Path

from tests.behaviour.fairness import run


async def test_quiet_keys_are_served_beside_one_that_asks_fifty_times_as_often(tmp_path: Path) -> None:
    # 133 requests a second can be served and nearly 200 come: few enough that a slow machine is not what is measured.
    # Whoever stood in one line with the noisy key would wait for half a second behind it, or be refused.
    alone, beside = await run(tmp_path, 3, workers=2, latency=120, times=50)
    print(alone, beside)
    assert beside.success >= 0.999
    assert beside.most <= 16
    assert beside.p50 < alone.p50 + 0.25
    assert beside.p99 < alone.p99 + 1.5
