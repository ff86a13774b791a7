"""Hosts that clients name: public ones or listed ones, and never together with a stored credential."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.gateway import ADMIN_KEY, ANTHROPIC_SLUG, OPENAI_SECRET, OPENAI_SLUG, SEED_KEY, Gateway, Upstream
from tests.fakes.raw import Answer, Wire, request
from tests.security.hosts import FORBIDDEN, METADATA
from tests.security.setup import guarded

BODY: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]}
OWN = "Bearer sk-of-the-client"


class Listener:
    """Counts who connects to loopback, on both families."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port = int(self.socket.getsockname()[1])
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


@pytest.fixture(scope="module")
def canary() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


def ask(gateway: Gateway, fields: dict[str, str], body: dict[str, Any] = BODY, query: str = "") -> Answer:
    data = json.dumps(body).encode()
    head = request("POST", f"/v1/chat/completions{query}", x_portkey_api_key=SEED_KEY, Content_Type="application/json")[
        :-2
    ]
    for name, value in fields.items():
        head += name.encode() + b": " + value.encode() + b"\r\n"
    with Wire(gateway.port) as wire:
        return wire.send(head + b"Content-Length: %d\r\n\r\n" % len(data) + data).answer()


def in_header(url: str) -> dict[str, str]:
    return {"x-portkey-provider": "openai", "authorization": OWN, "x-portkey-custom-host": url}


def in_config(url: str) -> dict[str, str]:
    return {"x-portkey-config": json.dumps({"provider": "openai", "api_key": "sk", "custom_host": url})}


def in_target(url: str) -> dict[str, str]:
    good = {"provider": "openai", "api_key": "sk", "custom_host": "https://example.com"}
    strategy = {"mode": "fallback"}
    inner = {"strategy": strategy, "targets": [good, {**good, "custom_host": url}]}
    return {"x-portkey-config": json.dumps({"strategy": strategy, "targets": [inner]})}


def inherited(url: str) -> dict[str, str]:
    targets = [{"provider": "openai", "api_key": "sk"}]
    return {"x-portkey-config": json.dumps({"custom_host": url, "strategy": {"mode": "single"}, "targets": targets})}


PLACES = {"header": in_header, "config": in_config, "target": in_target, "parent": inherited}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("url", FORBIDDEN)
def test_a_client_cannot_send_a_request_inside(guard: Gateway, behind: Upstream, url: str, place: str) -> None:
    answer = ask(guard, PLACES[place](url))
    assert answer.status == 400
    assert "custom" in json.dumps(answer.json()).lower()
    assert not behind.requests()


@pytest.mark.parametrize("place", PLACES)
def test_nothing_connects_to_loopback_however_it_is_written(guard: Gateway, canary: Listener, place: str) -> None:
    for host in (
        "127.0.0.1", "127.0.0.2", "localhost", "LOCALHOST", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "017700000001", "[::127.0.0.1]",
        "[0:0:0:0:0:ffff:127.0.0.1]", "[64:ff9b::127.0.0.1]", "localhost.", "ip6-localhost", "127.0.0.1.",
        "user@127.0.0.1", "example.com@127.0.0.1", "①②⑦.⓪.⓪.①", "127.0.0.1\\@example.com", "localhost%00",
    ):  # fmt: skip
        for scheme in ("http", "https"):
            for path in ("", "/v1"):
                answer = ask(guard, PLACES[place](f"{scheme}://{host}:{canary.port}{path}"))
                assert answer.status == 400, host
    assert canary.connections == 0


STORED = {
    "a virtual key": ({"x-portkey-virtual-key": OPENAI_SLUG}, "gpt-4o", ""),
    "a provider that is a slug": ({"x-portkey-provider": f"@{OPENAI_SLUG}"}, "gpt-4o", ""),
    "a slug in the model": ({}, f"@{OPENAI_SLUG}/gpt-4o", ""),
    "a slug in the query": ({}, "portkey-default", f"?model=@{OPENAI_SLUG}/gpt-4o"),
    "a model that one virtual key claims": ({}, "text-embedding-3-small", ""),
    "a saved config": ({"x-portkey-config": "pc-openai"}, "gpt-4o", ""),
    "the default config of the key": ({"x-portkey-api-key": "lw-configured"}, "gpt-4o", ""),
    "a config with a virtual key": ({"x-portkey-config": json.dumps({"virtual_key": OPENAI_SLUG})}, "gpt-4o", ""),
}  # fmt: skip


