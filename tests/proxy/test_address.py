"""Which addresses may be connected to: by their form, and on the final address of every socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver

from adapters.errors import Kind
from adapters.providers import PROVIDERS
from proxy.address import AddressPolicy, check_host
from proxy.config.access import Access
from proxy.config.hosts import trusted
from proxy.config.target import Target
from proxy.errors import Refused, UpstreamFailure
from proxy.seams import Origin, Timeouts
from proxy.transport import HttpTransport
from tests.security.hosts import FORBIDDEN, METADATA, PRIVATE, PUBLIC

OPERATOR, CLIENT = AddressPolicy(private=True), AddressPolicy(private=False)


def target(custom_host: str, *, guarded: bool = True, listed: tuple[str, ...] = ()) -> Target:
    return Target(
        Access(PROVIDERS["openai"], "sk", custom_host=custom_host, guarded=guarded, trusted=frozenset(listed))
    )


# -- by its form


@pytest.mark.parametrize("url", FORBIDDEN)
def test_a_client_cannot_name_a_host_that_is_private_or_ambiguous(url: str) -> None:
    with pytest.raises(Refused) as caught:
        target(url)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, "custom_host", "invalid_custom_host")
    assert url.strip() not in caught.value.message or len(url) < 4


@pytest.mark.parametrize("url", PUBLIC)
def test_a_client_may_name_a_public_host(url: str) -> None:
    origin = target(url).origin
    assert origin.guarded
    assert origin.host == origin.host.lower()


@pytest.mark.parametrize(
    "url", ["http://localhost:11434", "http://10.0.0.1/v1", "http://[::1]:80", "http://db.internal"]
)
def test_a_host_that_the_operator_listed_may_be_named(url: str) -> None:
    listed = ("localhost", "10.0.0.1", "::1", "db.internal")
    assert not target(url, listed=listed).origin.guarded


@pytest.mark.parametrize("url", ["http://10.0.0.1:8000/v1", "http://[fd00::1]:8000", "HTTP://Models.internal:8000"])
def test_a_host_may_be_listed_with_the_one_port_that_requests_may_name(url: str) -> None:
    listed = tuple(trusted(["10.0.0.1:8000", "[FD00::1]:8000", "models.internal:8000"]))
    assert not target(url, listed=listed).origin.guarded
    with pytest.raises(Refused):
        target(url.replace(":8000", ":8001"), listed=listed)


def test_brackets_and_case_of_a_listed_host_do_not_matter() -> None:
    assert trusted(["LocalHost", "[::1]", "::1"]) == {"localhost", "::1"}


@pytest.mark.parametrize("url", METADATA)
def test_listing_a_metadata_service_does_not_open_it(url: str) -> None:
    with pytest.raises(Refused):
        target(url, listed=(url.partition("//")[2].partition("/")[0].strip("[]").lower(),))


def test_hosts_beside_a_listed_one_stay_closed() -> None:
    for url in ("http://localhost.", "http://a.localhost", "http://localhost.evil.local", "http://127.0.0.1"):
        with pytest.raises(Refused):
            target(url, listed=("localhost",))


@pytest.mark.parametrize("host", ["db", "db.internal", "my_container", "10.0.0.1", "::1", "localhost"])
def test_an_operators_host_may_be_private(host: str) -> None:
    check_host(host, trusted=True)


# -- by its address


def addresses(urls: tuple[str, ...]) -> list[str]:
    """The numeric ones among the hosts of these URLs."""
    found = []
    for url in urls:
        host = url.partition("//")[2].partition("/")[0]
        host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        if host.count(".") == 3 or ":" in host:
            try:
                socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
            except OSError:
                continue
            found.append(host)
    return found


@pytest.mark.parametrize("address", addresses((*METADATA, *PRIVATE)))
def test_no_socket_is_made_to_such_an_address_for_a_client(address: str) -> None:
    assert not CLIENT.allows(address)
    with pytest.raises(PermissionError):
        CLIENT.check(address)


@pytest.mark.parametrize("address", addresses(METADATA))
def test_no_socket_is_made_to_a_metadata_service_for_anyone(address: str) -> None:
    assert not OPERATOR.allows(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e"])
def test_public_addresses_are_for_everyone(address: str) -> None:
    assert CLIENT.allows(address)
    assert OPERATOR.allows(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.1.2.3", "192.168.1.1", "fd12::1", "::ffff:10.0.0.1"])
def test_private_addresses_are_for_operators(address: str) -> None:
    assert OPERATOR.allows(address)
    assert not CLIENT.allows(address)


@pytest.mark.parametrize(
    "text", ["", "x", "localhost", "127.1", "1.2.3", "0x7f000001", "[::1]", "1.2.3.4/8", "fe80::1%lo"]
)
def test_what_is_no_public_address_is_not_allowed(text: str) -> None:
    assert not CLIENT.allows(text)


# -- when connecting


class Names(AbstractResolver):
    """Resolves names as told, one list of addresses for each question."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[Any]:
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
            for address in found
        ]

    async def close(self) -> None:
        """Nothing to close."""


