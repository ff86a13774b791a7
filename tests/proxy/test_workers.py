"""Before there are workers: the listener, the parser, and what the supervisor is told."""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp.http
import pytest

from proxy import workers
from proxy.config.file import FileConfig
from proxy.config.settings import ServerSettings
from proxy.errors import StartupError
from proxy.supervisor import RETIRE, Backoff, Supervisor
from proxy.workers import Application, GatewayWorker, Setup, check_parser, listen, raise_descriptors


def test_a_port_in_use_is_one_clear_line() -> None:
    taken = listen("127.0.0.1", 0)
    port = taken.getsockname()[1]
    with pytest.raises(StartupError, match=rf"^cannot listen on 127\.0\.0\.1:{port}: Address already in use; [^\n]+$"):
        listen("127.0.0.1", port)
    taken.close()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "203.0.113.1"])
def test_an_address_that_cannot_be_had_is_one_clear_line(host: str) -> None:
    with pytest.raises(StartupError, match=rf"^cannot listen on {host}:8787: [^\n]+; --host takes [^\n]+$"):
        listen(host, 8787)


def test_the_listener_is_inherited_by_workers_and_its_port_is_free_again_at_once() -> None:
    listener = listen("127.0.0.1", 0)
    assert listener.get_inheritable()
    port = listener.getsockname()[1]
    client = socket.create_connection(("127.0.0.1", port))
    accepted, _ = listener.accept()
    accepted.close()  # the side that closes first keeps the port in TIME_WAIT
    client.close()
    listener.close()
    listen("127.0.0.1", port).close()


def test_without_the_parser_in_c_nothing_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    check_parser()

    class Slow:
        """Stands for the one in Python."""

    monkeypatch.setattr(aiohttp.http, "HttpRequestParser", Slow)
    with pytest.raises(StartupError, match="parser in C"):
        check_parser()
    setup = Setup(FileConfig(), None, FileConfig, tmp_path, "", ())
    with pytest.raises(StartupError, match="parser in C"):
        Application(setup, []).run()


def test_the_supervisor_waits_longer_than_the_drain_takes(tmp_path: Path) -> None:
    listener = listen("127.0.0.1", 0)
    descriptor = listener.fileno()
    file = FileConfig(server=ServerSettings(drain_delay=7.0, drain_timeout=42.0, workers=3))
    settings = Application(Setup(file, None, lambda: file, tmp_path, "", ()), [listener]).cfg
    assert settings.graceful_timeout > 49
    assert settings.workers == 3
    assert settings.worker_class is GatewayWorker
    assert settings.address == [descriptor]
    os.close(descriptor)


# Sockets that are handed over


def test_a_socket_that_systemd_hands_over_is_used_and_no_child_believes_it_is_meant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = listen("127.0.0.1", 0)
    port = made.getsockname()[1]
    monkeypatch.setattr(workers, "_FIRST_FD", made.detach())
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    (found,) = workers.listeners("203.0.113.1", 1, None)
    assert found.getsockname()[1] == port
    assert found.get_inheritable()
    assert not {"LISTEN_FDS", "LISTEN_PID"} & os.environ.keys()
    found.close()


def test_a_socket_that_systemd_handed_to_another_process_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", "1")
    assert workers.inherited() == []


def test_the_program_before_hands_over_both_sockets_unless_metrics_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    for moved in (False, True):
        made = [listen("127.0.0.1", 0), listen("127.0.0.1", 0)]
        ports = [each.getsockname()[1] for each in made]
        monkeypatch.setenv("GUNICORN_FD", ",".join(str(each.detach()) for each in made))
        free = listen("127.0.0.1", 0)
        other = free.getsockname()[1]
        free.close()
        found = workers.listeners("127.0.0.1", 1, other if moved else ports[1])
        assert [each.getsockname()[1] for each in found] == [ports[0], other if moved else ports[1]]
        for each in found:
            each.close()
    assert "GUNICORN_FD" not in os.environ


# Crashes


def test_a_worker_that_dies_is_replaced_at_once() -> None:
    backoff = Backoff()
    for moment in range(0, 300, 10):
        assert backoff.allows(moment)
        backoff.lived()
        backoff.died(moment + 5, ready=True)
        assert backoff.allows(moment + 5)


def test_workers_that_never_become_ready_are_started_ever_more_rarely() -> None:
    backoff = Backoff()
    now, waits = 0.0, []
    for _ in range(8):
        backoff.died(now, ready=False)
        began = now
        while not backoff.allows(now):
            now += 0.5
        waits.append(now - began)
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    backoff.lived()
    backoff.died(now, ready=True)
    assert backoff.allows(now)


def test_many_deaths_in_a_minute_are_a_loop_as_well() -> None:
    backoff = Backoff()
    for moment in range(19):
        backoff.died(moment, ready=True)
        assert backoff.allows(moment)
    backoff.died(20, ready=True)
    assert not backoff.allows(20)
    assert backoff.allows(21)


