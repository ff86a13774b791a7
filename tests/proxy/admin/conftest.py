from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.ports import ApiKeyRow, ConfigRow, Rows, Secret, VirtualKeyRow
from proxy.store import migrate, open_store
from proxy.vault import Vault
from tests.proxy.admin.gateway import Gateway

FILE = Rows(
    api_keys=(ApiKeyRow(id="file-key", name="from-file", digest="0" * 64, origin="file"),),
    virtual_keys=(
        VirtualKeyRow(slug="openai-file", name="file", provider="openai", key=Secret("sk-canary-file"), origin="file"),
    ),
    configs=(ConfigRow(slug="pc-file", name="file", config={"virtual_key": "openai-file"}, origin="file"),),
)


@pytest.fixture(scope="package")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store brought up to date, which takes longer than most of these tests: each gets a copy."""
    path = tmp_path_factory.mktemp("empty") / "loopway.db"
    migrate(path)
    return path


@pytest.fixture
async def gateway(tmp_path: Path, empty: Path) -> AsyncIterator[Gateway]:
    path = tmp_path / "loopway.db"
    shutil.copy(empty, path)
    store = open_store(path, Vault.open(tmp_path, {}))
    yield Gateway(store, FILE)
    await store.close()
