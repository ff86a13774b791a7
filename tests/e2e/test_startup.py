"""A gateway that cannot start says why, in one line, and exits with 1."""

from __future__ import annotations

import base64
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.gateway import OPENAI_SLUG, Gateway, Launch, Upstream, standard


@pytest.fixture
def refused(tmp_path: Path) -> Any:
    """Starts a gateway that must not start; returns what it printed."""

    def run(config: dict[str, Any] | str | None, **more: Any) -> str:
        gateway = Gateway(tmp_path / "refused", config if isinstance(config, dict) else {}, **more)
        if isinstance(config, str):
            gateway.write(config)
        gateway.spawn()
        assert gateway.wait() == 1, gateway.log()
        said = gateway.log()
        assert "Traceback" not in said
        return said

    return run


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        ("virtual_keys:\n  - slug: a\n    provider: opnai\n    key: k\n", ":3:15:", "openai"),
        ("virtual_keys:\n  - slug: a\n    provder: openai\n    key: k\n", ":3:5:", "provider"),
        ("api_keys:\n  - name: a\n    key: k\n    scopes: [inferense]\n", ":4:14:", "inference"),
        ("server: {port: http}\n", ":1:16:", "port"),
        ("virtual_keys: [\n", ":2:1:", ""),
        ("configs:\n  - slug: pc-a\n    config: {strategy: {mode: fallbak}, targets: []}\n", ":3:", "fallback"),
    ],
)
def test_a_bad_file_is_refused_with_line_and_column(text: str, place: str, hint: str, refused: Any) -> None:
    said = refused(text)
    assert f"loopway.yaml{place}" in said
    assert hint in said


def test_several_mistakes_are_told_at_once(refused: Any) -> None:
    said = refused("virtual_keys:\n  - slug: a\n    provider: opnai\n    key: k\napi_keys:\n  - nme: a\n")
    assert "loopway.yaml:3:" in said
    assert "loopway.yaml:6:" in said


def test_no_mistake_repeats_a_secret(refused: Any) -> None:
    said = refused("virtual_keys:\n  - slug: a\n    provider: sk-a-secret-in-the-wrong-line\n    key: k\n")
    assert "sk-a-secret-in-the-wrong-line" not in said


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, {})
    gateway.file.unlink()
    gateway.spawn()
    assert gateway.wait() == 1
    assert "loopway.yaml" in gateway.log()
    assert len(gateway.log().splitlines()) == 1


def test_another_master_key_than_the_stores_is_refused(launch: Launch, refused: Any, upstream: Upstream) -> None:
    gateway = launch(standard(upstream.url))
    gateway.admin("POST", "/v1/virtual-keys", {"name": "a", "provider": "openai", "key": "sk-secret"})
    gateway.stop()
    other = base64.b64encode(os.urandom(32)).decode()
    said = refused(standard(upstream.url), data=gateway.data, environment={"LOOPWAY_MASTER_KEY": other})
    assert len(said.splitlines()) == 1
    assert "master key" in said.lower()
    assert other not in said


@pytest.mark.parametrize("key", ["short", base64.b64encode(b"x" * 31).decode()])
def test_a_master_key_of_the_wrong_form_is_refused(key: str, refused: Any) -> None:
    said = refused({}, environment={"LOOPWAY_MASTER_KEY": key})
    assert "LOOPWAY_MASTER_KEY" in said
    assert key not in said


def test_a_master_key_is_made_where_none_is_given(launch: Launch) -> None:
    gateway = launch(None, environment={"LOOPWAY_MASTER_KEY": ""})
    kept = [path for path in gateway.data.iterdir() if "key" in path.name]
    assert [oct(path.stat().st_mode & 0o777) for path in kept] == ["0o600"]