def test_a_fork_that_cannot_become_the_new_program_ends_and_touches_no_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = Supervisor.__new__(Supervisor)
    supervisor.pid, supervisor.reexec_pid, supervisor.master_pid, supervisor.systemd = os.getpid(), 0, 0, False
    supervisor.LISTENERS, supervisor.WORKERS = [], {}
    supervisor.cfg = SimpleNamespace(pre_exec=lambda arbiter: None, env_orig={})
    supervisor.log = logging.getLogger("loopway")
    monkeypatch.setattr(supervisor, "START_CTX", {0: "/nowhere/python", "args": ["python"], "cwd": os.getcwd()})
    supervisor._ending, supervisor._retiring, supervisor._ready = signal.SIGTERM, {}, set()
    supervisor.reexec()
    fork = supervisor.reexec_pid
    assert fork != 0
    wait = os.waitpid
    monkeypatch.setattr(os, "waitpid", lambda pid, options: wait(fork, options))  # no other test's children
    with caplog.at_level(logging.ERROR, "loopway"):
        give_up = time.monotonic() + 30
        while supervisor.reexec_pid and time.monotonic() < give_up:
            supervisor.reap_workers()
            time.sleep(0.01)
    assert supervisor.reexec_pid == 0, "another upgrade can begin"
    assert f"the new program ({fork}) has ended without taking over" in caplog.text


class _Room(Supervisor):
    """A supervisor of two workers that forks nobody, with places for six at a time."""

    num_workers = 2

    def __init__(self) -> None:
        self.told: list[int] = []
        self.WORKERS: dict[int, Any] = {}
        self._retiring, self._ready, self._crowded, self._announced = {}, set(), False, True
        self.cfg, self._backoff = SimpleNamespace(graceful_timeout=60), Backoff()
        setup = SimpleNamespace(file="before", load=lambda: "after", workers=2, memory=SimpleNamespace(slots=6))
        self.app = cast(Any, SimpleNamespace(setup=setup, reload=lambda: None))

    def setup(self, app: object) -> None:
        self.num_workers = self.app.setup.workers

    def manage_workers(self) -> None:
        self.spawn_workers()

    def spawn_worker(self) -> None:
        pid = 1 + max(self.WORKERS, default=0)
        self.WORKERS[pid] = SimpleNamespace(age=pid)

    def kill_worker(self, pid: int, number: int) -> None:
        assert number == RETIRE
        self.told.append(pid)


def test_a_reload_during_a_reload_takes_the_place_of_the_first() -> None:
    supervisor = _Room()
    supervisor.spawn_workers()
    supervisor._ready.update((1, 2))
    supervisor.handle_hup()
    assert (supervisor._serving(), supervisor.told) == ([3, 4], [])
    supervisor._ready.add(3)
    supervisor.handle_hup()
    assert (supervisor._serving(), supervisor.told) == ([5, 6], [3, 4]), "1 and 2 serve until 5 and 6 do"
    assert [pid for pid, since in supervisor._retiring.items() if not since] == [1, 2]


def test_workers_for_whom_there_is_no_place_wait_until_others_have_ended(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = _Room()
    supervisor.spawn_workers()
    supervisor._ready.update((1, 2))
    for _ in range(4):
        supervisor.handle_hup()
    assert len(supervisor.WORKERS) == 6
    assert supervisor._serving() == []
    assert caplog.text.count("further ones start as those have") == 1, "that is said once"
    for pid in (3, 4):
        del supervisor.WORKERS[pid], supervisor._retiring[pid]
    supervisor.manage_workers()
    assert len(supervisor._serving()) == 2


def test_more_workers_than_there_can_ever_be_places_for_are_refused_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    supervisor = _Room()
    supervisor.spawn_workers()
    supervisor._ready.update((1, 2))
    setup: Any = supervisor.app.setup
    setup.workers = 5
    supervisor.handle_hup()
    assert (supervisor._serving(), supervisor._retiring, supervisor.told, setup.file) == ([1, 2], {}, [], "before")
    assert [record.getMessage() for record in caplog.records] == [
        "5 workers cannot start beside the 2 that serve, 6 at a time is the most: the workers stay as they are; for so "
        "many stop the gateway and start it again"
    ]


def test_too_few_descriptors_are_one_clear_line_and_many_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda what, limits: taken.append(limits))
    for limits in ((1024, 4096), (64, resource.RLIM_INFINITY), (4096, 4096)):
        monkeypatch.setattr(resource, "getrlimit", lambda what, limits=limits: limits)
        raise_descriptors()
    assert taken == [(4096, 4096), (1 << 20, resource.RLIM_INFINITY)]
    monkeypatch.setattr(resource, "getrlimit", lambda what: (40, 40))
    with pytest.raises(StartupError, match="only 40 files may be open; allow 65536"):
        raise_descriptors()
