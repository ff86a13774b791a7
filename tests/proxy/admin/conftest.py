from __future__ import annotations

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


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    path = tmp_path / "loopway.db"
    migrate(path)
    store = open_store(path, Vault.open(tmp_path, {}))
    yield Gateway(store, FILE)
    await store.close()
