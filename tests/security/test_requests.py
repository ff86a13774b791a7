"""One request in, at most one request out: what two programs might read differently is refused at the door.

Every vector runs with a canary request in the same write, and with one sent once the answer is here; on a connection
that is new, and on one that has served a request before, which is read in another way.
"""

from __future__ import annotations

import pytest

from tests.fakes.gateway import Gateway, Upstream
from tests.fakes.raw import Answer, Wire
from tests.security.vectors import BODY, CANARY, VECTORS, WARM, Outcome, Vector

REFUSALS = frozenset((400, 404, 405, 408, 411, 413, 414, 415, 417, 431, 501, 505))


def assert_nothing_slipped_through(behind: Upstream) -> None:
    for record in behind.requests():
        assert "smuggled" not in record.path
        assert b"/v1/canary" not in record.body
        assert b"/v1/smuggled" not in record.body


def next_answer(wire: Wire) -> Answer | None:
    """The next answer, or None when the connection has ended (checked) without one."""
    try:
        return wire.answer()
    except EOFError:
        return None


def assert_refused(answer: Answer) -> None:
    assert answer.status in REFUSALS, answer
    assert answer.header("connection") == "close"
    assert answer.header("content-type") == "application/json"
    assert answer.header("x-portkey-trace-id")
    assert answer.error["message"]
    assert b"smuggled" not in answer.body


@pytest.mark.parametrize("warm", [False, True], ids=["new", "warm"])
@pytest.mark.parametrize("together", [True, False], ids=["together", "after"])
@pytest.mark.parametrize("name", VECTORS)
def test_one_request_in_is_at_most_one_request_out(
    guard: Gateway, behind: Upstream, name: str, together: bool, warm: bool
) -> None:
    vector = VECTORS[name]
    if vector.outcome is Outcome.UNFINISHED:
        assert_dropped(guard, behind, vector, warm=warm)
        return
    with Wire(guard.port) as wire:
        if warm:
            warm_up(wire, behind)
        if together:
            early = len(vector.data) - vector.step if vector.step else 0
            wire.send(vector.data[:early], vector.step).send(vector.data[early:] + CANARY)
        else:
            wire.send(vector.data, vector.step)
        first = wire.answer()
        if not together:
            wire.send(CANARY)
        second = next_answer(wire)
        if second is not None:
            assert next_answer(wire.finish()) is None
    records = behind.requests()
    assert_nothing_slipped_through(behind)
    if vector.outcome is Outcome.REFUSED or (vector.outcome is Outcome.LAST and together):
        assert_refused(first)
        assert second is None
        assert not records
        return
    if vector.outcome in (Outcome.SERVED, Outcome.LAST):
        assert first.status == 200, first
        assert second is None or vector.outcome is Outcome.SERVED
        sent, records = records[:1], records[1:]
        assert not vector.data.count(BODY) or sent[0].body == BODY
    else:
        assert first.status < 500, first
    # What is sent behind a request before its answer is never read; what is sent after it is a request of its own.
    assert second is None or not together
    assert second is None or second.status == 200
    assert [record.path for record in records] == (["/v1/canary"] if second else [])
    assert not any(record.body for record in records)


def warm_up(wire: Wire, behind: Upstream) -> None:
    """A request before, all in one write."""
    wire.send(WARM)
    assert wire.answer().status == 200
    behind.reset()


def assert_dropped(guard: Gateway, behind: Upstream, vector: Vector, *, warm: bool) -> None:
    with Wire(guard.port) as wire:
        if warm:
            warm_up(wire, behind)
        wire.send(vector.data, vector.step).finish()
        answer = next_answer(wire)
        if answer is not None:
            assert_refused(answer)
            assert next_answer(wire) is None
    assert not behind.requests()


def test_the_gateway_is_none_the_worse_for_it(guard: Gateway, behind: Upstream) -> None:
    assert guard.get("/healthz").status_code == 200
    assert "Traceback" not in guard.log()
