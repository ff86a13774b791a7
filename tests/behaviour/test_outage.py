"""Two gateways without their Redis for a moment, under load; the long form is `tests.behaviour.outage`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.behaviour.outage import LIMIT, run


@pytest.mark.parametrize("how", ["pause", "kill"])
async def test_without_redis_requests_go_on_as_before(tmp_path: Path, how: str) -> None:
    phases = await run(tmp_path, 6, how, rate=50, beside=2)
    print(phases)
    for phase in phases.values():
        assert set(phase.statuses) <= {"200", "429"}
        assert phase.statuses.get("429", 0) <= sum(phase.statuses.values()) / 50, "in the moment of its going"
        assert phase.most <= LIMIT
    # 10 ms even for the slowest of a hundred, on a machine that does nothing else.
    assert phases["without Redis"].p50 < phases["before"].p50 + 200
    assert phases["without Redis"].p99 < phases["before"].p99 + 3000