@pytest.mark.parametrize("what", STORED)
def test_a_host_of_the_client_never_gets_a_stored_credential(guard: Gateway, behind: Upstream, what: str) -> None:
    fields, model, query = STORED[what]
    fields = {**fields, "x-portkey-custom-host": "https://example.com"}
    key = fields.pop("x-portkey-api-key", SEED_KEY)
    data = json.dumps({**BODY, "model": model}).encode()
    head = request("POST", f"/v1/chat/completions{query}", x_portkey_api_key=key, Content_Type="application/json")[:-2]
    head += "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode()
    with Wire(guard.port) as wire:
        answer = wire.send(head + b"Content-Length: %d\r\n\r\n" % len(data) + data).answer()
    assert answer.status == 400
    assert "custom host" in answer.error["message"]
    assert not behind.requests()


@pytest.mark.parametrize(
    "config",
    [
        {"virtual_key": OPENAI_SLUG, "custom_host": "https://example.com"},
        {"provider": f"@{OPENAI_SLUG}", "custom_host": "https://example.com"},
        {"strategy": {"mode": "fallback"}, "targets": [{"virtual_key": OPENAI_SLUG, "custom_host": "https://example.com"}]},
        {
            "custom_host": "https://example.com",
            "strategy": {"mode": "fallback"},
            "targets": [{"virtual_key": OPENAI_SLUG}, {"virtual_key": ANTHROPIC_SLUG}],
        },
        {
            "strategy": {"mode": "single"},
            "targets": [{"custom_host": "https://example.com", "targets": [{"virtual_key": OPENAI_SLUG}],
                         "strategy": {"mode": "single"}}],
        },
    ],
)  # fmt: skip
def test_nor_does_a_host_in_a_config_of_the_client(guard: Gateway, behind: Upstream, config: dict[str, Any]) -> None:
    answer = ask(guard, {"x-portkey-config": json.dumps(config)})
    assert answer.status == 400
    assert not behind.requests()


def test_listed_hosts_may_be_named_and_get_only_what_the_client_sent(launch: Any, behind: Upstream) -> None:
    hosts = "LOCALHOST, 127.0.0.1 ,169.254.169.254"
    gateway = launch(guarded(behind.url), environment={"TRUSTED_CUSTOM_HOSTS": hosts})
    for place in (in_header, in_config, in_target, inherited):
        answer = ask(gateway, place(f"{behind.url}/v1"))
        if place is not in_target:
            assert answer.status == 200
            assert behind.last.credential in ("sk", "sk-of-the-client")
    assert OPENAI_SECRET not in str([record.headers for record in behind.requests()])
    port = behind.url.rpartition(":")[2]
    assert ask(gateway, in_header(f"http://localhost:{port}/v1")).status in (200, 502)
    behind.reset()
    for url in (*METADATA, f"http://127.0.0.2:{port}", f"http://[::1]:{port}", f"http://[::ffff:127.0.0.1]:{port}"):
        assert ask(gateway, in_header(url)).status == 400, url
    assert not behind.requests()


@pytest.mark.parametrize("url", METADATA)
def test_not_even_an_administrator_can_name_a_metadata_service(guard: Gateway, url: str) -> None:
    for path, body in (
        ("/v1/virtual-keys", {"name": "x", "provider": "openai", "key": "sk-x", "custom_host": url}),
        ("/v1/configs", {"name": "x", "config": {"provider": "openai", "api_key": "sk", "custom_host": url}}),
    ):
        data = json.dumps(body).encode()
        with Wire(guard.port) as wire:
            answer = wire.send(
                request("POST", path, data, x_portkey_api_key=ADMIN_KEY, Content_Type="application/json")
            ).answer()
        assert answer.status == 400, path
        assert "custom_host" in json.dumps(answer.json())
