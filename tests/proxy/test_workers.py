"""Before there are workers: the listener, the parser, and what the supervisor is told."""

from __future__ import annotations

import socket
from pathlib import Path

import aiohttp.http
import pytest

from proxy.config.file import FileConfig
from proxy.config.schema import ServerSettings
from proxy.errors import StartupError
from proxy.workers import Application, GatewayWorker, Setup, check_parser, listen


def test_a_port_in_use_is_one_clear_line() -> None:
    taken = listen("127.0.0.1", 0)
    port = taken.getsockname()[1]
    with pytest.raises(StartupError, match=rf"^cannot listen on 127\.0\.0\.1:{port}: Address already in use; [^\n]+$"):
        listen("127.0.0.1", port)
    taken.close()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "203.0.113.1"])
def test_an_address_that_cannot_be_had_is_one_clear_line(host: str) -> None:
    with pytest.raises(StartupError, match=rf"^cannot listen on {host}:8787: [^\n]+$"):
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
        Application(setup, None, 1).run()


def test_the_supervisor_waits_longer_than_the_drain_takes(tmp_path: Path) -> None:
    listener = listen("127.0.0.1", 0)
    file = FileConfig(server=ServerSettings(drain_timeout=42.0))
    application = Application(Setup(file, None, lambda: file, tmp_path, "", ()), listener, 3)
    settings = application.cfg
    assert settings.graceful_timeout > 42
    assert settings.workers == 3
    assert settings.worker_class is GatewayWorker
    assert settings.address == [f"fd://{listener.fileno()}"] or listener.fileno() in settings.address
    listener.close()
