"""Recorded answers of real providers, read by the SDKs of all other dialects: see `replay`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.matrix.replay import compare, explained, recordings

KEPT = list(recordings())


@pytest.mark.skipif(not KEPT, reason="there are no recordings beside this checkout")
@pytest.mark.timeout(300)
# The SDKs leave connections to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_recorded_chat_answer_is_read_alike_in_every_dialect(tmp_path: Path) -> None:
    read, misses = compare(KEPT, tmp_path)
    assert sum(read.values()) > 2000
    assert [miss for miss in misses if not explained(miss)] == []
