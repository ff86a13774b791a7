"""Short forms of what `python -m tests.chaos.ledger` does for longer: the ledger against its upstream's truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.ledger import full_disk, kills, outage


async def test_a_killed_worker_loses_the_last_second_at_most_and_doubles_nothing(tmp_path: Path) -> None:
    figures = await kills(tmp_path, requests=400, times=4, rate=100)
    # A second, where the machine has the time to flush when it is due.
    assert figures["the oldest of them, seconds before a kill"] < 3, figures
    assert figures["duplicates"] == 0
    assert figures["seen upstream"] > 350


async def test_in_strict_mode_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    figures = await kills(tmp_path, requests=400, times=4, rate=100, strict=True)
    assert (figures["missing"], figures["duplicates"], figures["journals left"]) == (0, 0, 0), figures


async def test_a_graceful_stop_loses_nothing(tmp_path: Path) -> None:
    figures = await kills(tmp_path, requests=200, times=0, rate=150)
    assert (figures["missing"], figures["duplicates"], figures["answered"]) == (0, 0, 200), figures
    assert figures["pending"] == 0


@pytest.mark.parametrize("freeze", [False, True])
async def test_an_outage_of_the_database_fails_no_request_and_loses_no_row(tmp_path: Path, freeze: bool) -> None:
    figures = await outage(tmp_path, seconds=3, rate=50, freeze=freeze)
    assert figures["not answered with 200"] == 0, figures
    assert (figures["an unknown key got"], figures["administration got"]) == (503, 503), figures
    assert (figures["missing"], figures["duplicates"], figures["dropped"]) == (0, 0, 0), figures


async def test_a_full_disk_fails_no_request_and_its_rows_are_written_later(tmp_path: Path) -> None:
    figures = await full_disk(tmp_path, requests=200, rate=50)
    assert figures["not answered with 200"] == 0, figures
    assert figures["waiting while the disk was full"] > 0
    assert (figures["missing"], figures["duplicates"], figures["database"]) == (0, 0, "ok"), figures
