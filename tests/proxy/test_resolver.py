"""Names while their servers answer, while they do not, and when a name is no more."""

from __future__ import annotations

import socket

import pytest
from aiodns import error as errno
from aiodns.error import DNSError
from aiohttp.abc import AbstractResolver, ResolveResult

from proxy.transport.resolver import Resolver


class Servers(AbstractResolver):
    """Name servers that say `address`, or fail with a code of c-ares."""

    def __init__(self) -> None:
        self.address = "192.0.2.1"
        self.fails: int | None = None
        self.closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if self.fails is not None:
            raise OSError(None, "DNS lookup failed") from DNSError(self.fails, "failed")
        return [ResolveResult(hostname=host, host=self.address, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        self.closed = True


class Scene:
    def __init__(self) -> None:
        self.now = 0.0
        self.servers = Servers()
        self.resolver = Resolver(self.servers, lambda: self.now)

    async def ask(self, host: str = "api.example.com") -> str:
        return (await self.resolver.resolve(host, 443))[0]["host"]


@pytest.mark.parametrize("code", [errno.ARES_ETIMEOUT, errno.ARES_ESERVFAIL, errno.ARES_ECONNREFUSED])
async def test_while_no_server_answers_the_last_address_serves_for_an_hour(code: int) -> None:
    scene = Scene()
    assert await scene.ask() == "192.0.2.1"
    scene.servers.fails = code
    scene.now = 3600.0
    assert await scene.ask() == "192.0.2.1"
    scene.now = 3601.0
    with pytest.raises(OSError):
        await scene.ask()


@pytest.mark.parametrize("code", [errno.ARES_ENOTFOUND, errno.ARES_ENODATA])
async def test_a_name_that_is_no_more_is_believed_at_once(code: int) -> None:
    scene = Scene()
    await scene.ask()
    scene.servers.fails = code
    with pytest.raises(OSError):
        await scene.ask()


async def test_a_new_address_is_used_as_soon_as_a_server_tells_it() -> None:
    scene = Scene()
    await scene.ask()
    scene.servers.fails = errno.ARES_ETIMEOUT
    await scene.ask()
    scene.servers.fails, scene.servers.address = None, "192.0.2.2"
    assert await scene.ask() == "192.0.2.2"
    scene.servers.fails = errno.ARES_ETIMEOUT
    assert await scene.ask() == "192.0.2.2"


async def test_a_name_that_nobody_ever_told_is_an_error() -> None:
    scene = Scene()
    scene.servers.fails = errno.ARES_ETIMEOUT
    with pytest.raises(OSError):
        await scene.ask()


async def test_names_without_number_do_not_fill_the_memory_and_those_in_use_stay() -> None:
    scene = Scene()
    for number in range(3000):
        await scene.ask(f"{number}.example.com")
        await scene.ask()
    scene.servers.fails = errno.ARES_ETIMEOUT
    assert await scene.ask() == "192.0.2.1"
    with pytest.raises(OSError):
        await scene.ask("0.example.com")
    await scene.resolver.close()
    assert scene.servers.closed
