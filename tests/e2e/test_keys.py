"""Keys over time: rotation, expiry, and how fast every worker learns of a change."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.e2e.samples import GPT, HELLO
from tests.fakes.gateway import OPENAI_SLUG, Gateway, Launch, Upstream, at, standard, virtual_key

CHAT = {"model": GPT, "messages": HELLO}
WORKERS = 3
SOON = 15.0  # seconds; one, on a machine that does nothing else
"""Seconds within which every worker must know of a change."""


def make(gateway: Gateway, **fields: Any) -> dict[str, Any]:
    """An API key made over HTTP: its id and its text."""
    body = {"name": "made", "scopes": ["inference"], **fields}
    answer = gateway.admin("POST", "/v1/api-keys/workspace/service", body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def status(gateway: Gateway, key: str) -> int:
    """What a chat with this key is answered with, on a connection of its own."""
    return gateway.post("/v1/chat/completions", CHAT, key=key).status_code


@pytest.fixture(scope="module")
def crowd(session_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with several workers."""
    with Gateway(tmp_path_factory.mktemp("crowd"), standard(session_upstream.url), workers=WORKERS) as running:
        yield running


class Everywhere:
    """Connections kept open, enough of them that every worker has some."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._clients = [httpx.Client(timeout=30, trust_env=False) for _ in range(8 * WORKERS)]
        self._pool = ThreadPoolExecutor(len(self._clients))

    def ask(self, key: str, body: Any = CHAT) -> list[tuple[int, float]]:
        """A request with this key on all connections at once: statuses, and when each request was begun."""

        def one(client: httpx.Client) -> tuple[int, float]:
            headers = {"x-portkey-api-key": key}
            began = time.monotonic()
            return client.post(f"{self._gateway.v1}/chat/completions", json=body, headers=headers).status_code, began

        return list(self._pool.map(one, self._clients))

    def settle(self, key: str, wanted: int, body: Any = CHAT) -> float:
        """Asks until all connections get `wanted` alone; returns after how many seconds the last request was begun
        that got something else."""
        began = last = time.monotonic()
        while stale := [start for status, start in self.ask(key, body) if status != wanted]:
            last = max(stale)
            assert last - began < 60, f"some workers still do not answer {wanted}"
        return last - began

    def close(self) -> None:
        """Closes all connections."""
        self._pool.shutdown()
        for client in self._clients:
            client.close()


@pytest.fixture
def everywhere(crowd: Gateway) -> Iterator[Everywhere]:
    """Connections to every worker of `crowd`."""
    clients = Everywhere(crowd)
    yield clients
    clients.close()


def test_a_new_key_works_at_once_and_in_every_worker_soon(crowd: Gateway, everywhere: Everywhere) -> None:
    key = make(crowd)["key"]
    everywhere.settle(key, 200)


@pytest.mark.parametrize("change", ["delete", "scopes", "expire"])
def test_every_worker_refuses_a_revoked_key_soon(change: str, crowd: Gateway, everywhere: Everywhere) -> None:
    made = make(crowd)
    path = f"/v1/api-keys/{made['id']}"
    everywhere.settle(made["key"], 200)
    calls: dict[str, tuple[Callable[[], httpx.Response], int]] = {
        "delete": (lambda: crowd.admin("DELETE", path), 401),
        "scopes": (lambda: crowd.admin("PUT", path, {"scopes": ["logs"]}), 403),
        "expire": (lambda: crowd.admin("PUT", path, {"expires_at": "2001-01-01T00:00:00Z"}), 401),
    }
    call, refused = calls[change]
    assert call().status_code == 200
    assert everywhere.settle(made["key"], refused) < SOON


def test_every_worker_learns_of_a_changed_credential_soon(
    crowd: Gateway, everywhere: Everywhere, upstream: Upstream
) -> None:
    body = {"name": "v", "provider": "openai", "key": "sk-1", "custom_host": f"{upstream.url}/v1"}
    slug = crowd.admin("POST", "/v1/virtual-keys", body).json()["slug"]
    chat = {"model": f"@{slug}/gpt-4o", "messages": HELLO}
    everywhere.settle(crowd.api_key, 200, chat)
    changed = crowd.admin("PUT", f"/v1/virtual-keys/{slug}", {"custom_host": f"{at(upstream.url, status=418)}/v1"})
    assert changed.status_code == 200
    assert everywhere.settle(crowd.api_key, 418, chat) < SOON
    assert crowd.admin("DELETE", f"/v1/virtual-keys/{slug}").status_code == 200
    assert everywhere.settle(crowd.api_key, 400, chat) < SOON


def test_the_old_text_of_a_rotated_key_works_until_the_overlap_ends(gateway: Gateway) -> None:
    made = make(gateway)
    answer = gateway.admin("POST", f"/v1/api-keys/{made['id']}/rotate", {"key_transition_period_ms": 4000})
    rotated = answer.json()
    assert rotated["key"] != made["key"]
    assert rotated["key_transition_expires_at"]
    assert status(gateway, rotated["key"]) == 200
    assert status(gateway, made["key"]) == 200
    gateway.until(lambda: status(gateway, made["key"]) == 401, "the old text has expired")
    assert status(gateway, rotated["key"]) == 200


def test_a_rotation_without_overlap_ends_the_old_text_at_once(gateway: Gateway) -> None:
    made = make(gateway)
    answer = gateway.admin("POST", f"/v1/api-keys/{made['id']}/rotate", {"key_transition_period_ms": 0})
    assert status(gateway, made["key"]) == 401
    assert status(gateway, answer.json()["key"]) == 200


def test_a_deleted_key_ends_its_rotated_text_too(gateway: Gateway) -> None:
    made = make(gateway)
    rotated = gateway.admin("POST", f"/v1/api-keys/{made['id']}/rotate", {}).json()
    gateway.admin("DELETE", f"/v1/api-keys/{made['id']}")
    assert (status(gateway, made["key"]), status(gateway, rotated["key"])) == (401, 401)


def test_a_key_expires_by_itself(gateway: Gateway) -> None:
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 4))
    made = make(gateway, expires_at=soon)
    assert status(gateway, made["key"]) == 200
    gateway.until(lambda: status(gateway, made["key"]) == 401, "the key has expired")


def test_a_key_with_a_default_config_needs_no_address(gateway: Gateway, upstream: Upstream) -> None:
    made = make(gateway, defaults={"config_id": "pc-openai"})
    answer = gateway.post("/v1/chat/completions", {"model": "gpt-4o", "messages": HELLO}, key=made["key"])
    assert answer.status_code == 200
    assert upstream.last.credential == "sk-openai"


def test_a_key_may_be_brought_along_as_a_hash(launch: Launch, upstream: Upstream) -> None:
    digest = "9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0"  # of "aaa"
    config = {
        "virtual_keys": [virtual_key(OPENAI_SLUG, "openai", upstream.url)],
        "api_keys": [{"name": "a", "hash": f"sha256:{digest}"}],
    }
    assert status(launch(config), "aaa") == 200


def test_the_first_start_prints_an_admin_key_once(launch: Launch) -> None:
    gateway = launch(None)
    printed = [line.strip() for line in gateway.log().splitlines() if line.strip().startswith("lw-")]
    assert len(printed) == 1
    assert gateway.get("/v1/virtual-keys", key=printed[0]).status_code == 200
    gateway.stop()
    again = launch(None, data=gateway.data)
    assert "lw-" not in again.log()
    assert again.get("/v1/virtual-keys", key=printed[0]).status_code == 200


def test_an_admin_key_from_the_environment_is_taken(launch: Launch) -> None:
    gateway = launch(None, environment={"LOOPWAY_ADMIN_KEY": "an-admin-key-of-the-operator"})
    assert gateway.get("/v1/virtual-keys", key="an-admin-key-of-the-operator").status_code == 200
    assert "lw-" not in gateway.log()


def test_limits_as_the_sdk_sends_them_are_enforced_shown_and_reset(gateway: Gateway) -> None:
    made = gateway.admin(
        "POST",
        "/v1/api-keys/workspace/service",
        {
            "name": "limited",
            "scopes": ["completions.write"],
            "usage_limits": {"type": "tokens", "credit_limit": 1, "periodic_reset": "monthly"},
            "rate_limits": [{"type": "requests", "unit": "rpd", "value": 3}],
        },
    ).json()
    body = {"model": f"@{OPENAI_SLUG}/gpt-4o", "messages": HELLO}

    def ask() -> int:
        return gateway.post("/v1/chat/completions", body, key=made["key"]).status_code

    def status() -> str:
        return str(gateway.admin("GET", f"/v1/api-keys/{made['id']}").json()["status"])

    gateway.until(lambda: ask() != 401, "the key is known")
    assert ask() == 412
    assert status() == "exhausted"
    assert gateway.admin("POST", f"/v1/api-keys/{made['id']}/reset-usage").status_code == 200
    assert status() == "active"
    assert ask() == 200
    assert gateway.admin("PUT", f"/v1/api-keys/{made['id']}", {"reset_usage": True}).status_code == 200
    gateway.until(lambda: ask() == 200, "it is reset")
    gateway.until(lambda: ask() == 412, "and spent again")
    assert gateway.admin("PUT", f"/v1/api-keys/{made['id']}", {"usage_limits": None}).status_code == 200
    gateway.until(lambda: ask() == 429, "the rate is left")
