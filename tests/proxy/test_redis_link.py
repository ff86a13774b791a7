"""The Redis link: answers belong to their commands, and a Redis that is away costs next to nothing."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Iterator
from time import monotonic

import pytest

from proxy.errors import StartupError
from proxy.redis_link import RedisDown, RedisLink, Script
from tests.fakes.redis_server import RedisServer


@pytest.fixture(scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), password="open sesame") as server:
        yield server


@pytest.fixture
def server(_server: RedisServer) -> Iterator[RedisServer]:
    yield _server
    if _server._process is None:
        _server.start()
    _server.resume()


@pytest.fixture
async def link(server: RedisServer) -> AsyncIterator[RedisLink]:
    link = linked(server, 10.0)
    yield link
    await link.close()


def linked(server: RedisServer, timeout: float) -> RedisLink:
    return RedisLink(server.url.replace("open sesame", "open%20sesame"), timeout=timeout)


async def until(condition: object, timeout: float = 30) -> None:
    assert callable(condition)
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.005)


async def test_commands_pipelines_and_scripts_are_answered(link: RedisLink) -> None:
    assert await link.call("SET", "a", b"\x00\xff") == b"OK"
    assert await link.call("GET", "a") == b"\x00\xff"
    values = await link.pipeline((("SET", "b", 1), ("INCR", "b"), ("LPUSH", "b", 1), ("GET", "b")))
    assert [values[0], values[1], values[3]] == [b"OK", 2, b"2"]
    assert "WRONGTYPE" in str(values[2])
    script = Script("return {KEYS[1], ARGV[1]}")
    for _ in range(2):
        assert await link.script(script, ["k"], [7]) == [b"k", b"7"]


async def test_a_cancelled_command_never_leaves_its_answer_to_the_next_one(link: RedisLink) -> None:
    dice = random.Random(1)

    async def ask(name: str) -> None:
        assert await link.call("ECHO", name) == name.encode()

    for turn in range(300):
        tasks = [asyncio.ensure_future(ask(f"{turn}-{index}")) for index in range(6)]
        for _ in range(dice.randrange(4)):
            await asyncio.sleep(0)
        for task in tasks:
            if dice.random() < 0.4:
                task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert result is None or isinstance(result, asyncio.CancelledError)


async def test_a_command_that_came_too_late_never_answers_the_next_one(server: RedisServer) -> None:
    link = linked(server, 10.0)
    await link.call("PING")
    server.pause()
    link._timeout = 0.05
    with pytest.raises(RedisDown):
        await link.call("ECHO", "late")
    link._timeout = 10.0
    server.resume()
    assert await link.call("ECHO", "next") == b"next"
    await link.close()


@pytest.mark.parametrize("how", ["pause", "kill"])
async def test_while_redis_is_away_nobody_waits_and_it_comes_back_by_itself(
    link: RedisLink, server: RedisServer, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("loopway").propagate = True
    await link.call("PING")
    getattr(server, how)()
    link._timeout = 0.2
    for _ in range(3):
        with pytest.raises(RedisDown):
            await link.call("PING")
    assert not link.up
    began = monotonic()
    for _ in range(100):
        with pytest.raises(RedisDown):
            await link.call("PING")
    assert monotonic() - began < 10, "waiting for each would be 20 s"
    link._timeout = 10.0
    server.resume() if how == "pause" else server.start()
    await until(lambda: link.up)
    assert await link.call("PING") == b"PONG"
    assert "sesame" not in caplog.text
    assert "sesame" not in repr(link)


async def test_messages_are_heard_also_after_redis_was_away(link: RedisLink, server: RedisServer) -> None:
    heard: list[bytes] = []
    begun: list[bool] = []
    link.listen("news", heard.append, lambda: begun.append(True))
    await until(lambda: len(begun) == 1)
    await link.call("PUBLISH", "news", b"one")
    await until(lambda: heard == [b"one"])
    server.kill()
    server.start()
    await until(lambda: len(begun) == 2)
    await until(lambda: link.up)
    server.client().publish("news", b"two")
    await until(lambda: heard == [b"one", b"two"])


def test_a_url_that_cannot_be_used_is_refused_without_showing_it() -> None:
    with pytest.raises(StartupError) as refused:
        RedisLink("http://:secret@host")
    assert "secret" not in str(refused.value)
