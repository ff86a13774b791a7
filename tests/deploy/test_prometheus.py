"""A real Prometheus with the shipped configuration, on a real gateway: alerts and dashboard get their answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.behaviour.rolling import HELLO, MODEL, until
from tests.fakes.gateway import Gateway, Upstream, standard
from tests.fakes.redis_server import RedisServer, free_port

SENT = 12
DEPLOY = Path(__file__).parents[2] / "deploy"


class Prometheus:
    """The server, scraping one gateway five times a second."""

    def __init__(self, directory: Path, gateway: Gateway) -> None:
        program = shutil.which("prometheus")
        assert program, "prometheus is missing; tests/services.sh installs it"
        config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "200ms", "evaluation_interval": "200ms", "scrape_timeout": "200ms"}
        jobs = {job["job_name"]: job for job in config["scrape_configs"]}
        jobs["loopway"]["static_configs"] = [{"targets": [f"127.0.0.1:{gateway.port}"]}]
        config["scrape_configs"] = [jobs["loopway"]]
        directory.mkdir()
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        shutil.copy(DEPLOY / "prometheus" / "alerts.yml", directory)
        self.url = f"http://127.0.0.1:{free_port()}"
        self.output = directory / "output.txt"
        options = {
            "config.file": directory / "prometheus.yml",
            "storage.tsdb.path": directory / "data",
            "web.listen-address": self.url.removeprefix("http://"),
        }
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [program, *(f"--{name}={value}" for name, value in options.items())],
                stdout=output, stderr=subprocess.STDOUT, env={"PATH": os.environ["PATH"], "GOMAXPROCS": "1"},
            )  # fmt: skip

    def get(self, path: str, **parameters: str) -> Any:
        """What its API says under `data`; None while it does not answer. Raises AssertionError for an error."""
        try:
            answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, trust_env=False, timeout=10)
        except httpx.TransportError:
            return None
        if answer.status_code == 503:
            return None  # it is still starting
        told = answer.json()
        assert told["status"] == "success", f"{parameters}: {told}"
        return told["data"]

    def ask(self, expression: str) -> list[Any]:
        """The series that an expression gives now."""
        found: list[Any] = (self.get("query", query=expression) or {"result": []})["result"]
        return found

    def value(self, expression: str) -> float | None:
        """The one number that an expression gives now, or None."""
        found = self.ask(expression)
        return float(found[0]["value"][1]) if found else None

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()


@pytest.fixture
def gateway(launch: Callable[..., Gateway], upstream: Upstream, tmp_path: Path) -> Iterator[Gateway]:
    """One that has seen everything which the dashboard shows."""
    with RedisServer(tmp_path) as redis:
        yield busy(launch, standard(upstream.url) | {"redis": {"url": redis.url}})


def busy(launch: Callable[..., Gateway], config: dict[str, Any]) -> Gateway:
    """A gateway that has answered requests of every sort."""
    config["configs"].append(
        {"slug": "pc-cached", "config": {"provider": "@open-ai-key-6317bc", "cache": {"mode": "simple"}}}
    )
    gateway = launch(config, workers=2)
    chat: dict[str, Any] = {"model": MODEL, "messages": HELLO}

    def post(more: dict[str, Any], **headers: str) -> None:
        headers = {"x-portkey-api-key": gateway.api_key} | {f"x-portkey-{name}": is_ for name, is_ in headers.items()}
        gateway.post("/v1/chat/completions", chat | more, headers=headers)

    for _ in range(SENT // 6):
        post({})
        post({"stream": True})
        post({"model": "gpt-4o"}, config="pc-rescue")
        post({"model": "gpt-4o"}, config="pc-cached")
        post({"model": "@openai-overloaded/gpt-4o"})
        post({"model": "@openai-limited/gpt-4o"})
    return gateway


@pytest.fixture
def prometheus(tmp_path: Path, gateway: Gateway) -> Iterator[Prometheus]:
    server = Prometheus(tmp_path / "prometheus", gateway)
    try:
        yield server
    finally:
        server.close()


async def test_every_panel_and_every_alert_gets_an_answer(prometheus: Prometheus, gateway: Gateway) -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "loopway.json").read_text())
    asked = {
        target["expr"].replace("$instance", ".*").replace("$__rate_interval", "5m")
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    }
    await until(lambda: prometheus.value("sum(loopway_requests_total)") == SENT, "all requests are counted")
    # A rate needs two samples.
    await until(lambda: prometheus.ask("sum(rate(loopway_requests_total[5m]))"), "it has scraped twice")
    assert prometheus.value('up{job="loopway"}') == 1
    assert {each for each in asked if not prometheus.ask(each)} == set()
    instances = prometheus.get("label/instance/values", **{"match[]": "loopway_workers"})
    assert instances == [f"127.0.0.1:{gateway.port}"]

    def rules() -> list[Any]:
        groups = (prometheus.get("rules") or {"groups": []})["groups"]
        return [rule for group in groups for rule in group["rules"]]

    await until(lambda: rules() and all(rule["health"] != "unknown" for rule in rules()), "every rule was evaluated")
    assert {rule["name"]: rule.get("lastError") for rule in rules() if rule["health"] != "ok"} == {}

    def firing() -> dict[str, str]:
        return {alert["labels"]["alertname"]: alert["state"] for alert in prometheus.get("alerts")["alerts"]}

    assert "LoopwayDown" not in firing()
    gateway.stop()
    await until(lambda: firing().get("LoopwayDown") == "pending", "its minute is counted")
