"""What happens when the process may open no more files: nothing spins, nobody is lost for good."""

from __future__ import annotations

import os
import resource
import socket
import time
from pathlib import Path

from tests.fakes.gateway import Gateway, Launch, Upstream, standard
from tests.fakes.raw import Wire, request

_FEW = 96


def spent(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def answers(gateway: Gateway) -> bool:
    """Whether a fresh connection is served now."""
    try:
        with Wire(gateway.port) as wire:
            return wire.send(request("GET", "/healthz")).answer().status == 200
    except (OSError, EOFError):  # it was closed for want of a descriptor
        return False


def test_a_worker_without_descriptors_neither_spins_nor_dies_and_serves_again(
    launch: Launch, upstream: Upstream
) -> None:
    gateway = launch(standard(upstream.url), workers=1)
    (worker,) = gateway.workers()
    with Wire(gateway.port) as kept:
        assert kept.send(request("GET", "/healthz")).answer().status == 200
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (_FEW, _FEW))
        many = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(3 * _FEW)]
        gateway.until(lambda: len(os.listdir(f"/proc/{worker}/fd")) >= _FEW - 4, "it has all that it may have")
        before, began = spent(worker), time.monotonic()
        for _ in range(5):
            assert kept.send(request("GET", "/healthz")).answer().status == 200
            time.sleep(0.2)
        assert spent(worker) - before < 0.5 * (time.monotonic() - began), "it spins"
        size = len(gateway.log())
        for each in many:
            each.close()
        gateway.until(lambda: answers(gateway), "it serves others again")
        assert gateway.workers() == [worker]
        assert size < 64_000, gateway.log()[:2000]
