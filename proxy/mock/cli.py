"""The mock as a program."""

from __future__ import annotations

import asyncio
import resource
import signal
import sys

import uvloop

from proxy.mock.server import Mock


async def serve(host: str, port: int) -> None:
    """Serves until SIGTERM or SIGINT; prints one line with the address. Raises StartupError when it cannot listen."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    mock = Mock()
    await mock.start(host, port)
    sys.stdout.write(f"mock provider on {mock.url}\n")
    sys.stdout.flush()
    try:
        await stop.wait()
    finally:
        await mock.close()


def run(host: str, port: int) -> None:
    """`serve` on a loop of its own; returns when told to stop. Raises StartupError when it cannot listen."""
    # A thousand streams need as many descriptors; the usual soft limit is 1024.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(host, port))
