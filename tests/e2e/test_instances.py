"""Two instances on one PostgreSQL database: what one is told the other knows within a second, and neither starts
without it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.samples import HELLO
from tests.fakes.gateway import Gateway, Upstream, standard
from tests.fakes.postgres import Postgres
from tests.proxy.stored import ask

CHAT = "/v1/chat/completions"
BODY = {"model": "@oai/gpt-4o-mini", "messages": HELLO}


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> str:
    return postgres.database()


@pytest.fixture(scope="module")
def pair(
    session_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory, database: str
) -> Iterator[list[Gateway]]:
    """Both started at the same time, on an empty database."""
    config = standard(session_upstream.url)
    made = [
        Gateway(
            tmp_path_factory.mktemp(f"instance-{n}"), config, workers=2, environment={"LOOPWAY_DATABASE_URL": database}
        )
        for n in range(2)
    ]
    try:
        with ThreadPoolExecutor() as threads:
            list(threads.map(Gateway.start, made))
        yield made
    finally:
        for gateway in made:
            gateway.stop()


def statuses(gateway: Gateway, key: str) -> set[int]:
    """What a key gets, of all workers (most likely)."""
    return {gateway.post(CHAT, BODY, key=key).status_code for _ in range(8)}


def soon(gateway: Gateway, key: str, status: int) -> None:
    """Waits until nobody answers anything else, and prints how long that took: a second at most, where there are cores
    enough."""
    began = time.monotonic()
    gateway.until(lambda: statuses(gateway, key) == {status}, f"{status}")
    print(f"{status} after {time.monotonic() - began:.2f} s")


def test_a_key_made_on_one_instance_works_on_the_other_and_stops_working_there(
    pair: list[Gateway], session_upstream: Upstream
) -> None:
    first, second = pair
    slug = {
        "name": "oai",
        "slug": "oai",
        "provider": "openai",
        "key": "sk-x",
        "custom_host": f"{session_upstream.url}/v1",
    }
    made = first.admin("POST", "/v1/virtual-keys", slug)
    assert made.status_code == 200, made.text
    key = first.admin("POST", "/v1/api-keys/workspace/service", {"name": "k", "scopes": ["inference"]}).json()
    soon(second, key["key"], 200)
    assert first.admin("DELETE", f"/v1/api-keys/{key['id']}").status_code == 200
    soon(second, key["key"], 401)


def test_both_write_one_ledger_and_either_reads_it(pair: list[Gateway], database: str) -> None:
    key = pair[0].admin(
        "POST", "/v1/api-keys/workspace/service", {"name": "both", "scopes": ["inference", "analytics"]}
    )
    token, id = key.json()["key"], key.json()["id"]
    for gateway in pair:
        soon(gateway, token, 200)
    for gateway in pair:
        gateway.until(
            lambda: (
                ask(database, "SELECT count(*) FROM usage WHERE api_key = :id AND status = 200", {"id": id})[0][0] >= 16
            ),
            "rows of both",
        )
        found = gateway.get("/v1/analytics/summary", key=token, params={"api_key_ids": id}).json()["data"]
        assert found["requests"] >= 16


def test_without_its_database_a_gateway_says_so_and_ends(tmp_path: Path) -> None:
    url = "postgresql://loopway:hunter2@127.0.0.1:1/nowhere"
    gateway = Gateway(tmp_path, None, environment={"LOOPWAY_DATABASE_URL": url})
    gateway.spawn()
    assert gateway.wait() == 1
    assert "cannot be reached" in gateway.log()
    assert "127.0.0.1:1" in gateway.log()
    assert "hunter2" not in gateway.log()
