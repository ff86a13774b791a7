"""`loopway doctor` finds what is wrong around a gateway, says how to mend it, and costs nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.fakes.gateway import MASTER_KEY, ROOT, Gateway, Launch, Upstream, clean_environment, standard, virtual_key
from tests.fakes.redis_server import RedisServer, free_port


def examined(config: Path, data: Path, *more: str, code: int, **environment: str) -> list[dict[str, Any]]:
    """What it finds, and that it exits so."""
    command = [sys.executable, "-m", "proxy", "doctor", "--config", str(config), "--data", str(data), "--json", *more]
    env = clean_environment() | {"LOOPWAY_MASTER_KEY": MASTER_KEY} | environment
    ran = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert "sk-openai" not in ran.stdout
    return [json.loads(line) for line in ran.stdout.splitlines()]


def of(found: list[dict[str, Any]], what: str) -> dict[str, Any]:
    """The one finding about something."""
    (one,) = [finding for finding in found if finding["what"] == what]
    return one


def test_a_gateway_in_order_is_found_in_order_and_no_provider_is_asked(
    launch: Launch, upstream: Upstream, tmp_path: Path, postgres_url: str
) -> None:
    with RedisServer(tmp_path) as redis:
        config = standard(upstream.url) | {"store": {"url": postgres_url}, "redis": {"url": redis.url}}
        gateway = launch(config)
        found = examined(gateway.file, gateway.data, code=0)
    assert {finding["state"] for finding in found} <= {"ok", "warn"}
    assert of(found, "configuration")["state"] == "ok"
    assert of(found, "store")["state"] == "ok"
    assert of(found, "redis")["state"] in ("ok", "warn")
    assert [each["state"] for each in found if each["what"] == "clock"] == ["ok", "ok"]
    ways = [each for each in found if each["what"].startswith("way to ")]
    assert len(ways) == len(config["virtual_keys"])
    assert not upstream.requests()


def test_a_database_that_no_gateway_has_started_with_is_only_empty(tmp_path: Path, postgres_url: str) -> None:
    file = tmp_path / "loopway.yaml"
    file.write_text("store: {url: env:LOOPWAY_DATABASE_URL}\n")
    (tmp_path / "data").mkdir()
    found = examined(file, tmp_path / "data", code=0, LOOPWAY_DATABASE_URL=postgres_url)
    assert of(found, "store")["state"] == "warn"
    assert of(found, "store")["mend"] == "the first start makes its tables"


def test_what_is_wrong_is_named_and_how_to_mend_it(tmp_path: Path, upstream: Upstream) -> None:
    closed = free_port()
    config = {
        "virtual_keys": [
            virtual_key("openai-good", "openai", upstream.url),
            virtual_key("openai-closed", "openai", f"http://127.0.0.1:{closed}"),
            virtual_key("openai-plain", "openai", upstream.url.replace("http", "https")),
            virtual_key("openai-nowhere", "openai", "https://no-such-host.invalid"),
        ],
        "redis": {"url": f"redis://:canary-of-redis@127.0.0.1:{closed}/0"},
        "store": {"url": f"postgresql://loopway:canary-of-postgres@127.0.0.1:{closed}/loopway"},
    }
    file = tmp_path / "loopway.yaml"
    file.write_text(yaml.safe_dump(config))
    found = examined(file, tmp_path, code=1)
    bad = {finding["what"]: finding for finding in found if finding["state"] == "bad"}
    ways = {f"way to openai-{name}" for name in ("closed", "plain", "nowhere")}
    assert bad.keys() == ways | {"store", "redis"}
    assert all(finding["mend"] for finding in bad.values())
    assert "refused" in bad["way to openai-closed"]["said"].lower()
    assert "TLS" in bad["way to openai-plain"]["said"]
    assert "resolve" in bad["way to openai-nowhere"]["said"]
    assert "canary" not in json.dumps(found)
    assert of(found, "way to openai-good")["state"] == "ok"


def test_a_bad_file_is_told_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "loopway.yaml"
    file.write_text("virtual_keys:\n  - slug: a\n    provder: openai\n")
    found = examined(file, tmp_path, code=1)
    assert any("loopway.yaml:3" in finding["said"] for finding in found)


def test_a_master_key_that_does_not_fit_is_found(launch: Launch, upstream: Upstream) -> None:
    gateway: Gateway = launch(standard(upstream.url))
    other = "c" + MASTER_KEY[1:]
    found = examined(gateway.file, gateway.data, "--no-upstreams", code=1, LOOPWAY_MASTER_KEY=other)
    store = of(found, "store")
    assert store["state"] == "bad"
    assert "LOOPWAY_MASTER_KEY" in store["mend"]
