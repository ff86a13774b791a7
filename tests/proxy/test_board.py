"""What workers tell each other of circuits, and what an administrator sees of targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.board import Board, gauges, shown
from proxy.config.nodes import Breaker
from proxy.health import Circuit, Healths

RULES = Breaker(failure_threshold=1)


class Worker:
    """One worker's healths, and its board under a process id of its own."""

    def __init__(self, directory: Path, pid: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("proxy.board.os.getpid", lambda: pid)
        self.healths = Healths()
        self.board = Board(self.healths, directory)

    def circuit(self, **rules: Any) -> Circuit:
        return self.healths.of("identity", "openai").circuit("", Breaker(**rules) if rules else RULES)


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Worker]:
    return [Worker(tmp_path, pid, monkeypatch) for pid in (1, 2)]


def exchange(workers: list[Worker], now: float) -> None:
    for worker in (*workers, *workers):
        worker.board.exchange(now)


def test_a_circuit_that_opens_in_one_worker_opens_in_the_others(workers: list[Worker]) -> None:
    first, second = (worker.circuit() for worker in workers)
    other = workers[1].circuit(failure_threshold=2)
    first.record(500, 10.0, 10.0)
    exchange(workers, 10.5)
    assert second.state(10.5) == "open"
    assert second.until == first.until + 2.0
    assert other.state(10.5) == "closed"


def test_the_worker_that_saw_the_failures_probes_first_and_the_others_hear_how_it_went(workers: list[Worker]) -> None:
    first, second = (worker.circuit() for worker in workers)
    first.record(500, 10.0, 10.0)
    exchange(workers, 10.5)
    now = first.until
    assert first.enter(now)
    assert not second.allows(now + 1)
    first.record(500, now, now + 0.1, probe=True)
    exchange(workers, now + 0.6)
    assert second.until == first.until + 2.0
    now = first.until
    assert first.enter(now)
    first.record(200, now, now + 0.1, probe=True)
    exchange(workers, now + 0.6)
    assert first.state(now + 1) == second.state(now + 1) == "closed"


def test_old_news_changes_nothing(workers: list[Worker]) -> None:
    first, second = (worker.circuit() for worker in workers)
    first.record(500, 10.0, 10.0)
    exchange(workers, 10.5)
    second.record(200, 11.0, 12.0)  # every target was out, and this one answered well
    exchange(workers, 12.5)
    assert (first.state(13.0), second.state(13.0)) == ("closed", "closed")


@pytest.mark.parametrize("junk", [b"", b"{", b'[{"identity":1}]', b"[" * 5000])
def test_what_cannot_be_read_is_passed_over(workers: list[Worker], tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "health-9.json").write_bytes(junk)
    workers[0].circuit()
    exchange(workers, 1.0)


def test_nothing_is_written_where_nothing_is_known(workers: list[Worker], tmp_path: Path) -> None:
    workers[0].circuit()
    exchange(workers, 1.0)
    assert list(tmp_path.iterdir()) == []
    workers[0].circuit().record(500, 1.0, 1.0)
    exchange(workers, 1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["health-1.json"]
    workers[0].board.close()
    assert list(tmp_path.iterdir()) == []


def test_administrators_see_state_and_numbers(workers: list[Worker]) -> None:
    worker = workers[0]
    worker.circuit().record(500, 10.0, 10.0)
    worker.healths.of("identity", "openai").track("gpt-4o").streamed.note(0.25, 10.0)
    (entry,) = shown(worker.healths, 11.0)
    assert entry["target"] == "openai"
    (circuit,) = entry["circuits"]
    assert (circuit["state"], circuit["failures"], circuit["ejections"]) == ("open", 1, 1)
    assert 28 < circuit["open_for"] <= 32
    assert entry["latency"][0]["streams"]["seconds"] == pytest.approx(0.2443, abs=0.001)
    assert "identity" not in str(entry)
    assert gauges(worker.healths, 11.0)['loopway_breakers{state="open"}'] == 1
