"""Nothing on a request's way waits on the event loop's thread: the interpreter itself is asked, by its audit events.

A timer would say how late a loop was, on a machine that others use too. This says what stood in its way: sleeping,
looking up names, starting programs, opening databases or files. Writing counters is the one thing that the loop does
itself (twice a second, a few kilobytes, to the run directory); opening anything else there is a fault.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.behaviour.rig import CHAT, MESSAGES, TOKEN, Rig, api_key
from tests.fakes.gateway import ROOT, WATCHED, Upstream, clean_environment
from tests.fakes.watched.sitecustomize import SAYS

_WAITING = frozenset(
    (
        "time.sleep", "subprocess.Popen", "os.system", "os.posix_spawn", "socket.getaddrinfo", "socket.gethostbyname",
        "socket.gethostbyaddr", "sqlite3.connect", "urllib.Request", "http.client.connect",
    )
)  # fmt: skip


class Watch:
    """What waited on one thread, while it looks."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.thread = 0
        self.allowed: tuple[str, ...] = ()

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.thread != threading.get_ident():
            return
        if event in ("open", "os.listdir"):
            path = str(arguments[0])
            if not path.startswith(self.allowed):
                self.seen.append(f"{event} {path}")
        elif event in _WAITING:
            self.seen.append(f"{event} {arguments!r:.200}")


_watch = Watch()


@pytest.fixture
def watch() -> Iterator[Watch]:
    if not _watch.allowed:
        sys.addaudithook(_watch)  # which cannot be taken away again; it looks at no thread unless told to
    _watch.seen.clear()
    yield _watch
    _watch.thread = 0


async def test_nothing_on_the_way_of_a_request_waits_on_the_loop(watch: Watch, upstream: Upstream) -> None:
    administrator = api_key("admin", "lw-admin", scopes=("admin", "analytics", "logs"))
    url = upstream.url
    async with Rig(openai=url, openai_bad=f"{url}/__mode/status=500", anthropic=url, keys=(administrator,)) as rig:
        rescue = {
            "strategy": {"mode": "fallback"},
            "targets": [{"virtual_key": "openai-bad"}, {"virtual_key": "openai"}],
        }

        async def everything() -> None:
            stream = {"stream": True}
            large = {**CHAT, "messages": [{"role": "user", "content": "long " * 200_000}]}
            for slug in ("openai", "anthropic"):
                for more in ({}, stream):
                    assert (await rig.post("/v1/chat/completions", {**CHAT, **more}, vk=slug)).status == 200
                    assert (await rig.post("/v1/messages", {**MESSAGES, **more}, vk=slug)).status == 200
                assert (await rig.post("/v1/chat/completions", large, vk=slug)).status == 200
            assert (await rig.post("/v1/embeddings", {"model": "e", "input": "x"}, vk="openai")).status == 200
            assert (await rig.chat(config=rescue)).status == 200
            assert (await rig.post("/v1/chat/completions", b"{", vk="openai")).status == 400
            assert (await rig.post("/v1/chat/completions", CHAT, vk="nobody")).status >= 400
            wrong = {"x_portkey_api_key": f"{TOKEN}-not"}
            assert (await rig.post("/v1/chat/completions", CHAT, vk="openai", **wrong)).status == 401
            rig.gateway.metrics_text()

        await everything()  # what is imported or made once, is by now
        watch.allowed = (str(rig.run), "/proc/self/", "/dev/urandom")
        watch.thread = threading.get_ident()
        await everything()
        await asyncio.sleep(0.6)  # the flusher's turn as well
        watch.thread = 0
    assert watch.seen == []


_SLEEPS = f"exec(compile('import time; time.sleep(0)', {str(ROOT / 'proxy' / 'x.py')!r}, 'exec'))"
_PROGRAM = f"""
import asyncio
async def main():
    asyncio.get_running_loop().call_soon(lambda: {_SLEEPS})
    await asyncio.sleep(0)
asyncio.run(main())
"""


async def test_every_test_and_every_program_is_watched_for_calls_that_wait(
    watched: list[str],
) -> None:
    asyncio.get_running_loop().call_soon(exec, _SLEEPS)
    await asyncio.sleep(0)
    assert watched == [f"{SAYS}time.sleep in proxy/x.py:1"]
    watched.clear()
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROGRAM, env=clean_environment() | WATCHED, stderr=asyncio.subprocess.PIPE
    )
    _, said = await program.communicate()
    assert said.decode().strip() == f"{SAYS}time.sleep in proxy/x.py:1"


async def test_the_watch_sees_what_waits(watch: Watch, tmp_path: Any) -> None:
    watch.allowed = ("/nowhere",)
    watch.thread = threading.get_ident()
    (tmp_path / "x").write_text("x")
    await asyncio.to_thread((tmp_path / "x").read_text)
    watch.thread = 0
    assert watch.seen == [f"open {tmp_path / 'x'}"]
