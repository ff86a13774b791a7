"""Rows on disk: whole or not at all, each process's own, and nobody's for ever."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.journal import Journal

ROWS: list[tuple[object, ...]] = [("a", 1, None, 0.5, "ä\n"), ("b", 2**62, "", 1e-9, "x" * 5000)]


def kept(journal: Journal) -> list[tuple[object, ...]]:
    journal.close_segment()
    return [row for segment in journal.segments(foreign=False) for row in journal.read(segment)]


def test_rows_come_back_as_they_went_in(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", "one", 1 << 20)
    journal.add(ROWS)
    journal.add(ROWS[:1])
    assert kept(journal) == [*ROWS, ROWS[0]]
    assert [file.stat().st_mode & 0o777 for file in (tmp_path / "j").iterdir()] == [0o600]


def test_segments_are_read_in_their_order_and_go_when_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "one", 1 << 20)
    for n in range(12):
        journal.add([(n,)])
        journal.close_segment()
    assert kept(journal) == [(n,) for n in range(12)]
    for segment in journal.segments(foreign=False):
        journal.remove(segment)
    assert (kept(journal), journal.size, list(tmp_path.iterdir())) == ([], 0, [])


@given(cut=st.integers(0, 400), flipped=st.integers(0, 399))
def test_a_damaged_file_gives_the_rows_that_are_sound_and_counts_the_others(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flipped: int
) -> None:
    folder = tmp_path_factory.mktemp("j")
    journal = Journal(folder, "one", 1 << 20)
    rows = [(f"id-{n}", n, "text" * 5) for n in range(10)]
    journal.add(rows)
    (file,) = folder.iterdir()
    raw = bytearray(file.read_bytes()[:cut])
    if flipped < len(raw):
        raw[flipped] ^= 1
    file.write_bytes(raw)
    found = kept(journal)
    assert set(found) <= set(rows)
    assert len(found) + journal.lost <= 11
    assert len(found) >= raw.count(b"\n") - 2
    journal.close()


def test_a_batch_that_does_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "one", 200)
    journal.add([("a", "x" * 100)])
    with pytest.raises(OSError, match="journal_size"):
        journal.add([("b", "x" * 100)])
    assert kept(journal) == [("a", "x" * 100)]


def test_a_disk_that_is_full_leaves_whole_batches_only(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "one", 1 << 20)
    journal.add([("a", "x" * 100)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.size + 50, before[1]))
    try:
        with pytest.raises(OSError, match=r"full|large"):
            journal.add([("b", "x" * 100)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    journal.add([("c",)])
    assert kept(journal) == [("a", "x" * 100), ("c",)]
    assert journal.lost == 0


LEAVES = """
import os, signal, sys
from pathlib import Path
from proxy.journal import Journal
journal = Journal(Path(sys.argv[1]), "killed", 1 << 20)
journal.add([("a", 1)])
journal.close_segment()
journal.add([("b", 2)])
print("ready", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_left_belongs_to_whoever_comes_first(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LEAVES, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        first, second = Journal(tmp_path, "first", 1 << 20), Journal(tmp_path, "second", 1 << 20)
        assert first.segments(foreign=True) == []
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    taken = first.segments(foreign=True)
    assert [row for segment in taken for row in first.read(segment)] == [("a", 1), ("b", 2)]
    assert second.segments(foreign=True) == []
    for segment in taken:
        first.remove(segment)
    assert second.segments(foreign=True) == []
    assert list(tmp_path.iterdir()) == []


def test_a_journal_that_was_closed_leaves_no_empty_files(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "one", 1 << 20)
    journal.add([("a",)])
    journal.close()
    other = Journal(tmp_path, "two", 1 << 20)
    (segment,) = other.segments(foreign=True)
    assert other.read(segment) == [("a",)]
