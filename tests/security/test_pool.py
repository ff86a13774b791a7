"""Idle connections to providers: what comes on them belongs to nobody, and nobody gets it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import AsyncIterator

import pytest

from proxy.address import AddressPolicy
from proxy.seams import Origin, Timeouts
from proxy.transport import HttpTransport
from tests.behaviour.client import Line, connect
from tests.behaviour.rig import Rig, api_key, virtual_key
from tests.fakes.provider import Provider
from tests.fakes.upstream import End, Scripted

REQUEST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b"
POISON: dict[str, bytes | End] = {
    "an answer": ANSWER % (6, b"POISON"),
    "408": b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 6\r\nconnection: close\r\n\r\nPOISON",
    "a letter": b"H",
    "a line": b"\r\n",
    "junk": b"\x00POISON",
    "FIN": End.FIN,
    "RST": End.RST,
}


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    open_to_all = AddressPolicy(private=True)
    made = HttpTransport(open_to_all, open_to_all, 30.0, asyncio.get_running_loop())
    yield made
    await made.close()


async def said(transport: HttpTransport, origin: Origin, mark: bytes) -> bytes:
    reply = await transport.send(origin, REQUEST % (len(mark), mark), b"", Timeouts(2, 2, 2))
    try:
        return await reply.gather(1000)
    finally:
        reply.finish()


@pytest.mark.parametrize("name", POISON)
async def test_what_came_before_the_request_is_not_its_answer(transport: HttpTransport, name: str) -> None:
    poison = POISON[name]
    async with Scripted(play=lambda asked: [ANSWER % (len(asked.body), asked.body)]) as upstream:
        origin = Origin("http", "127.0.0.1", upstream.port)
        for number in range(50):
            mark = b"mark-%d" % number
            assert await said(transport, origin, mark) == mark
            # No turn of the loop between this and the next request: only the kernel has it so far.
            if isinstance(poison, End):
                upstream.last.end(poison)
            else:
                upstream.last.write(poison)
        assert len(upstream.connections) == 50


async def test_a_quiet_connection_is_used_again(transport: HttpTransport) -> None:
    async with Scripted(play=lambda asked: [ANSWER % (len(asked.body), asked.body)]) as upstream:
        origin = Origin("http", "127.0.0.1", upstream.port)
        for number in range(50):
            assert await said(transport, origin, b"%d" % number) == b"%d" % number
        assert len(upstream.connections) == 1


# -- two tenants

TENANTS = ("a", "b")


def tenants(provider: Provider) -> Rig:
    """A gateway where each tenant has a key and a virtual key, both at one provider's address."""
    return Rig(
        keys=tuple(api_key(name, f"lw-{name}", virtual_keys=(f"openai-{name}",)) for name in TENANTS),
        virtual_keys=tuple(virtual_key(f"openai-{name}", provider.url) for name in TENANTS),
    )


def asking(rig: Rig, tenant: str, number: int, model: str, **fields: object) -> tuple[bytes, str]:
    """A request of a tenant, and the id that its answer has: the provider makes it of the request's bytes."""
    message = {"role": "user", "content": f"the secret of {tenant}, number {number}"}
    body = json.dumps({"model": model, "messages": [message], **fields}).encode()
    raw = rig.raw("/v1/chat/completions", body, vk=f"openai-{tenant}", x_portkey_api_key=f"lw-{tenant}")
    return raw, f"chatcmpl-{hashlib.sha256(body).hexdigest()[:29]}"


@pytest.mark.parametrize("mode", ["late=1", "idle_408=1"])
async def test_an_unsolicited_answer_reaches_neither_tenant(mode: str) -> None:
    async with Provider() as provider, tenants(provider) as rig:
        lines = {name: await connect(rig.port) for name in TENANTS}
        for number in range(100):
            tenant = TENANTS[number % 2]
            raw, expected = asking(rig, tenant, number, f"gpt-4o::{mode}")
            lines[tenant].send(raw)
            answer = await lines[tenant].answer()
            assert (answer.status, answer.json()["id"]) == (200, expected)
            await provider.until(lambda stats, sent=number + 1: stats["unsolicited"] >= sent)
        assert provider.stats["connections_total"] >= 100
        for line in lines.values():
            line.leave()


class Tenant:
    """Asks again and again, leaves now and then in the middle, and looks whether an answer is its own."""

    def __init__(self, rig: Rig, name: str, seed: int) -> None:
        self.rig = rig
        self.name = name
        self.dice = random.Random(seed)
        self.line: Line | None = None
        self.answered = 0

    async def ask(self, number: int) -> None:
        dice = self.dice
        streamed = dice.random() < 0.5
        mode = dice.choice(
            ["chunks=3", "latency=2", "chunks=3,gap=1", "split=7", "close=1", "fin_after=9", "framing=chunked"]
        )
        raw, expected = asking(self.rig, self.name, number, f"gpt-4o::{mode}", stream=streamed)
        if self.line is None or self.line.over:
            self.line = await connect(self.rig.port)
        self.line.send(raw)
        if dice.random() < 0.3:
            # Leaves after so many bytes of its answer: before the first, in its head, in its body.
            wanted, begun = dice.choice([0, 1, 100, 300]), self.line.read
            await self.line.until(lambda: self.line is None or self.line.over or self.line.read >= begun + wanted)
            self.line.leave(reset=dice.random() < 0.5)
            self.line = None
            return
        answer = await self.line.answer()
        others = next(name for name in TENANTS if name != self.name)
        assert f"secret of {others}".encode() not in answer.body
        assert answer.status in (200, 502)
        if answer.status == 200 and answer.whole and b'"error"' not in answer.body:
            ids = {part[:38].decode() for part in answer.body.split(b'"id":"')[1:]}
            assert ids == {expected}
            self.answered += 1
        if "close" in answer.headers.get("connection", "") or not answer.whole:
            self.line.leave()
            self.line = None


async def test_no_tenant_sees_anothers_answer_whatever_is_cancelled() -> None:
    async with Provider() as provider, tenants(provider) as rig:
        clients = [Tenant(rig, name, seed) for name in TENANTS for seed in range(8)]

        async def run(client: Tenant) -> None:
            for number in range(125):
                await client.ask(number)

        await asyncio.gather(*map(run, clients))
        assert sum(client.answered for client in clients) > 500
        for record in provider.requests():
            if record.body:
                assert record.credential == f"sk-openai-{record.json()['messages'][0]['content'].split()[3][0]}"
        for client in clients:
            if client.line is not None:
                client.line.leave()
        await rig.until(lambda: rig.quiet)
