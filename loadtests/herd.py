"""`python -m loadtests.herd`: how much later the followers of a shared call have their answer than a lone request.

A real gateway with a cache in front of a mock provider that takes a known time. First questions that nobody else asks,
one after the other: what a lone request takes. Then a herd, each over a connection of its own that is open already, all
asking the same at once. `added` is, for each of them, the time from the first request sent to its answer's last byte,
less the median of a lone request; sending, the client's own reading and the fan-out are all in it. Prints one line of
JSON; exits 1 where the provider saw more than one call of a herd.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from pathlib import Path

import aiohttp

from loadtests import procs
from loadtests.amplification import ready

_TOKEN = "lw-herd-0123456789abcdef"
_LONE = 15
"""Lone requests, of which the median counts."""
_HERDS = 3
"""The first of them warms up."""


def _config(upstream: int, latency: int) -> str:
    host = f"http://127.0.0.1:{upstream}/__mode/latency={latency}/v1"
    row = {"slug": "slow", "provider": "openai", "key": "sk-mock", "custom_host": host}
    shared = {"virtual_key": "slow", "cache": {"mode": "simple"}}
    return json.dumps(
        {
            "virtual_keys": [row],
            "api_keys": [{"name": "load", "key": _TOKEN, "config": "pc-shared"}],
            "configs": [{"slug": "pc-shared", "config": shared}],
            "logs": {"access": False},
        }
    )


def _request(question: str) -> bytes:
    body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": question}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-portkey-api-key: {_TOKEN}\r\n"
    return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


class _Asker(asyncio.Protocol):
    """One connection, and when its answer was whole. Answers are small and have a length."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._data = b""
        self.done: asyncio.Future[float] = loop.create_future()

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, mark, body = self._data.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if mark and len(body) >= int(length) and not self.done.done():
            if head[9:12] == b"200":
                self.done.set_result(self._loop.time())
            else:
                self.done.set_exception(RuntimeError(head.decode("latin-1")))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the gateway hung up"))


async def _ask(port: int, question: str, count: int) -> list[float]:
    """Seconds from the first request sent until each asker has its answer."""
    loop = asyncio.get_running_loop()
    opened = [await loop.create_connection(lambda: _Asker(loop), "127.0.0.1", port) for _ in range(count)]
    raw = _request(question)
    began = loop.time()
    for transport, _ in opened:
        transport.write(raw)
    ends = await asyncio.gather(*(asker.done for _, asker in opened))
    for transport, _ in opened:
        transport.close()
    return sorted(end - began for end in ends)


async def _calls(session: aiohttp.ClientSession, upstream: int) -> int:
    async with session.get(f"http://127.0.0.1:{upstream}/__stats") as answer:
        seen: int = (await answer.json())["requests"]
    return seen


async def _measure(askers: int, latency: int, workers: int) -> dict[str, object]:
    upstream, gateway = procs.free_port(), procs.free_port()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "loopway.yaml"
        file.write_text(_config(upstream, latency))
        serve = ["serve", "--config", str(file), "--data", f"{folder}/data", "--port", str(gateway)]
        running = [
            procs.spawn([sys.executable, "-m", "proxy", *arguments], frozenset())
            for arguments in (["mock", "--port", str(upstream)], [*serve, "--workers", str(workers)])
        ]
        try:
            async with aiohttp.ClientSession() as session:
                await ready(session, f"http://127.0.0.1:{gateway}/readyz")
                await ready(session, f"http://127.0.0.1:{upstream}/__stats")
                lone = statistics.median([(await _ask(gateway, f"alone {n}", 1))[0] for n in range(_LONE)])
                before = await _calls(session, upstream)
                for n in range(_HERDS):
                    took = await _ask(gateway, f"together {n}", askers)
                calls = await _calls(session, upstream) - before
        finally:
            for process in running:
                procs.end(process)
    added = [round((each - lone) * 1000, 1) for each in took]
    return {
        "askers": askers,
        "workers": workers,
        "calls_per_herd": calls / _HERDS,
        "lone_ms": round(lone * 1000, 1),
        "added_ms": {"p50": added[len(added) // 2], "p99": added[len(added) * 99 // 100], "max": added[-1]},
    }


def main() -> int:
    """Runs the measurement as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--askers", type=int, default=1000)
    parser.add_argument("--latency", type=int, default=500, help="milliseconds that the provider takes")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    procs.raise_file_limit()
    found = asyncio.run(_measure(options.askers, options.latency, options.workers))
    print(json.dumps(found))
    return 0 if found["calls_per_herd"] == 1 else 1


if __name__ == "__main__":
    raise SystemExit(main())
