"""The worker that makes a call for all others is killed in the middle of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

from tests.behaviour.client import Answer, Line, connect, request
from tests.fakes.gateway import OPENAI_SLUG, Gateway, Launch, standard
from tests.fakes.provider import CHAT
from tests.fakes.upstream import Asked, Script, Scripted, ok

WORKERS = 3
FOLLOWERS = 5
CONFIG = {"cache": {"mode": "simple"}, "virtual_key": OPENAI_SLUG}
SAID = {"role": "assistant", "content": "Hello again"}
COMPLETION: dict[str, Any] = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": SAID, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}


async def until(condition: Any, what: str) -> None:
    """Waits until `condition()` holds. Raises AssertionError."""
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"never: {what}")


async def by_worker(gateway: Gateway, count: int) -> dict[int, list[Line]]:
    """So many connections to each worker, by its process id."""
    found: dict[int, list[Line]] = {pid: [] for pid in gateway.workers()}
    raw = f"GET /v1/health/targets HTTP/1.1\r\nhost: x\r\nx-portkey-api-key: {gateway.admin_key}\r\n\r\n".encode()
    while any(len(lines) < count for lines in found.values()):
        line = await connect(gateway.port)
        line.send(raw)
        lines = found[(await line.answer()).json()["worker"]]
        if len(lines) < count:
            lines.append(line)
        else:
            line.leave()
    return found


def links(workers: list[int]) -> int:
    """How many connections there are to the sockets on which these workers ask one another."""
    names = tuple(f"/cache-{pid}-" for pid in workers)
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return sum(1 for row in rows if row[5] == "03" and any(name in row[-1] for name in names))


async def test_a_leader_that_is_killed_costs_one_more_call_and_its_followers_nothing(launch: Launch) -> None:
    never = asyncio.Event()

    def play(asked: Asked) -> Script:
        return [never] if len(upstream.requests) == 1 else [ok(json.dumps(COMPLETION).encode())]

    async with Scripted(play=play) as upstream:
        config = standard(upstream.url)
        config["configs"].append({"slug": "pc-shared", "config": CONFIG})
        gateway = launch(config, workers=WORKERS)
        run = gateway.data / "run"
        await until(lambda: len(list(run.glob("cache-*.sock"))) == WORKERS, "all workers listen to one another")
        lines = await by_worker(gateway, FOLLOWERS)
        (leader, (first, *_)), *others = lines.items()
        asked = request(
            "/v1/chat/completions", json.dumps(CHAT).encode(), {"x-portkey-config": "pc-shared"}, key=gateway.api_key
        )
        first.send(asked)
        await until(lambda: len(upstream.requests) == 1, "the leader calls")
        followers = [line for _, opened in others for line in opened]
        for line in followers:
            line.send(asked)
        await until(lambda: links(list(lines)) == WORKERS, "a follower in each other worker waits")
        os.kill(leader, signal.SIGKILL)
        answers: list[Answer] = await asyncio.gather(*(line.answer() for line in followers))
        assert {answer.status for answer in answers} == {200}
        assert {answer.json()["choices"][0]["message"]["content"] for answer in answers} == {"Hello again"}
        assert len(upstream.requests) == 2
        for opened in lines.values():
            for line in opened:
                line.leave()
