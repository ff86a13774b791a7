"""A change of the master key: everything goes over to the new one, even if whoever does it is killed in the middle."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proxy import bodies
from proxy.errors import StoreError
from proxy.store import logs, migrate, open_store
from proxy.store.engine import Lane
from proxy.store.store import engine_of
from proxy.vault import Vault
from tests.fakes.gateway import ROOT, clean_environment
from tests.proxy.stored import ask

OLD, NEW, OTHER = (bytes([number]) * 32 for number in (1, 2, 3))
MANY = 6_000


def word(*keys: bytes) -> str:
    return ",".join(base64.b64encode(key).decode() for key in keys)


def command(place: str, data: Path, *keys: bytes, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    environment = clean_environment() | {"LOOPWAY_MASTER_KEY": word(*keys)}
    if place.startswith("postgresql"):
        environment["LOOPWAY_DATABASE_URL"] = place
    return subprocess.Popen(
        [*before, sys.executable, "-m", "proxy", "reseal", "--data", str(data)],
        env=environment, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def add(place: str, vault: Vault, ids: list[str]) -> None:
    def sealed(id: str, column: str) -> str:
        return vault.seal(f"{column} of {id} {'x' * 2000}", table=logs.BODIES, row=id, column=column)

    lane = Lane(engine_of(place), "add")
    lane.now(logs.add_bodies, [(id, 1, sealed(id, "request"), sealed(id, "response")) for id in ids])
    lane.close_now()


def under(place: str, vault: Vault) -> int:
    """How many bodies are sealed under a vault's first key."""
    ((count,),) = ask(place, "SELECT COUNT(*) AS n FROM bodies WHERE request LIKE :p", {"p": f"{vault.seals_with}%"})
    return int(count)


def opened(place: str, vault: Vault) -> int:
    """How many bodies a vault opens, both parts."""
    count = 0
    for id, request, response in ask(place, "SELECT request_id, request, response FROM bodies"):
        row = {"request": request, "response": response}
        try:
            for column in row:
                assert bodies.opened(vault, id, row, column).startswith(f"{column} of {id} ")
        except StoreError:
            continue
        count += 1
    return count


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    found = request.getfixturevalue("postgres_url") if request.param == "postgresql" else tmp_path / "loopway.db"
    migrate(found)
    open_store(found, Vault([OLD])).lane("keys").close_now()
    return os.fspath(found)


def test_a_change_of_keys_that_is_killed_in_the_middle_loses_nothing_and_is_ended_later(
    place: str, tmp_path: Path
) -> None:
    old, new, both = Vault([OLD]), Vault([NEW]), Vault([NEW, OLD])
    add(place, old, [f"r{number:05}" for number in range(MANY)])
    # It waits whenever anybody else has something to do, so that it is not done before somebody looks.
    running = command(place, tmp_path, NEW, OLD, before=("nice", "-n", "19"))
    deadline = time.monotonic() + 60
    while not under(place, new):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
    running.kill()
    running.communicate()
    done = under(place, new)
    assert 0 < done < MANY, "killed in the middle"
    assert opened(place, both) == MANY, "with both keys everything opens, whoever sealed it"
    running = command(place, tmp_path, NEW, OLD)
    said, complained = running.communicate(timeout=60)
    assert (running.returncode, complained) == (0, "")
    assert f"{MANY - done} bodies" in said
    assert "nothing needs an older master key any more" in said
    assert opened(place, new) == MANY
    assert opened(place, old) == 0
    running = command(place, tmp_path, NEW)
    assert "0 bodies" in running.communicate()[0]
    assert running.returncode == 0


def test_bodies_that_no_key_opens_are_counted_and_left(place: str, tmp_path: Path) -> None:
    add(place, Vault([OTHER]), ["lost"])
    add(place, Vault([OLD]), ["kept"])
    running = command(place, tmp_path, NEW, OLD)
    said, complained = running.communicate()
    assert running.returncode == 1
    assert "1 bodies of the log" in said
    assert "1 bodies open with none of the keys" in complained
    assert opened(place, Vault([OTHER])) == 1
    assert opened(place, Vault([NEW])) == 1
