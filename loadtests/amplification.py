"""`python -m loadtests.amplification`: how many requests a dead provider sees for each one that clients send.

A real gateway in front of a mock provider that answers everything with 503, a config with five retries, a steady rate
of requests. Prints one line of JSON; exits 1 where the provider saw more than 1.2 times the requests, and three for
each worker and started ten seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

import aiohttp

from loadtests import procs

_TOKEN = "lw-amplification-0123456789"


def _config(upstream: int) -> str:
    config = {"virtual_key": "dead", "retry": {"attempts": 5}}
    return json.dumps(
        {
            "virtual_keys": [
                {
                    "slug": "dead",
                    "provider": "openai",
                    "key": "sk-mock",
                    "custom_host": f"http://127.0.0.1:{upstream}/__mode/status=503/v1",
                }
            ],
            "api_keys": [{"name": "load", "key": _TOKEN, "config": "pc-dead"}],
            "configs": [{"slug": "pc-dead", "config": config}],
            "logs": {"access": False},
        }
    )


async def ready(session: aiohttp.ClientSession, url: str) -> None:
    """Waits until `url` answers 200. Raises TimeoutError."""
    for _ in range(400):
        try:
            async with session.get(url) as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientConnectionError:
            pass
        await asyncio.sleep(0.05)
    raise TimeoutError(f"{url} never answered")


async def _load(session: aiohttp.ClientSession, url: str, rate: float, seconds: float) -> dict[int, int]:
    statuses: dict[int, int] = {}

    async def one() -> None:
        headers = {"x-portkey-api-key": _TOKEN}
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
        async with session.post(url, json=body, headers=headers) as answer:
            await answer.read()
            statuses[answer.status] = statuses.get(answer.status, 0) + 1

    loop = asyncio.get_running_loop()
    began = loop.time()
    tasks = []
    for n in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + n / rate - loop.time()))
        tasks.append(asyncio.create_task(one()))
    await asyncio.gather(*tasks)
    return statuses


async def _measure(rate: float, seconds: float, workers: int) -> dict[str, object]:
    upstream, gateway = procs.free_port(), procs.free_port()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "loopway.yaml"
        file.write_text(_config(upstream))
        serve = ["serve", "--config", str(file), "--data", f"{folder}/data", "--port", str(gateway)]
        running = [
            procs.spawn([sys.executable, "-m", "proxy", *arguments], frozenset())
            for arguments in (["mock", "--port", str(upstream)], [*serve, "--workers", str(workers)])
        ]
        try:
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(connector=connector) as session:
                await ready(session, f"http://127.0.0.1:{gateway}/readyz")
                await ready(session, f"http://127.0.0.1:{upstream}/__stats")
                url = f"http://127.0.0.1:{gateway}/v1/chat/completions"
                statuses = await _load(session, url, rate, seconds)
                async with session.get(f"http://127.0.0.1:{upstream}/__stats") as answer:
                    seen = (await answer.json())["requests"]
        finally:
            for process in running:
                procs.end(process)
    sent = sum(statuses.values())
    return {
        "requests": sent,
        "statuses": statuses,
        "upstream": seen,
        "amplification": round(seen / sent, 4),
        "allowed": round(1.2 + 3 * workers * (seconds // 10 + 1) / sent, 4),
    }


def main() -> int:
    """Runs the measurement as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=200.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    found = asyncio.run(_measure(given.rate, given.seconds, given.workers))
    print(json.dumps(found))
    amplification, allowed = found["amplification"], found["allowed"]
    assert isinstance(amplification, float)
    assert isinstance(allowed, float)
    return 0 if amplification <= allowed else 1


if __name__ == "__main__":
    sys.exit(main())