class Listener:
    """A canary: counts who connects."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await reader.read()
        writer.close()

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()


@pytest.fixture
async def canary() -> AsyncIterator[Listener]:
    listener = Listener()
    await listener.start()
    yield listener
    await listener.close()


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    made = HttpTransport(OPERATOR, CLIENT, 10.0, asyncio.get_running_loop())
    yield made
    await made.close()


async def send(transport: HttpTransport, origin: Origin) -> bytes:
    reply = await transport.send(origin, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"", Timeouts(2, 2, 2))
    try:
        return await reply.gather(100)
    finally:
        reply.close()


async def blocked(transport: HttpTransport, origin: Origin) -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as caught:
        await send(transport, origin)
    return caught.value


def resolving(monkeypatch: pytest.MonkeyPatch, names: Names) -> None:
    monkeypatch.setattr(aiohttp.connector, "DefaultResolver", lambda *_, **__: names)


@pytest.mark.parametrize(
    "found", [["127.0.0.1"], ["127.0.0.1", "::1"], ["::ffff:127.0.0.1"], ["10.0.0.1", "192.168.0.1"]]
)
async def test_a_public_name_that_leads_inside_is_not_followed(
    monkeypatch: pytest.MonkeyPatch, canary: Listener, found: list[str]
) -> None:
    resolving(monkeypatch, Names(found))
    transport = HttpTransport(OPERATOR, CLIENT, 10.0, asyncio.get_running_loop())
    failure = await blocked(transport, Origin("http", "rebound.example.com", canary.port, guarded=True))
    assert failure.kind is Kind.FORBIDDEN
    assert canary.connections == 0
    await transport.close()


async def test_the_same_name_is_followed_for_an_operator(monkeypatch: pytest.MonkeyPatch, canary: Listener) -> None:
    resolving(monkeypatch, Names(["127.0.0.1"]))
    transport = HttpTransport(OPERATOR, CLIENT, 10.0, asyncio.get_running_loop())
    assert await send(transport, Origin("http", "inside.example.com", canary.port)) == b"ok"
    # Nor does the connection that is now open for the operator serve a client's request to the same name.
    failure = await blocked(transport, Origin("http", "inside.example.com", canary.port, guarded=True))
    assert failure.kind is Kind.FORBIDDEN
    assert canary.connections == 1
    await transport.close()


async def test_a_metadata_address_is_not_connected_to_even_for_an_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, Names(["169.254.169.254"]))
    transport = HttpTransport(OPERATOR, CLIENT, 10.0, asyncio.get_running_loop())
    assert (await blocked(transport, Origin("http", "inside.example.com", 80))).kind is Kind.FORBIDDEN
    await transport.close()


def test_only_the_gateways_own_question_for_its_identity_reaches_a_metadata_service() -> None:
    assert AddressPolicy(private=True, metadata=True).allows("169.254.169.254")
    assert not AddressPolicy(private=True).allows("169.254.169.254")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "localhost"])
async def test_an_address_written_out_meets_the_same_check(
    transport: HttpTransport, canary: Listener, host: str
) -> None:
    failure = await blocked(transport, Origin("http", host, canary.port, guarded=True))
    assert failure.kind is Kind.FORBIDDEN
    assert not failure.sent
    assert "127.0.0.1" not in failure.message
    assert canary.connections == 0
