"""Recorded answers of real providers, read by the SDKs of all other dialects: see `replay`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.matrix.explained import ALIKE, EXPLAINED, READ, RECORDED
from tests.matrix.replay import Miss, Recording, Report, compare, recordings

KEPT = list(recordings())


@pytest.mark.skipif(not KEPT, reason="there are no recordings beside this checkout")
@pytest.mark.timeout(300)
# The SDKs leave connections to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_recorded_chat_answer_is_read_alike_in_every_dialect(tmp_path: Path) -> None:
    report = compare(KEPT, tmp_path)
    assert report.unexplained == []
    assert report.unneeded == []
    assert (report.alike, len(report.read), len(KEPT)) == (ALIKE, READ, RECORDED)


def test_a_miss_needs_a_reason_and_a_reason_a_miss() -> None:
    (name, field), reason = next((where, why) for where, why in EXPLAINED.items() if why.spares)
    recording = Recording(name, "OpenAI chat", "m-openai", False, "application/json", b"{}")
    others = ("Anthropic Messages", "Gemini", *reason.spares)
    read = [(recording, client) for client in others]
    misses = [Miss(name, client, field, "", "stop") for client in others]
    reasons = [(*other, "nobody") for other in EXPLAINED if other[0] != name]

    as_it_is = Report(read, misses[:2])
    assert as_it_is.alike == len(reason.spares)
    assert as_it_is.unexplained == []
    assert sorted(as_it_is.unneeded) == sorted(reasons)
    assert Report(read, misses).unexplained == misses[2:]
    assert (name, field, "Gemini") in Report(read, misses[:1]).unneeded
