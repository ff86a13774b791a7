"""The file of budgets: found again by the next start, without those that nobody has any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.limits import purses as purses_module
from proxy.limits.purses import SIZE, Purses


def name(number: int) -> bytes:
    return number.to_bytes(16, "big")


def opened(path: Path, *, fresh: bool = True) -> Purses:
    purses = Purses.kept(path, fresh=fresh)
    assert purses is not None
    return purses


def spent(purses: Purses, number: int) -> tuple[int, int, int]:
    purse = purses.find(name(number))
    assert purse is not None
    return tuple(purses.cells[purse + cell] for cell in (Purses.WINDOW, Purses.SPENT, Purses.RESET))  # type: ignore[return-value]


def spend(purses: Purses, number: int, window: int, amount: int) -> None:
    purse = purses.find(name(number))
    assert purse is not None
    purses.cells[purse + Purses.WINDOW] = window
    purses.cells[purse + Purses.SPENT] = amount


def test_the_next_start_finds_what_the_last_instruction_left(tmp_path: Path) -> None:
    first = opened(tmp_path / "budgets")
    spend(first, 1, 7, 100)
    spend(first, 2, 0, 50)
    assert spent(opened(tmp_path / "budgets", fresh=False), 1) == (7, 100, 0)
    again = opened(tmp_path / "budgets")
    assert [spent(again, number) for number in (1, 2, 3)] == [(7, 100, 0), (0, 50, 0), (-1, 0, 0)]


def test_the_store_counts_where_it_has_more_and_only_once(tmp_path: Path) -> None:
    purses = opened(tmp_path / "budgets")
    spend(purses, 1, 7, 100)
    for stored, expected in (((7, 90, 0), (7, 100, 0)), ((7, 500, 0), (7, 100, 0))):
        purses.recall(purses.find(name(1)) or 0, *stored)
        assert spent(purses, 1) == expected
    again = opened(tmp_path / "budgets")  # after a power cut, say
    again.recall(again.find(name(1)) or 0, 7, 120, 0)
    assert spent(again, 1) == (7, 120, 0)
    later = opened(tmp_path / "budgets")
    later.recall(later.find(name(1)) or 0, 7, 5, 1_700_000_000)  # a reset that only the store knows
    assert spent(later, 1) == (7, 5, 1_700_000_000)


def test_budgets_that_nobody_has_any_more_make_room(tmp_path: Path) -> None:
    for start in range(102):
        purses = opened(tmp_path / "budgets")
        if start == 0:
            spend(purses, 1, 7, 100)
        spend(purses, 2, 7, start)
        assert purses.cells[0] == (2 if start < 101 else 1)
    assert spent(purses, 2) == (7, 101, 0)


def test_what_nobody_asks_for_goes_when_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purses_module, "RECORDS", 4)
    purses, others = opened(tmp_path / "budgets"), opened(tmp_path / "budgets", fresh=False)
    assert purses.find(name(1), asked=False) is not None, "the store knows it"
    for number in (2, 3, 4):
        spend(purses, number, 7, number)
        assert spent(others, number) == (7, number, 0)
    spend(purses, 5, 7, 50)
    assert purses.find(name(6)) is None
    purses.let_go(name(3))
    assert spent(others, 6) == (-1, 0, 0)
    assert [spent(purses, number) for number in (2, 4, 5, 6)] == [(7, 2, 0), (7, 4, 0), (7, 50, 0), (-1, 0, 0)]
    assert purses.find(name(3)) is None


def test_a_file_of_fewer_records_is_taken_over(tmp_path: Path) -> None:
    spend(opened(tmp_path / "budgets"), 1, 7, 100)
    path = tmp_path / "budgets"
    path.write_bytes(path.read_bytes()[: 64 * 1000])
    assert spent(opened(path), 1) == (7, 100, 0)


def test_a_file_that_is_none_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "budgets"
    path.write_bytes(b"cut off")
    assert spent(opened(path), 1) == (-1, 0, 0)
    assert path.stat().st_size == SIZE
    assert path.stat().st_mode & 0o077 == 0
    assert Purses.kept(tmp_path / "no" / "folder", fresh=True) is None
