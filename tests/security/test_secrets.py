"""No secret is printed, kept or told: canaries in every place where a secret may stand, and a search for them."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.fakes.collector import Collector
from tests.fakes.gateway import Gateway, virtual_key
from tests.fakes.raw import Answer, Wire, request
from tests.security.setup import guarded


def canary(name: str) -> str:
    return f"Canary-{name}-{sha256(name.encode()).hexdigest()[:12]}"


ADMIN = canary("admin-key")
KEY = canary("api-key")
STORED = canary("stored-credential")
ANTHROPIC = canary("anthropic-credential")
CREATED = canary("created-credential")
CREATED_KEY = canary("created-api-key")
MASTER = base64.b64encode(canary("master-key").encode()[:32].ljust(32, b"x")).decode()
HEADER = canary("client-header")
BODY = canary("client-body")
QUERY = canary("client-query")
CONFIG = canary("inline-config")
ANSWER = canary("provider-answer")
WRONG = canary("wrong-key")
TRACES = canary("collector-credential")
SECRETS = (
    ADMIN,
    KEY,
    STORED,
    ANTHROPIC,
    CREATED,
    CREATED_KEY,
    MASTER,
    HEADER,
    BODY,
    QUERY,
    CONFIG,
    ANSWER,
    WRONG,
    TRACES,
)
HIDDEN = (ADMIN, KEY, STORED, ANTHROPIC, CREATED, MASTER, WRONG, CONFIG)
"""What not even an answer may hold; the others are the client's own, or the provider's words to it."""


class Loose(BaseHTTPRequestHandler):
    """A provider that repeats what it should not: the credential, in every error and in its header fields."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        credential = self.headers.get("authorization") or self.headers.get("x-api-key") or ""
        asked = re.search(rb"m-([0-9]+)", body)
        status = int(asked[1]) if asked else 401
        message = f"{ANSWER}: Incorrect API key provided: {credential.removeprefix('Bearer ')}"
        error = {"type": "error", "error": {"type": "authentication_error", "message": message, "code": None}}
        data = json.dumps(error).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("x-credential", credential)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        """Prints nothing."""


