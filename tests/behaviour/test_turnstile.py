"""While many requests are refused, a refusal is the same and costs next to nothing: `proxy.app.turnstile`."""

from __future__ import annotations

import asyncio
import io
import json
import time
from typing import Any

import pytest

from proxy.app import turnstile
from proxy.config.settings import OverloadSettings
from proxy.ports import Budget, Limits, ModelLimits, Queue, Rates
from proxy.trace import Sampler
from proxy.usage.rows import Settled
from tests.behaviour.client import Answer, Line, connect, request
from tests.behaviour.rig import CHAT, MESSAGES, Rig, api_key
from tests.fakes.upstream import Scripted, ok

CHATS = "/v1/chat/completions"
GEMINI = "/v1beta/models/gemini-2.5-flash:generateContent"
ONE = Limits(concurrency=1)


@pytest.fixture(autouse=True)
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a slow machine nor a quick one decides when a storm begins and ends."""
    monkeypatch.setattr(turnstile, "_TELL_EVERY", 3600.0)
    monkeypatch.setattr(turnstile, "_CALM", 3600.0)


async def asked(line: Line, raw: bytes, times: int = 1) -> list[Answer]:
    """The answers to the same request, one after the other on one connection."""
    answers = []
    for _ in range(times):
        line.send(raw)
        answers.append(await line.answer())
    return answers


def shape(answer: Answer) -> Any:
    """An answer but for what differs from one to the next."""
    return answer.status, {**answer.headers, "x-portkey-trace-id": ""}, answer.body


async def held(rig: Rig, upstream: Scripted) -> Line:
    """Takes the one place that there is, until its provider answers."""
    line = await rig.open(CHATS, CHAT)
    await upstream.until(lambda u: len(u.requests) == 1)
    return line


def calm(rig: Rig) -> None:
    """A second has passed, and two more."""
    for _ in range(2):
        rig.gateway.turnstile._tell_at = rig.gateway.turnstile._until = 0.0
        rig.gateway.turnstile.beat()


async def test_a_storm_on_a_full_key_is_told_the_same_in_every_dialect_and_all_of_it_is_counted() -> None:
    async with Scripted([]) as upstream, Rig(openai=upstream.url, limits=ONE) as rig:
        first = await held(rig, upstream)
        raws = [
            rig.raw(CHATS, CHAT),
            rig.raw("/v1/messages", MESSAGES),
            rig.raw(GEMINI, {"contents": [{"parts": [{"text": "Hello"}]}]}),
        ]
        line = await connect(rig.port)
        usual = [(await asked(line, raw))[0] for raw in raws]
        assert not rig.gateway.turnstile.up
        await asked(line, raws[0], 60)
        assert rig.gateway.turnstile.up
        for raw, before in zip(raws, usual, strict=True):
            assert shape((await asked(line, raw))[0]) == shape(before)
            assert (before.status, before.headers["retry-after"]) == (429, "1")
        assert (await asked(line, rig.raw(CHATS, CHAT, x_portkey_trace_id="mine")))[0].headers[
            "x-portkey-trace-id"
        ] == "mine"
        samples = rig.gateway.samples()
        assert sum(count for name, count in samples.items() if name.startswith("loopway_requests_total")) == 67
        assert samples['loopway_request_seconds_count{provider="none"}'] == 67
        assert len([row for row in await rig.usage() if row["status"] == 429]) == 67
        assert len(upstream.requests) == 1
        assert rig.in_flight == 1

        # Whoever finds a place is served, and nobody is looked at any more when it is over.
        upstream.connections[0].write(ok(b"{}"))
        await first.receive(b"{}")
        line.send(raws[0])
        await upstream.until(lambda u: len(u.requests) == 2)
        upstream.connections[0].write(ok(b"{}"))
        assert (await line.answer()).status == 200
        calm(rig)
        assert not rig.gateway.turnstile.up
        assert rig.quiet


async def test_a_refusal_in_a_storm_leaves_the_row_and_the_line_of_any_other() -> None:
    keys = (api_key("mine", "lw-mine", limits=ONE, metadata={"team": "red"}, config="pc-own"),)
    configs = {"pc-own": {"virtual_key": "openai"}}
    async with Scripted([]) as upstream, Rig(openai=upstream.url, limits=ONE, keys=keys, configs=configs) as rig:
        rig.gateway.ledger._log = told = io.BytesIO()
        await held(rig, upstream)
        mine = await connect(rig.port)
        mine.send(request(CHATS, json.dumps({**CHAT, "model": "of-mine"}).encode(), key="lw-mine"))
        await upstream.until(lambda u: len(u.requests) == 2)
        plain, gemini = json.dumps(CHAT).encode(), {"contents": [{"parts": [{"text": "Hello"}]}]}
        raws = [
            rig.raw(CHATS, {**CHAT, "stream": True, "user": "Ada"}, x_portkey_metadata='{"team":"blue"}'),
            rig.raw(CHATS, {**CHAT, "model": "@openai/o-what"}, x_portkey_trace_id="mine", baggage="a=b"),
            rig.raw("/v1/messages?beta=true", MESSAGES),
            rig.raw(GEMINI.replace("generate", "streamGenerate"), gemini),
            rig.raw("/v1/responses", {"model": "gpt-4o", "input": "Hello"}),
            rig.raw("/v1/files", b"--a--", content_type="multipart/form-data; boundary=a"),
            request("/v1/batches", method="GET", headers={"x-portkey-virtual-key": "openai"}),
            request(CHATS, plain, key="lw-mine"),
        ]
        line = await connect(rig.port)
        usual = [(await asked(line, raw))[0] for raw in raws]
        assert not rig.gateway.turnstile.up
        for raw in (raws[0], raws[-1]):
            await asked(line, raw, 30)
        taken, turned = rig.gateway.turnstile._number, []
        for raw in raws:
            other = await connect(rig.port)  # a connection's first request, and its second
            turned += await asked(other, raw, 2)
        assert rig.gateway.turnstile._number == taken + 2 * len(raws)
        assert [shape(answer) for answer in turned] == [shape(answer) for answer in usual for _ in range(2)]
        assert [answer.status for answer in usual] == [429] * len(raws)

        differ = {"request_id": "", "trace_id": "", "at": 0, "duration_us": 0, "time": 0, "duration_ms": 0}
        rows = [row for row in await rig.usage() if row["status"] == 429]
        lines = [found for found in map(json.loads, told.getvalue().splitlines()) if found["status"] == 429]
        assert len(rows) == len(lines) == 3 * len(raws) + 60
        assert [row["request_id"] for row in rows] == [found["request_id"] for found in lines]
        assert [row["trace_id"] for row in rows[-len(turned) :]] == [
            answer.headers["x-portkey-trace-id"] for answer in turned
        ]
        assert all(row["at"] and row["duration_us"] is not None for row in rows)
        for books in (rows, lines):
            kept = [{**each, **differ} for each in books]
            assert kept[-len(turned) :] == [each for each in kept[: len(raws)] for _ in range(2)]
        assert (rows[-1]["config"], rows[-1]["model"], rows[-1]["metadata"]) == ("pc-own", "gpt-4o", '{"team":"red"}')
        assert rig.in_flight == 2


async def test_where_traces_are_exported_each_refusal_has_its_span() -> None:
    async with Scripted([]) as upstream, Rig(openai=upstream.url, limits=ONE) as rig:
        rig.gateway.desk.sampler = Sampler(1.0)
        kept: list[Settled] = []
        rig.gateway.ledger.sinks.append(kept.extend)
        await held(rig, upstream)
        await asked(await connect(rig.port), rig.raw(CHATS, CHAT), 60)
        assert rig.gateway.turnstile.up
        assert len([row for row in await rig.usage() if row["status"] == 429]) == 60
        assert len([each for each in kept if each.span is not None]) == 60


async def test_a_storm_on_a_full_queue_is_refused_without_a_place_being_lost() -> None:
    limits = Limits(concurrency=1, queue=Queue(size=1, timeout=60))
    async with Scripted([]) as upstream, Rig(openai=upstream.url, limits=limits) as rig:
        first = await held(rig, upstream)
        second = await rig.open(CHATS, CHAT)
        await rig.until(lambda: rig.gateway.live.limiters.all["API key", "test"].queued == 1)
        line = await connect(rig.port)
        answers = await asked(line, rig.raw(CHATS, CHAT), 60)
        assert {answer.status for answer in answers} == {429}
        assert rig.gateway.turnstile.up
        assert len({json.dumps(shape(answer)[1]) + answer.body.decode() for answer in answers}) == 1
        upstream.connections[0].write(ok(b"{}"))
        await first.receive(b"{}")
        await upstream.until(lambda u: len(u.requests) == 2)
        line.send(rig.raw(CHATS, CHAT))  # takes the place in the queue
        await rig.until(lambda: rig.gateway.live.limiters.all["API key", "test"].queued == 1)
        for client in (second, line):
            upstream.connections[0].write(ok(b"{}"))
            assert (await client.answer()).status == 200
        assert rig.quiet


USED_UP = {
    "a rate": (Limits(requests=Rates(per_day=2)), 429),
    "a budget": (Limits(budget=Budget(tokens=10, window="total")), 412),
}


@pytest.mark.parametrize("name", USED_UP)
async def test_a_storm_on_what_is_used_up_goes_on_until_there_is_more(name: str) -> None:
    limits, status = USED_UP[name]
    spent = b'{"usage":{"prompt_tokens":5,"completion_tokens":7}}'
    async with Scripted(play=lambda asked: [ok(spent)]) as upstream, Rig(openai=upstream.url, limits=limits) as rig:
        line = await connect(rig.port)
        raw = rig.raw(CHATS, CHAT)
        served = [answer for answer in await asked(line, raw, 3) if answer.status == 200]
        assert served
        answers = await asked(line, raw, 80)
        assert {answer.status for answer in answers} == {status}
        assert rig.gateway.turnstile.up
        first, last = answers[0], answers[-1]
        assert first.headers.keys() == last.headers.keys()
        assert first.json()["error"]["type"] == last.json()["error"]["type"]
        assert (await rig.post("/v1/messages", MESSAGES)).json()["type"] == "error"
        rows = await rig.usage()
        assert len(rows) == 84
        assert len([row for row in rows if row["status"] == status]) == 84 - len(served)
        assert len(upstream.requests) == len(served)
        more = Limits(requests=Rates(per_second=1000))
        rig.replace(api_keys=(api_key(limits=more),))
        rig.gateway.live._path, rig.gateway.live._stamp = str(rig.run), None
        await rig.until(lambda: rig.gateway.live.limiters.all["API key", "test"].limits == more)
        assert (await asked(line, raw))[0].status == 200


async def test_callers_without_a_good_key_are_told_the_same_and_counted_and_fill_no_ledger() -> None:
    async with Scripted([]) as upstream, Rig(openai=upstream.url) as rig:
        rig.gateway.notes._log = told = io.BytesIO()
        line = await connect(rig.port)
        raw = request(CHATS, json.dumps(CHAT).encode(), key="lw-nobody")
        began = time.monotonic()
        answers = await asked(line, raw, 100)
        assert {(answer.status, answer.body) for answer in answers} == {(401, answers[0].body)}
        assert shape(answers[-1]) == shape(answers[0])
        assert len({answer.headers["x-portkey-trace-id"] for answer in answers}) == 100
        assert rig.gateway.samples()["loopway_keys_refused_total"] == 100
        kept = len(await rig.usage())
        assert kept < 100  # nobody without a key fills a disk
        calm(rig)
        notes = [json.loads(row) for row in told.getvalue().splitlines()]
        assert {(note["kind"], note["status"]) for note in notes} == {("refused", 401)}
        assert sum(note["suppressed"] for note in notes) == 100 - kept
        assert len(notes) <= 2 + time.monotonic() - began, "one for each second"


async def test_a_worker_that_sheds_load_says_so_at_once() -> None:
    shedding = {"overload": OverloadSettings(in_flight=1)}
    async with Scripted([]) as upstream, Rig(openai=upstream.url, server=shedding) as rig:
        await held(rig, upstream)
        line = await connect(rig.port)
        answers = await asked(line, rig.raw(CHATS, CHAT), 80)
        assert rig.gateway.turnstile.up
        assert {answer.status for answer in answers} == {503}
        assert {answer.headers["retry-after"] for answer in answers} == {"1", "2", "3"}
        assert {answer.json()["error"]["code"] for answer in answers} == {"gateway_overloaded"}
        assert rig.gateway.metrics.shed["in_flight"] == 80
        assert await rig.usage() == []


PLAIN = json.dumps(CHAT).encode()
ELSE: dict[str, tuple[bytes, int]] = {
    "two at once": (request(CHATS, PLAIN) * 2, 429),
    "in chunks": (request(CHATS, headers={"transfer-encoding": "chunked", "content-length": ""}) + b"0\r\n\r\n", 400),
    "for the last time": (request(CHATS, PLAIN, {"connection": "close"}), 429),
    "in HTTP/1.0": (request(CHATS, PLAIN).replace(b"HTTP/1.1", b"HTTP/1.0", 1), 429),
    "with a field twice": (request(CHATS, PLAIN).replace(b"host:", b"x-api-key: a\r\nx-api-key: b\r\nhost:", 1), 400),
    "without a host": (request(CHATS, PLAIN, {"host": ""}), 400),
    "without its body": (request(CHATS, headers={"content-length": "90000000"}), 429),
    "with a body that breaks off": (request(CHATS, b'{"model":"gpt-4o"'), 400),
    "with a body that is no JSON": (request(CHATS, PLAIN, {"content-type": "text/plain"}), 400),
    "with a config that nobody has": (request(CHATS, PLAIN, {"x-portkey-config": "pc-none"}), 400),
    "with a key that is over": (request(CHATS, PLAIN, key="lw-over"), 401),
    "with a key for something else": (request(CHATS, PLAIN, key="lw-admin"), 403),
    "without a key": (request(CHATS, PLAIN, key=""), 401),
    "to nowhere": (request("/v2/nowhere", PLAIN), 404),
    "to administration": (request("/v1/virtual-keys", method="GET", key="lw-admin"), 200),
    "by another key": (request(CHATS, b"{", key="lw-other"), 400),
}


@pytest.mark.parametrize("name", ELSE)
async def test_what_is_not_plain_goes_its_usual_way(name: str) -> None:
    raw, status = ELSE[name]
    others = (
        api_key("over", "lw-over", expires_at=1),
        api_key("admin", "lw-admin", scopes=("admin",)),
        api_key("other", "lw-other", limits=Limits(concurrency=5, models={"gpt-*": ModelLimits(concurrency=1)})),
    )
    async with Scripted([]) as upstream, Rig(openai=upstream.url, limits=ONE, keys=others) as rig:
        await held(rig, upstream)
        line = await connect(rig.port)
        await asked(line, rig.raw(CHATS, CHAT), 60)
        assert rig.gateway.turnstile.up
        line.send(raw)
        if name == "without its body":
            await rig.until(lambda: rig.in_flight == 2)  # it waits for the body, as ever
            line.leave()
            return
        answer = await line.answer()
        assert (answer.status, answer.whole) == (status, True)
        assert answer.headers["x-portkey-trace-id"]
        if name in ("two at once", "in chunks", "for the last time", "in HTTP/1.0", "with a field twice"):
            await line.end()
        await asyncio.sleep(0)
        assert len(upstream.requests) == 1


async def test_a_crowd_of_connections_is_refused_while_those_with_places_are_served() -> None:
    async with (
        Scripted(play=lambda asked: [ok(b"{}")]) as upstream,
        Rig(openai=upstream.url, limits=Limits(concurrency=2)) as rig,
    ):
        lines = [await connect(rig.port) for _ in range(16)]
        raw = rig.raw(CHATS, CHAT)
        found = await asyncio.gather(*(asked(line, raw, 20) for line in lines))
        statuses = [answer.status for answers in found for answer in answers]
        assert set(statuses) == {200, 429}
        assert statuses.count(200) == len(upstream.requests)
        samples = rig.gateway.samples()
        assert sum(count for name, count in samples.items() if name.startswith("loopway_requests_total")) == 320
        await rig.until(lambda: rig.quiet)
