"""The runbook's procedures, walked with real servers; commands are taken from the page as they stand there."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.behaviour.rolling import HELLO
from tests.deploy.test_files import DEPLOY
from tests.fakes.gateway import Gateway, Upstream, clean_environment, standard
from tests.fakes.postgres import Postgres, _binary
from tests.fakes.redis_server import RedisServer

RUNBOOK = (DEPLOY / "RUNBOOK.md").read_text()
OLD, NEW = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


def command(beginning: str) -> str:
    """The one command of the page that begins like this."""
    (found,) = {each for each in re.findall(r"`([^`]+)`", RUNBOOK) if each.startswith(beginning)}
    return str(found)


def shell(line: str, where: Path, **more: str) -> str:
    """Runs a line as a person would. Raises AssertionError if it fails."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], str(Path(_binary("pg_dump")).parent)])
    environment = clean_environment() | {"PATH": path} | more
    ran = subprocess.run(["sh", "-c", line], cwd=where, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, f"{line}: {ran.stderr}"
    return ran.stdout


def plain(upstream: Upstream, **more: Any) -> dict[str, Any]:
    return {"api_keys": standard(upstream.url)["api_keys"][2:3], "server": {"drain_idle": "200ms"}, **more}


def store(gateway: Gateway, upstream: Upstream, slug: str) -> None:
    """Stores a credential."""
    host = f"{upstream.url}/v1"
    row = {"name": slug, "slug": slug, "provider": "openai", "key": "sk-x", "custom_host": host}
    made = gateway.admin("POST", "/v1/virtual-keys", row)
    assert made.status_code == 200, made.text


def with_key(gateway: Gateway, upstream: Upstream) -> str:
    """Stores a credential, and makes a key of a client; gives that."""
    store(gateway, upstream, "stored")
    return client(gateway, "before")


def client(gateway: Gateway, name: str) -> str:
    made = gateway.admin("POST", "/v1/api-keys/workspace/service", {"name": name, "scopes": ["completions.write"]})
    assert made.status_code == 200, made.text
    return str(made.json()["key"])


def status(gateway: Gateway, key: str, slug: str = "stored") -> int:
    body = {"model": f"@{slug}/gpt-4o", "messages": HELLO}
    return gateway.post("/v1/chat/completions", body, key=key).status_code


def test_sqlite_comes_back_from_a_copy_that_was_made_while_it_ran(tmp_path: Path, upstream: Upstream) -> None:
    gateway = Gateway(tmp_path / "gateway", plain(upstream), environment={"LOOPWAY_MASTER_KEY": OLD})
    with gateway:
        before = with_key(gateway, upstream)
        if shutil.which("sqlite3") is not None:
            shell(f"{command('sqlite3 ')} && test -s copy.db && rm copy.db", gateway.data)
        shell(command("python -c"), gateway.data)
        after = client(gateway, "after")
        assert (status(gateway, before), status(gateway, after)) == (200, 200)
        gateway.kill()  # not stopped well: the old file's log is left, which the page says to remove
        assert (gateway.data / "loopway.db-wal").stat().st_size
        shell("rm loopway.db-wal loopway.db-shm && mv copy.db loopway.db", gateway.data)
        shell(command("chown"), gateway.data)
        gateway.start()
        assert (status(gateway, before), status(gateway, after)) == (200, 401)


def test_postgresql_goes_comes_back_and_is_restored(
    tmp_path: Path, upstream: Upstream, postgres: Postgres, postgres_url: str
) -> None:
    with RedisServer(tmp_path) as redis:
        config = plain(upstream, redis={"url": redis.url})
        environment = {"LOOPWAY_MASTER_KEY": OLD, "LOOPWAY_DATABASE_URL": postgres_url}
        gateways = [Gateway(tmp_path / name, config, environment=environment) for name in ("a", "b")]
        first, second = gateways
        with first, second:
            before = with_key(first, upstream)
            second.until(lambda: status(second, before) == 200, "the other knows it")
            shell(command("pg_dump"), tmp_path, LOOPWAY_DATABASE_URL=postgres_url)

            redis.kill()
            assert {status(each, before) for each in gateways} == {200}
            postgres.stop()
            try:
                assert {status(each, before) for each in gateways} == {200}
                refused = first.admin("POST", "/v1/api-keys/workspace/service", {"name": "n", "scopes": []})
                assert refused.status_code == 503, refused.text
            finally:
                postgres.start()
            redis.start()
            first.until(lambda: first.admin("GET", "/v1/virtual-keys").status_code == 200, "the store is back")
            after = client(first, "after")
            second.until(lambda: status(second, after) == 200, "nobody was started again")

        shell(command("pg_restore"), tmp_path, LOOPWAY_DATABASE_URL=postgres_url)
        with first, second:
            assert {(status(each, before), status(each, after)) for each in gateways} == {(200, 401)}


def test_the_master_key_is_changed_without_an_answer_missed(
    tmp_path: Path, upstream: Upstream, postgres_url: str
) -> None:
    """Each pair of keys that two instances can hold on the way: what one seals, the other opens."""
    environment = {"LOOPWAY_MASTER_KEY": OLD, "LOOPWAY_DATABASE_URL": postgres_url}
    first, second = (Gateway(tmp_path / name, plain(upstream), environment=dict(environment)) for name in ("a", "b"))

    def give(gateway: Gateway, keys: str) -> None:
        gateway.stop()
        gateway._environment["LOOPWAY_MASTER_KEY"] = keys
        gateway.start()

    def agree(key: str) -> None:
        for gateway, other in ((first, second), (second, first)):
            slug = f"sealed-{os.urandom(4).hex()}"
            store(gateway, upstream, slug)
            other.until(lambda other=other, slug=slug: status(other, key, slug) == 200, f"it opens {slug}")

    second._environment["LOOPWAY_MASTER_KEY"] = f"{OLD},{NEW}"
    with first, second:
        key = with_key(first, upstream)
        agree(key)
        give(first, f"{NEW},{OLD}")
        agree(key)
        line = command("LOOPWAY_MASTER_KEY=NEW,OLD").replace("NEW,OLD", f"{NEW},{OLD}").replace("DIR", "data")
        line = line.replace("loopway reseal", f"{sys.executable} -m proxy reseal")
        assert command("nothing needs an older") in shell(line, tmp_path, LOOPWAY_DATABASE_URL=postgres_url)
        give(second, NEW)
        agree(key)