@pytest.fixture(scope="module")
def loose() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Loose)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture(scope="module")
def leaky(loose: str, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that logs everything it ever logs, and exports traces and metrics."""
    config = guarded(loose) | {
        "telemetry": {"otlp": {"endpoint": collector.url, "headers": {"x-own": TRACES}, "interval": "200ms"}},
        "virtual_keys": [
            virtual_key("openai-x", "openai", loose, key=STORED, custom_headers={"x-extra": STORED}),
            virtual_key("anthropic-x", "anthropic", loose, key=ANTHROPIC),
        ],
        "api_keys": [
            {"name": "a", "key": KEY, "scopes": ["inference"]},
            {"name": "b", "key": ADMIN, "scopes": ["admin"]},
        ],
        "configs": [],
    }
    environment = {"LOOPWAY_MASTER_KEY": MASTER, "LOOPWAY_LOG_LEVEL": "debug", "LOOPWAY_ADMIN_KEY": f"{ADMIN}-2"}
    with Gateway(tmp_path_factory.mktemp("leaky"), config, environment=environment) as running:
        yield running


def ask(gateway: Gateway, method: str, path: str, body: Any = None, **fields: str) -> Answer:
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    with Wire(gateway.port) as wire:
        answer = wire.send(request(method, path, data, Content_Type="application/json", **fields)).answer()
    told = answer.body.decode("utf-8", "replace") + str(answer.headers)
    for secret in HIDDEN:
        assert secret not in told, (method, path)
    return answer


def infer(gateway: Gateway, **fields: str) -> None:
    """All ways to fail at inference, with these header fields."""
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/messages", "/v1/files", "/v1/x"):
        for status in (401, 429, 500):
            body = {
                "model": f"m-{status}",
                "messages": [{"role": "user", "content": BODY}],
                "prompt": BODY,
                "input": BODY,
            }
            body |= {"max_tokens": 5, "user": "kept-as-metadata", "x": BODY}
            ask(gateway, "POST", f"{path}?key={QUERY}&api_key={QUERY}", body, **fields)
        for bad in (
            b'{"model":"%b' % BODY.encode(),
            b'{"model":["%b"]}' % BODY.encode(),
            BODY.encode(),
            b"\xff" + BODY.encode(),
        ):
            ask(gateway, "POST", f"{path}?key={QUERY}", bad, **fields)


def test_no_secret_is_printed_kept_told_or_exported(leaky: Gateway, collector: Collector) -> None:
    own = {
        "Cookie": f"session={HEADER}", "X_Secret": HEADER, "x_portkey_metadata": json.dumps({"k": "kept"}),
        "x_portkey_aws_secret_access_key": HEADER, "x_portkey_vertex_service_account_json": HEADER, "x_api_key": HEADER,
        "Proxy_Authorization": f"Basic {HEADER}", "x_portkey_forward_headers": "x-secret", "baggage": "k=kept",
    }  # fmt: skip
    for slug in ("openai-x", "anthropic-x", "nobody"):
        infer(leaky, x_portkey_api_key=KEY, x_portkey_virtual_key=slug, **own)
    infer(leaky, Authorization=f"Bearer {KEY}", x_portkey_virtual_key="openai-x")
    infer(leaky, x_portkey_api_key=WRONG)
    infer(leaky, Authorization=f"Bearer {WRONG}")
    infer(leaky, x_portkey_api_key=KEY, x_portkey_provider="openai", Authorization=f"Bearer {HEADER}",
          x_portkey_custom_host=f"http://{HEADER}.internal/{HEADER}")  # fmt: skip
    for config in (
        {"provider": "openai", "api_key": CONFIG, "custom_host": f"http://{HEADER}.local"},
        {"provider": "nobody", "api_key": CONFIG}, {"provider": "openai", "api_key": CONFIG, "retry": CONFIG},
        {"api_key": [CONFIG]}, {"strategy": {"mode": "fallback"}, "targets": [{"api_key": CONFIG}]},
        {"provider": "openai", "api_key": CONFIG + "\n"}, {"virtual_key": "openai-x", "api_key": CONFIG, "x": 1},
    ):  # fmt: skip
        infer(leaky, x_portkey_api_key=KEY, x_portkey_config=json.dumps(config))
    for path in ("/v1/models", "/v1/models?key=" + QUERY, "/metrics", "/openapi.json", "/healthz", "/nothing"):
        ask(leaky, "GET", path, x_portkey_api_key=KEY)
    administer(leaky)
    leaky.until(lambda: leaky.log().count("/v1/") > 100, "the access log is written")
    assert_nowhere(leaky)
    told = ""
    for pid in (leaky.pid, *leaky.workers()):
        with open(f"/proc/{pid}/cmdline") as command:
            told += command.read()
    told += leaky.get("/metrics", key=ADMIN).text
    collector.until(lambda: len(collector.spans) > 100 and collector.metrics)
    told += "".join(map(str, (*collector.spans, *collector.metrics, *collector.resources)))
    for secret in SECRETS:
        assert not [form for form in forms(secret) if form.decode() in told], secret
    leaky.stop()
    assert_nowhere(leaky)


def administer(gateway: Gateway) -> None:
    admin = {"x_portkey_api_key": ADMIN}
    made = {"name": "made", "provider": "openai", "key": CREATED, "custom_headers": {"x-token": CREATED}, "note": "n"}
    assert ask(gateway, "POST", "/v1/virtual-keys", made, **admin).status == 200
    key = {"name": "made", "scopes": ["completions.write"], "key": CREATED_KEY}
    with Wire(gateway.port) as wire:  # Its text is told once, to whoever makes it.
        body = json.dumps(key).encode()
        made_key = wire.send(request("POST", "/v1/api-keys/workspace/service", body, **admin)).answer()
    assert CREATED_KEY in made_key.body.decode()
    for wrong in (
        {**made, "name": 5}, {**made, "provider": "nobody"}, {**made, "unknown": CREATED}, {**made, "key": [CREATED]},
        {**made, "key": {"a": CREATED}}, {**made, "custom_headers": {"a b": CREATED}}, {"key": CREATED},
        {**made, "custom_host": f"http://user:{CREATED}@example.com"},
        {**made, "custom_headers": {"a": CREATED + "\r\n"}},
        {**made, "custom_host": f"http://169.254.169.254/{CREATED}"},
    ):  # fmt: skip
        assert ask(gateway, "POST", "/v1/virtual-keys", wrong, **admin).status == 400
    ask(gateway, "POST", "/v1/virtual-keys", json.dumps(made).encode()[:-5], **admin)
    for entity in ("virtual-keys", "api-keys", "configs", "providers", "integrations"):
        for path in (f"/v1/{entity}", f"/v1/{entity}/made", f"/v1/{entity}/openai-x"):
            ask(gateway, "GET", path, **admin)
            ask(gateway, "PUT", path, {"key": CREATED}, **admin)
            if entity != "api-keys":
                ask(gateway, "DELETE", path, {"key": CREATED}, **admin)


def forms(secret: str) -> Iterator[bytes]:
    """A secret as it stands, and in the ways it is written by accident."""
    raw = secret.encode()
    yield raw
    yield raw.hex().encode()
    yield raw[:-4]
    yield base64.b64encode(raw)[:-4]
    yield raw.lower()


def assert_nowhere(gateway: Gateway) -> None:
    places = {"output": gateway.output.read_bytes()}
    places |= {str(path): path.read_bytes() for path in gateway.data.rglob("*") if path.is_file()}
    assert any(b"SQLite" in data for data in places.values())
    for place, data in places.items():
        for secret in SECRETS:
            for form in forms(secret):
                assert form not in data, f"{secret} in {place}: {data[max(0, data.index(form) - 200) :][:400]!r}"
        assert b"Traceback" not in data
    digest = sha256(CREATED_KEY.encode())
    assert any(digest.digest() in data or digest.hexdigest().encode() in data for data in places.values())


def test_the_files_of_the_store_are_the_owners_alone(launch: Any) -> None:
    gateway = launch(None, environment={"LOOPWAY_MASTER_KEY": ""})
    for path in (gateway.data, *gateway.data.rglob("*")):
        if "run" not in path.parts:
            assert path.stat().st_mode & 0o077 == 0, path
