"""Reloads under load; the long form is `python -m tests.behaviour.reloads`."""

from __future__ import annotations

import asyncio

from tests.behaviour.reloads import drive
from tests.behaviour.rolling import Load
from tests.fakes.gateway import Launch, Upstream, standard


async def test_no_request_notices_that_the_file_changes_again_and_again(launch: Launch, upstream: Upstream) -> None:
    config = standard(upstream.url) | {"logs": {"level": "warning", "access": False}}
    gateway = await asyncio.to_thread(launch, config, workers=2)
    load = Load(gateway.port, 50, 10, gap=20, chunks=20)
    found = await drive(gateway, upstream.url, 12, 2, load)
    assert found["failures"] == {}
    assert found["requests"] > 50
    assert found["refused"] == 1
