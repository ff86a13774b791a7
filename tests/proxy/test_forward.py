"""The forwarder in memory, between a transport and a client that only remember."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.errors import Kind
from adapters.types import Dialect
from proxy.config.plan import Plan
from proxy.errors import Refused, UpstreamFailure
from proxy.exchange import Exchange
from proxy.forward import Forwarder
from proxy.headers import shape_of
from proxy.ports import Limits
from proxy.routing import resolve
from proxy.seams import Origin, Timeouts
from tests.proxy.test_snapshot import key_of, made, virtual_key

BODY = b'{"model":"gpt-4o","messages":[]}'


class Reply:
    """A whole answer."""

    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.status = status
        self.raw_headers = tuple((name.encode(), value.encode()) for name, value in headers.items())
        self.shape = shape_of(self.raw_headers)
        self.body = body
        self.complete = True
        self.framed = True
        self.finished = 0

    def take(self) -> bytes:
        return self.body

    async def gather(self, limit: int) -> bytes:
        return self.body

    def finish(self) -> None:
        self.finished += 1


class Transport:
    """Plays answers in turn, the last one for ever: a Reply, or an exception to raise."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.sent: list[tuple[Origin, bytes, bytes]] = []
        self.held = 0

    async def send(self, origin: Origin, head: bytes, body: bytes | AsyncIterator[bytes], timeouts: Timeouts) -> Any:
        assert isinstance(body, bytes)
        self.sent.append((origin, head, body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, asyncio.Event):
            await answer.wait()
        return answer


class Client:
    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes, bytes]] = []
        self.answered = False

    def respond(self, status: int, head: bytes, body: bytes) -> None:
        self.answers.append((status, head, body))


def reply(status: int = 200, body: bytes = b'{"id":"c"}', **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, body, {"content-type": "application/json", **named})


