"""What is open because only this machine can reach it goes by the socket, not by what a file says of it."""

from __future__ import annotations

import pytest

from tests.behaviour.client import ask, request
from tests.behaviour.rig import Rig


@pytest.mark.parametrize(("listens", "status"), [("127.0.0.1", 200), ("0.0.0.0", 401)])
async def test_counters_are_open_only_on_a_socket_that_no_other_machine_reaches(listens: str, status: int) -> None:
    # The file says 127.0.0.1, as it does by default: systemd, or the program before this one, handed over the socket.
    async with Rig(listens=listens) as rig:
        assert (await ask(rig.port, request("/metrics", method="GET", key=""))).status == status
