"""The vault: what is sealed opens only with its key and in its place; a wrong key is said to be wrong."""

from __future__ import annotations

import base64
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from proxy.errors import StartupError, StoreError
from proxy.vault import FILE, VARIABLE, Vault

PLACE = {"table": "virtual_keys", "row": "openai-prod", "column": "credential"}


def key(byte: int) -> str:
    return base64.b64encode(bytes([byte]) * 32).decode()


def vault(*keys: str) -> Vault:
    return Vault.open("unused", {VARIABLE: ",".join(keys)})


def test_what_is_sealed_opens_again_and_shows_nothing() -> None:
    one = vault(key(1))
    sealed = one.seal("sk-canary-ü", **PLACE)
    assert one.unseal(sealed, **PLACE) == "sk-canary-ü"
    assert "canary" not in sealed
    assert sealed.startswith(f"lv1.{one.key_id}.")


def test_sealing_the_same_text_twice_gives_different_values() -> None:
    one = vault(key(1))
    assert one.seal("same", **PLACE) != one.seal("same", **PLACE)


@pytest.mark.parametrize("part", ["table", "row", "column"])
def test_a_value_moved_to_another_place_does_not_open(part: str) -> None:
    one = vault(key(1))
    sealed = one.seal("sk-canary", **PLACE)
    with pytest.raises(StoreError, match="damaged or belongs to another row") as caught:
        one.unseal(sealed, **{**PLACE, part: "other"})
    assert "canary" not in str(caught.value)


def test_every_flipped_bit_is_noticed() -> None:
    one = vault(key(1))
    head, _, body = one.seal("sk-canary", **PLACE).rpartition(".")
    raw = base64.b64decode(body)
    for index in range(len(raw)):
        changed = bytearray(raw)
        changed[index] ^= 1
        with pytest.raises(StoreError):
            one.unseal(f"{head}.{base64.b64encode(bytes(changed)).decode()}", **PLACE)


@pytest.mark.parametrize("text", ["", "plain", "lv2.00000000.AAAA", "lv1..", "lv1.00000000.AAAA"])
def test_values_that_are_no_envelope_of_ours_are_refused(text: str) -> None:
    with pytest.raises(StoreError):
        vault(key(1)).unseal(text, **PLACE)


def test_a_value_of_another_master_key_is_recognised_as_such() -> None:
    sealed = vault(key(1)).seal("sk-canary", **PLACE)
    with pytest.raises(StoreError, match=f"encrypted under master key '{vault(key(1)).key_id}'"):
        vault(key(2)).unseal(sealed, **PLACE)


def test_an_older_key_still_opens_and_the_first_one_seals() -> None:
    old, both = vault(key(1)), vault(key(2), key(1))
    sealed = old.seal("sk-canary", **PLACE)
    assert both.rotating
    assert both.unseal(sealed, **PLACE) == "sk-canary"
    assert not both.sealed_by_current(sealed)
    assert vault(key(2)).unseal(both.seal("sk-canary", **PLACE), **PLACE) == "sk-canary"


def test_without_a_key_one_is_made_for_its_owner_only_and_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    first = Vault.open(folder, {VARIABLE: ""})
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert Vault.open(folder, {}).unseal(first.seal("x", **PLACE), **PLACE) == "x"
    assert os.listdir(folder) == [FILE]


def _open_and_seal(folder: str) -> str:
    return Vault.open(folder, {}).key_id


def test_processes_that_start_together_get_the_same_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        for attempt in range(5):
            folder = str(tmp_path / str(attempt))
            assert len(set(pool.map(_open_and_seal, [folder] * 8, chunksize=1))) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [("!!!", "is not base64"), ("c2hvcnQ=", "must be base64 of 32 bytes, this is 5"), (" , ", "is empty")],
)
def test_a_key_that_is_no_key_stops_the_start_with_one_line(text: str, says: str) -> None:
    with pytest.raises(StartupError, match=says) as caught:
        Vault.open("unused", {VARIABLE: text})
    assert "\n" not in str(caught.value)
    assert "openssl rand -base64 32" in str(caught.value)
    assert text.strip() == "" or text not in str(caught.value)


def test_a_damaged_key_file_stops_the_start_and_names_the_file(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("short")
    with pytest.raises(StartupError, match=r"master\.key"):
        Vault.open(tmp_path, {})


def test_a_data_directory_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match=r"cannot read or make the master key"):
        Vault.open(tmp_path / "file" / "data", {})


def test_a_key_file_that_everybody_may_read_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Vault.open(tmp_path, {})
    (tmp_path / FILE).chmod(0o644)
    Vault.open(tmp_path, {})
    assert "chmod 600" in caplog.text


def test_url_safe_base64_is_understood_too() -> None:
    raw = b"\xfb\xff" * 16
    plain, safe = base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()
    assert plain != safe
    assert vault(plain).key_id == vault(safe).key_id
