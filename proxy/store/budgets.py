"""Jobs on what budgets have spent."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.ports import BudgetRow
from proxy.store.engine import Connection

_LOAD = "SELECT name, window_id, spent, reset_at FROM budgets"
_SAVE = (
    "INSERT INTO budgets (name, window_id, spent, reset_at) VALUES (:name, :window, :spent, :reset_at) "
    "ON CONFLICT (name) DO UPDATE SET window_id = excluded.window_id, spent = excluded.spent, "
    "reset_at = excluded.reset_at"
)


def load(connection: Connection) -> list[BudgetRow]:
    """All of them."""
    found = connection.execute(_LOAD).fetchall()
    return [BudgetRow(row["name"], row["window_id"], row["spent"], row["reset_at"]) for row in found]


def save(connection: Connection, rows: Sequence[BudgetRow]) -> None:
    """Writes what some have spent."""
    with connection.writing():
        for row in rows:
            values = {"name": row.name, "window": row.window, "spent": row.spent, "reset_at": row.reset_at}
            connection.execute(_SAVE, values)
