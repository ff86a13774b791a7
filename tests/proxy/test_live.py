"""The configuration in force: what is committed shows within a second, and what is broken changes nothing."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path

import pytest

from proxy import live
from proxy.config import snapshot
from proxy.config.file import FileConfig
from proxy.config.settings import StoreSettings
from proxy.errors import ConfigError, StoreError
from proxy.live import Live
from proxy.ports import ApiKeyRow, ConfigRow, Rows, Secret, VirtualKeyRow


def virtual_key(slug: str, provider: str = "openai", **fields: object) -> VirtualKeyRow:
    return VirtualKeyRow(slug=slug, name=slug, provider=provider, key=Secret("sk"), **fields)  # type: ignore[arg-type]


class Store:
    """Rows that a test can change, and a switch that makes it fail."""

    def __init__(self, rows: Rows) -> None:
        self.now = rows
        self.failing = False
        self.asked = 0

    async def seq(self) -> int:
        self.asked += 1
        if self.failing:
            raise StoreError("the database is locked")
        return self.now.seq

    async def rows(self) -> Rows:
        if self.failing:
            raise StoreError("the database is locked")
        return self.now


class Scene:
    """A live configuration on a file that need only exist, and on a store as above."""

    def __init__(self, directory: Path, file: FileConfig, rows: Rows) -> None:
        self.path = directory / "loopway.yaml"
        self.path.write_text("1")
        self.store = Store(rows)
        self.loaded: FileConfig | ConfigError = file
        self.live = Live(file, str(self.path), self._load, self.store, (), frozenset())  # type: ignore[arg-type]

    def _load(self) -> FileConfig:
        if isinstance(self.loaded, ConfigError):
            raise self.loaded
        return self.loaded

    def edit(self, loaded: FileConfig | ConfigError) -> None:
        """Changes the file on disk; reading it gives `loaded`."""
        self.loaded = loaded
        self.path.write_text(self.path.read_text() + "1")

    async def until(self, condition: object) -> None:
        async with asyncio.timeout(30):
            while not condition():  # type: ignore[operator]
                await asyncio.sleep(0.01)


FILE = FileConfig(virtual_keys=(virtual_key("openai-file"),), digest="1")


@pytest.fixture
async def scene(tmp_path: Path) -> object:
    made = Scene(tmp_path, FILE, Rows(seq=1, virtual_keys=(virtual_key("openai-store"),)))
    await made.live.start()
    yield made
    await made.live.stop()


async def test_file_and_store_are_one_and_the_file_wins(scene: Scene) -> None:
    assert set(scene.live.snapshot.targets) == {"openai-file", "openai-store"}
    scene.store.now = Rows(seq=2, virtual_keys=(virtual_key("openai-file", "anthropic"), virtual_key("openai-more")))
    await scene.live.apply()
    assert set(scene.live.snapshot.targets) == {"openai-file", "openai-more"}
    assert scene.live.snapshot.targets["openai-file"].provider.name == "openai"


async def test_a_change_of_the_store_shows_by_itself(scene: Scene) -> None:
    scene.store.now = Rows(seq=2, virtual_keys=(virtual_key("openai-new"),))
    await scene.until(lambda: "openai-new" in scene.live.snapshot.targets)
    assert "openai-store" not in scene.live.snapshot.targets


async def test_without_a_change_nothing_is_compiled_again(scene: Scene) -> None:
    before, asked = scene.live.snapshot, scene.store.asked
    await scene.until(lambda: scene.store.asked >= asked + 2)
    assert scene.live.snapshot is before


async def test_a_change_of_the_file_shows_by_itself(scene: Scene) -> None:
    scene.edit(FileConfig(virtual_keys=(virtual_key("openai-edited"),), digest="2"))
    await scene.until(lambda: "openai-edited" in scene.live.snapshot.targets)
    assert set(scene.live.snapshot.targets) == {"openai-edited", "openai-store"}


async def test_a_file_that_was_only_touched_changes_nothing(scene: Scene) -> None:
    before, asked = scene.live.snapshot, scene.store.asked
    scene.edit(FILE)
    await scene.until(lambda: scene.store.asked >= asked + 2)
    assert scene.live.snapshot is before


async def test_a_bad_file_keeps_the_old_configuration_and_says_why(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    before, asked = scene.live.snapshot, scene.store.asked
    with caplog.at_level(logging.ERROR, "loopway"):
        scene.edit(ConfigError(["loopway.yaml:3:5: unknown key 'virtualkeys'"]))
        await scene.until(lambda: scene.store.asked >= asked + 2)
    assert scene.live.snapshot is before
    assert caplog.text.count("loopway.yaml:3:5: unknown key 'virtualkeys'") == 1
    scene.edit(FileConfig(virtual_keys=(virtual_key("openai-mended"),), digest="3"))
    await scene.until(lambda: "openai-mended" in scene.live.snapshot.targets)


async def test_a_file_that_is_gone_keeps_the_old_configuration(scene: Scene) -> None:
    before, asked = scene.live.snapshot, scene.store.asked
    scene.loaded = ConfigError(["loopway.yaml: no such file"])
    scene.path.unlink()
    await scene.until(lambda: scene.store.asked >= asked + 2)
    assert scene.live.snapshot is before


async def test_a_store_that_fails_keeps_what_is_known_and_is_told_of_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    before = scene.live.snapshot
    with caplog.at_level(logging.WARNING, "loopway"):
        scene.store.failing = True
        asked = scene.store.asked
        await scene.until(lambda: scene.store.asked >= asked + 3)
        assert scene.live.snapshot is before
        assert caplog.text.count("the store does not answer") == 1
        # The file is still watched meanwhile.
        scene.edit(FileConfig(virtual_keys=(virtual_key("openai-edited"),), digest="2"))
        await scene.until(lambda: "openai-edited" in scene.live.snapshot.targets)
        assert "openai-store" in scene.live.snapshot.targets
        scene.store.now = Rows(seq=9, virtual_keys=(virtual_key("openai-later"),))
        scene.store.failing = False
        await scene.until(lambda: "openai-later" in scene.live.snapshot.targets)
        await scene.until(lambda: "the store answers again" in caplog.text)


async def test_rows_that_cannot_be_used_are_left_out_and_named(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    bad = virtual_key("bad-host", custom_host="ftp://nowhere")
    unknown = virtual_key("bad-provider", "no-such-provider")
    with caplog.at_level(logging.WARNING, "loopway"):
        scene.store.now = Rows(seq=2, virtual_keys=(bad, unknown, virtual_key("openai-good")))
        await scene.until(lambda: "openai-good" in scene.live.snapshot.targets)
    assert set(scene.live.snapshot.targets) == {"openai-file", "openai-good"}
    assert "bad-host" in caplog.text
    assert "bad-provider" in caplog.text


async def test_an_unexpected_fault_does_not_end_the_watch(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    broken = ApiKeyRow(id="a", name="a", digest="not hexadecimal")
    scene.store.now = Rows(seq=2, api_keys=(broken,))
    asked = scene.store.asked
    await scene.until(lambda: scene.store.asked >= asked + 2)
    scene.store.now = Rows(seq=3, virtual_keys=(virtual_key("openai-later"),))
    await scene.until(lambda: "openai-later" in scene.live.snapshot.targets)


async def test_requests_in_flight_keep_the_snapshot_they_began_with(scene: Scene) -> None:
    held = scene.live.snapshot
    scene.store.now = Rows(
        seq=2, configs=(ConfigRow(slug="pc-new", name="new", config={"virtual_key": "openai-file"}),)
    )
    await scene.live.apply()
    assert scene.live.snapshot is not held
    assert "pc-new" not in held.configs
    assert "pc-new" in scene.live.snapshot.configs


async def test_a_worker_that_starts_after_an_edit_reads_the_file_as_it_is(tmp_path: Path) -> None:
    edited = FileConfig(virtual_keys=(virtual_key("openai-edited"),), digest="2")
    late = Scene(tmp_path, FILE, Rows(seq=1))
    late.loaded = edited
    await late.live.start()
    try:
        assert set(late.live.snapshot.targets) == {"openai-edited"}
    finally:
        await late.live.stop()


async def test_a_worker_that_starts_while_the_file_is_bad_uses_what_the_supervisor_has(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    late = Scene(tmp_path, FILE, Rows(seq=1))
    late.loaded = ConfigError(["loopway.yaml:1:1: no"])
    await late.live.start()
    try:
        assert set(late.live.snapshot.targets) == {"openai-file"}
        assert "loopway.yaml:1:1: no" in caplog.text
    finally:
        await late.live.stop()


KEY = ApiKeyRow(id="k", name="k", digest="d" * 64)


async def test_while_the_store_is_away_what_is_known_keeps_working_and_nothing_else_is_certain(tmp_path: Path) -> None:
    scene = Scene(tmp_path, FILE, Rows(seq=1, api_keys=(KEY,)))
    await scene.live.start()
    try:
        scene.store.failing = True
        await scene.until(lambda: scene.live.snapshot.unsure)
        assert bytes.fromhex(KEY.digest) in scene.live.snapshot.keys
        scene.edit(FileConfig(virtual_keys=(virtual_key("openai-edited"),), digest="2"))
        await scene.until(lambda: "openai-edited" in scene.live.snapshot.targets)
        assert scene.live.snapshot.unsure
        scene.store.failing = False
        await scene.until(lambda: not scene.live.snapshot.unsure)
    finally:
        await scene.live.stop()


async def test_after_a_long_outage_only_the_file_is_left_and_the_store_comes_back_by_itself(tmp_path: Path) -> None:
    file = FileConfig(virtual_keys=(virtual_key("openai-file"),), digest="1", store=StoreSettings(outage=0.4))
    scene = Scene(tmp_path, file, Rows(seq=1, api_keys=(KEY,)))
    await scene.live.start()
    try:
        scene.store.failing = True
        await scene.until(lambda: not scene.live.snapshot.keys)
        assert scene.live.snapshot.unsure
        assert set(scene.live.snapshot.targets) == {"openai-file"}
        scene.store.failing = False
        await scene.until(lambda: scene.live.snapshot.keys)
        assert not scene.live.snapshot.unsure
    finally:
        await scene.live.stop()


async def test_a_store_that_hangs_counts_as_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_PATIENCE", 0.05)
    scene = Scene(tmp_path, FILE, Rows(seq=1, api_keys=(KEY,)))
    await scene.live.start()
    answer: asyncio.Event = asyncio.Event()
    plain = scene.store.seq

    async def hanging() -> int:
        await answer.wait()
        return await plain()

    scene.store.seq = hanging  # type: ignore[method-assign]
    try:
        await scene.until(lambda: scene.live.snapshot.unsure)
        answer.set()
        await scene.until(lambda: not scene.live.snapshot.unsure)
    finally:
        await scene.live.stop()


async def test_thousands_of_keys_are_compiled_in_turns_and_put_in_force_together(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "_TURN", 0.0)  # the longest that others wait, on however quick a machine
    many = tuple(virtual_key(f"v-{number}") for number in range(1000))
    scene.store.now = Rows(seq=2, virtual_keys=many)
    before = len(scene.live.snapshot.targets)
    applying = asyncio.create_task(scene.live.apply())
    seen = []
    while not applying.done():
        await asyncio.sleep(0)
        seen.append(len(scene.live.snapshot.targets))
    await applying
    assert set(seen) == {before, 1001}
    assert seen.count(before) >= 50, "others had the loop while it was compiled"
    assert scene.live.snapshot.rows.virtual_keys == (*FILE.virtual_keys, *many)


async def test_a_file_that_takes_long_to_read_holds_up_nothing(scene: Scene) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def slowly() -> FileConfig:
        reading.set()
        go_on.wait(30)
        return FileConfig(virtual_keys=(virtual_key("openai-new"),), digest="2")

    scene.live._load = slowly
    scene.edit(FILE)
    await scene.until(reading.is_set)
    scene.store.now = Rows(seq=2, virtual_keys=(virtual_key("openai-stored"),))
    await scene.live.apply()
    assert set(scene.live.snapshot.targets) == {"openai-file", "openai-stored"}
    go_on.set()
    await scene.until(lambda: set(scene.live.snapshot.targets) == {"openai-new", "openai-stored"})