class Scene:
    def __init__(self, *answers: Any, config: dict[str, Any] | None = None, **row: Any) -> None:
        self.transport = Transport(*answers)
        self.slept: list[float] = []
        self.snapshot = made(
            virtual_key("openai", **row), virtual_key("spare"), configs={"pc-a": config or {"virtual_key": "openai"}}
        )
        self.client = Client()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def exchange(self, **headers: str) -> tuple[Exchange, Plan]:
        named = {b"x-portkey-" + name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        named.setdefault(b"x-portkey-config", b"pc-a")
        x = Exchange(self.client, self.snapshot, "POST", "/v1/chat/completions", "", named, (), "r1", "r1", 0.0)  # type: ignore[arg-type]
        x.dialect, x.body, x.model, x.body_model = Dialect.OPENAI_CHAT, BODY, "gpt-4o", "gpt-4o"
        x.key = key_of(self.snapshot, "key")
        return x, resolve(x, x.key)

    async def run(self, **headers: str) -> Exchange:
        x, plan = self.exchange(**headers)
        await Forwarder(self.transport, Timeouts(), sleep=self.sleep).run(x, plan)  # type: ignore[arg-type]
        return x


async def test_one_request_becomes_one_request_and_one_answer() -> None:
    answer = reply(x_request_id="req-1", server="theirs", set_cookie="a=b")
    scene = Scene(answer)
    x = await scene.run()
    ((origin, head, body),) = scene.transport.sent
    assert (origin.host, origin.port, body) == ("api.openai.com", 443, BODY)
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nhost: api.openai.com\r\n")
    assert b"authorization: Bearer sk-openai\r\n" in head
    assert head.endswith(b"content-length: %d\r\n\r\n" % len(BODY))
    ((status, lines, given),) = scene.client.answers
    assert (status, given) == (200, b'{"id":"c"}')
    assert b"x-request-id: req-1\r\n" in lines
    assert b"server" not in lines
    assert b"set-cookie" not in lines
    assert answer.finished == 1
    assert x.committed
    assert [(attempt.target, attempt.status) for attempt in x.attempts] == [("openai", 200)]


async def test_every_answer_that_is_not_delivered_is_finished_before_the_next_try() -> None:
    first, second, third = reply(500), reply(503), reply(200)
    scene = Scene(first, second, third, config={"virtual_key": "openai", "retry": {"attempts": 5}})
    x = await scene.run()
    assert [each.finished for each in (first, second, third)] == [1, 1, 1]
    assert len(scene.client.answers) == 1
    assert x.retries == 2
    assert [attempt.status for attempt in x.attempts] == [500, 503, 200]


@pytest.mark.parametrize(
    ("kind", "status"), [(Kind.UNREACHABLE, 502), (Kind.BAD_UPSTREAM, 502), (Kind.TIMEOUT, 504), (Kind.OVERLOADED, 503)]
)
async def test_a_failure_of_the_transport_is_an_answer(kind: Kind, status: int) -> None:
    scene = Scene(UpstreamFailure(kind, "It failed.", sent=True))
    x = await scene.run()
    ((told, lines, body),) = scene.client.answers
    assert told == status
    assert b'"message":"It failed."' in body
    assert b"content-type: application/json\r\n" in lines
    assert x.kind is kind


async def test_a_blocked_address_is_the_clients_fault_and_never_tried_again() -> None:
    blocked = UpstreamFailure(Kind.FORBIDDEN, "Invalid custom host: its address is not allowed.", sent=False)
    scene = Scene(blocked, config={"virtual_key": "openai", "retry": {"attempts": 3, "on_status_codes": [400, 403]}})
    with pytest.raises(Refused) as refused:
        await scene.run()
    assert refused.value.status == 400
    assert len(scene.transport.sent) == 1


async def test_the_permit_is_held_until_the_answer_is_delivered_and_not_while_waiting() -> None:
    scene = Scene(
        reply(500), reply(200), config={"virtual_key": "openai", "retry": {"attempts": 1}}, limits=Limits(concurrency=1)
    )
    limiter = scene.snapshot.targets["openai"].limiter
    assert limiter is not None
    held: list[int] = []

    async def sleep(seconds: float) -> None:
        held.append(limiter.held)

    scene.sleep = sleep  # type: ignore[method-assign]
    respond = scene.client.respond
    scene.client.respond = lambda *answer: (held.append(limiter.held), respond(*answer))[1]  # type: ignore[method-assign]
    await scene.run()
    assert held == [0, 1]
    assert limiter.held == 0


@pytest.mark.parametrize(
    "config",
    [None, {"virtual_key": "openai", "retry": {"attempts": 2}}, {"request_timeout": 60_000, "virtual_key": "openai"}],
)
async def test_a_cancelled_request_holds_nothing(config: dict[str, Any] | None) -> None:
    never = asyncio.Event()
    scene = Scene(never, config=config, limits=Limits(concurrency=1))
    limiter = scene.snapshot.targets["openai"].limiter
    assert limiter is not None
    running = asyncio.ensure_future(scene.run())
    while not scene.transport.sent:
        await asyncio.sleep(0)
    assert limiter.held == 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert limiter.held == 0
    assert scene.client.answers == []


async def test_a_plain_refusal_of_the_only_target_is_raised_as_it_is() -> None:
    scene = Scene(reply(), models=("o1*",))
    with pytest.raises(Refused) as refused:
        await scene.run()
    assert (refused.value.status, refused.value.type) == (412, "model_not_allowed_error")
    assert scene.transport.sent == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_never_followed(status: int) -> None:
    scene = Scene(reply(status, location="http://127.0.0.1/"))
    await scene.run()
    ((told, lines, _),) = scene.client.answers
    assert told == 502
    assert b"location" not in lines
    assert len(scene.transport.sent) == 1


async def test_the_fallbacks_targets_each_get_their_own_head() -> None:
    config = {"strategy": {"mode": "fallback"}, "targets": [{"virtual_key": "openai"}, {"virtual_key": "spare"}]}
    scene = Scene(reply(500), reply(200), config=config)
    x = await scene.run()
    heads = [head for _, head, _ in scene.transport.sent]
    assert b"Bearer sk-openai\r\n" in heads[0]
    assert b"sk-openai" not in heads[1]
    assert b"Bearer sk-spare\r\n" in heads[1]
    assert x.leaf is not None
    assert x.leaf.where == "config.targets[1]"


class Tokens:
    """Signs with one token after another; `replaceable` times a refused one can be replaced."""

    def __init__(self, replaceable: int) -> None:
        self.left = replaceable
        self.number = 1

    def signer_of(self, target: Any) -> Tokens:
        return self

    def lines(self, method: str, path: str, content_type: str, body: bytes) -> bytes:
        return b"authorization: Bearer t%d\r\n" % self.number

    def reject(self, since: float) -> bool:
        self.left -= 1
        self.number += 1
        return self.left >= 0


@pytest.mark.parametrize(
    ("replaceable", "statuses", "shown", "asked"),
    [
        (1, [401, 200], 200, [b"t1", b"t2"]),
        (1, [403, 200], 200, [b"t1", b"t2"]),
        (0, [401, 200], 401, [b"t1"]),
        (9, [401, 401, 200], 401, [b"t1", b"t2"]),
        (9, [500, 200], 500, [b"t1"]),
    ],
)
async def test_a_fetched_credential_that_is_refused_costs_no_request(
    replaceable: int, statuses: list[int], shown: int, asked: list[bytes]
) -> None:
    fields = {"azure_entra_tenant_id": "t", "azure_entra_client_id": "c", "azure_entra_client_secret": "s"}
    answers = [reply(status) for status in statuses]
    scene = Scene(*answers, provider="azure-openai", custom_host="https://azure.example", fields=fields)
    x, plan = scene.exchange()
    await Forwarder(scene.transport, Timeouts(), credentials=Tokens(replaceable)).run(x, plan)  # type: ignore[arg-type]
    assert [head.partition(b"Bearer ")[2][:2] for _, head, _ in scene.transport.sent] == asked
    assert [status for status, _, _ in scene.client.answers] == [shown]
    assert [answer.finished for answer in answers] == [1] * len(asked) + [0] * (len(answers) - len(asked))