def test_a_port_in_use_is_told_in_one_line(refused: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused({}, port=port)
    assert f"127.0.0.1:{port}" in said
    assert "--port" in said
    assert len([line for line in said.splitlines() if line.startswith("loopway")]) == 1


def test_the_first_admin_key_is_shown_even_if_the_port_is_taken(refused: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = refused(None, port=taken.getsockname()[1], environment={"LOOPWAY_ADMIN_KEY": ""})
    assert "It is shown once:\n\n    lw-" in said


def test_an_ipv6_address_stands_in_brackets(launch: Launch) -> None:
    gateway = launch({"server": {"host": "::1"}})
    assert "listens on http://[::1]:" in gateway.log()


def test_too_short_an_admin_key_is_refused(refused: Any) -> None:
    assert "LOOPWAY_ADMIN_KEY" in refused({}, environment={"LOOPWAY_ADMIN_KEY": "short"})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_while_it_starts_it_exits_with_0(
    number: signal.Signals, tmp_path: Path, upstream: Upstream
) -> None:
    gateway = Gateway(tmp_path, standard(upstream.url))
    gateway.spawn()
    gateway.until(lambda: "listens on" in gateway.log(), "it prints its address")
    gateway.send(signal.SIGHUP)
    gateway.send(number)
    assert gateway.wait() == 0, gateway.log()
    assert "Traceback" not in gateway.log()


def heeds_the_end(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM, as Python's first lines of it have set one."""
    caught = Path(f"/proc/{pid}/status").read_text().partition("SigCgt:")[2].split()[0]
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("later", [0.0, 0.15, 0.4])
def test_told_to_stop_from_its_first_line_on_it_exits_with_0_and_leaves_nobody(later: float, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, {}, workers=2)
    gateway.spawn()
    gateway.until(lambda: heeds_the_end(gateway.pid), "it can be told to end")
    time.sleep(later)  # whatever it does by then
    children = gateway.workers()
    gateway.send(signal.SIGHUP)
    gateway.send(signal.SIGTERM)
    assert gateway.wait() == 0, gateway.log()
    assert "Traceback" not in gateway.log()
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def test_a_second_gateway_in_one_data_directory_is_told_whose_it_is(launch: Launch, refused: Any) -> None:
    gateway = launch({})
    said = refused({}, data=gateway.data)
    assert len(said.splitlines()) == 1
    assert f"process {gateway.pid}" in said
    assert str(gateway.data) in said
    assert "--data" in said
    assert gateway.get("/readyz").status_code == 200
    gateway.upgrade()
    gateway.until(
        lambda: (gateway.data / "lock").read_text() == f"{gateway.pid}\n", "the new program has the directory"
    )
    assert f"process {gateway.pid}" in refused({}, data=gateway.data)


def test_a_gateway_that_only_lets_requests_finish_keeps_no_other_from_its_directory(
    launch: Launch, upstream: Upstream
) -> None:
    gateway = launch(standard(upstream.url))
    with ThreadPoolExecutor(1) as pool:
        slow = {"model": "gpt-4o::latency=1500", "messages": [{"role": "user", "content": "Hello"}]}
        answer = pool.submit(gateway.post, "/v1/chat/completions", slow, headers={"x-portkey-virtual-key": OPENAI_SLUG})
        upstream.until(lambda stats: stats["requests"] == 1)
        gateway.send(signal.SIGTERM)
        again = launch(standard(upstream.url), data=gateway.data)
        assert again.get("/readyz").status_code == 200
        assert answer.result().status_code == 200


def test_what_is_not_configured_is_not_loaded(launch: Launch) -> None:
    # Redis' client alone is eight megabytes for the supervisor and each worker, and a third of the time to start.
    config = {"api_keys": [{"name": "any", "key": "lw-any-0123456789abcdef"}]}
    gateway = launch(config, environment={"PYTHONPROFILEIMPORTTIME": "1"})
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in gateway.log().splitlines() if "|" in line}
    assert {"aiohttp", "msgspec", "adapters"} <= loaded
    assert not {"redis", "psycopg", "opentelemetry"} & loaded
