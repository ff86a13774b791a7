"""The measuring instruments themselves: what they count must be what was sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from loadtests import report
from loadtests.client import Exchange, Load, Plan
from loadtests.results import Results, Round, Row
from loadtests.scenarios import load_scenarios
from loadtests.targets import TARGETS
from loadtests.upstream import Connection, Upstream

REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b"


class Wire(asyncio.Transport):
    """A transport that keeps what is written on it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def abort(self) -> None:
        pass


def plan(**changes: object) -> Plan:
    settings: dict[str, object] = {
        "port": 1,
        "path": "/v1/chat/completions",
        "headers": ("authorization: Bearer k",),
        "body": '{"stream":true}',
        "connections": 1,
        "seconds": 10.0,
        "rate": 1e-6,
        "stream": True,
    }
    return Plan(**{**settings, **changes})  # type: ignore[arg-type]


@pytest.fixture
async def upstream() -> Upstream:
    return Upstream(asyncio.get_running_loop())


def connected(upstream: Upstream) -> tuple[Connection, Wire]:
    connection, wire = Connection(upstream), Wire()
    connection.connection_made(wire)
    return connection, wire


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def whole_stream(upstream: Upstream, path: bytes = b"/v1/chat/completions") -> bytes:
    connection, wire = connected(upstream)
    body = b'{"stream": true}'
    connection.data_received(b"POST %b HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (path, len(body), body))
    await until(lambda: wire.sent.endswith(b"0\r\n\r\n"))
    return wire.sent


def exchange_of(load: Load) -> tuple[Exchange, Wire]:
    load.opens, load.closes = 0.0, float("inf")
    exchange, wire = Exchange(load), Wire()
    exchange.connection_made(wire)
    exchange.start(0.0)
    return exchange, wire


async def test_the_client_counts_the_same_events_however_a_stream_is_cut(upstream: Upstream) -> None:
    upstream.configure({"events": "7"})
    answer = await whole_stream(upstream)
    expected = answer.count(b"data: ")
    assert expected == 7 + 3  # the role, the end and [DONE] beside the content
    for size in (1, 2, 3, 7, 61, 1000, len(answer)):
        load = Load(plan(), asyncio.get_running_loop())
        exchange, _ = exchange_of(load)
        for at in range(0, len(answer), size):
            exchange.data_received(answer[at : at + size])
        assert (load.events, load.done, dict(load.errors)) == (expected, 1, {}), f"cut every {size} bytes"


async def test_events_that_were_chunked_anew_count_the_same(upstream: Upstream) -> None:
    upstream.configure({"events": "5"})
    head, _, body = (await whole_stream(upstream)).partition(b"\r\n\r\n")
    events = b"".join(body.split(b"\r\n")[1::2])
    for size in (1, 5, 13, 4096):
        chunks = b"".join(
            b"%x\r\n%b\r\n" % (len(piece), piece)
            for piece in (events[at : at + size] for at in range(0, len(events), size))
        )
        load = Load(plan(), asyncio.get_running_loop())
        exchange_of(load)[0].data_received(head + b"\r\n\r\n" + chunks + b"0\r\n\r\n")
        assert (load.events, load.done) == (8, 1)


async def test_a_stream_without_its_end_is_an_error_and_not_a_result(upstream: Upstream) -> None:
    answer = (await whole_stream(upstream)).replace(b"[DONE]", b"[GONE]")
    load = Load(plan(), asyncio.get_running_loop())
    exchange_of(load)[0].data_received(answer)
    assert (load.done, dict(load.errors)) == (0, {"unfinished": 1})


async def test_an_error_status_is_an_error_and_not_a_fast_answer() -> None:
    load = Load(plan(stream=False), asyncio.get_running_loop())
    exchange_of(load)[0].data_received(b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\nno")
    assert (load.done, dict(load.errors)) == (0, {"status 503": 1})


async def test_whole_answers_are_valid_json_and_as_long_as_they_say(upstream: Upstream) -> None:
    for path in (b"/v1/chat/completions", b"/v1/messages"):
        connection, wire = connected(upstream)
        connection.data_received(b"POST %b HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}" % path)
        head, _, body = wire.sent.partition(b"\r\n\r\n")
        assert f"content-length: {len(body)}".encode() in head
        assert json.loads(body)["usage"]


async def test_the_upstream_answers_a_request_that_arrives_byte_by_byte(upstream: Upstream) -> None:
    connection, wire = connected(upstream)
    for byte in REQUEST % (12, b'{"model":"m"'):
        assert not wire.sent
        connection.data_received(bytes([byte]))
    assert wire.sent.startswith(b"HTTP/1.1 200 OK")


async def test_the_upstream_tells_when_a_stream_was_left(upstream: Upstream) -> None:
    upstream.configure({"gap": "60"})
    connection, _ = connected(upstream)
    connection.data_received(REQUEST % (15, b'{"stream":true}'))
    assert len(upstream.active) == 1
    connection.connection_lost(None)
    assert (len(upstream.active), len(upstream.aborted_at)) == (0, 1)


async def test_an_anthropic_stream_ends_as_anthropic_streams_do(upstream: Upstream) -> None:
    answer = await whole_stream(upstream, b"/v1/messages")
    load = Load(plan(end="message_stop"), asyncio.get_running_loop())
    exchange_of(load)[0].data_received(answer)
    assert (load.done, dict(load.errors)) == (1, {})


def test_an_open_loop_plans_its_starts_ahead_of_all_answers() -> None:
    starts = plan(rate=50.0).starts(100.0)
    assert [next(starts) for _ in range(3)] == [100.0, 100.02, 100.04]


def test_rounds_with_errors_have_no_say_in_a_median_but_are_named() -> None:
    row = Row([Round({"cpu_us": 10.0}), Round({"cpu_us": 99.0}, {"cut": 3}), Round({"cpu_us": 12.0})])
    assert row.median("cpu_us") == 11.0
    assert row.trouble() == "1 of 3 rounds left out: 3 × cut"


def test_a_run_reads_back_as_it_was_kept(tmp_path) -> None:  # type: ignore[no-untyped-def]
    kept = Results({"commit": "abc"}, {"chat": {"direct": Row([Round({"cpu_us": 9.5}, {}, {})], ["late"])}})
    kept.save(tmp_path / "run.json")
    assert Results.load(tmp_path / "run.json") == kept


def test_every_scenario_has_a_target_and_a_heading_for_every_column() -> None:
    for scenario in load_scenarios().values():
        assert any(scenario.route in target.routes for target in TARGETS.values())
        assert all(scenario.heading(column) for column in scenario.columns)


def test_the_comparison_takes_the_drift_of_the_machine_out() -> None:
    def run(direct: float, loopway: float) -> Results:
        rows = {"direct": Row([Round({"cpu_us": direct})]), "loopway": Row([Round({"cpu_us": loopway})])}
        return Results({"commit": "abc"}, {"chat": rows})

    text = report.comparison(run(20.0, 180.0), run(10.0, 100.0), load_scenarios())
    line = next(line for line in text.splitlines() if "loopway" in line)
    assert [cell.strip() for cell in line.split("|")][4:-1] == ["100.0", "180.0", "1.80", "0.90"]
