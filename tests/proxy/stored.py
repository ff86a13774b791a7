"""Rows that have everything, for tests of stores; and a look into a store beside its own methods."""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.ports import ApiKeyRow, Budget, ConfigRow, Limits, Queue, Rates, Secret, VirtualKeyRow
from proxy.store.engine import Connection, Lane, Parameters
from proxy.store.store import engine_of
from proxy.usage_columns import COLUMNS, folded

CANARY = "sk-canary-4fd1c0de"

KEY = ApiKeyRow(
    id="key-1",
    name="team-a",
    digest="d" * 64,
    scopes=("inference", "logs"),
    virtual_keys=("openai-prod",),
    models=("gpt-5*",),
    config="pc-default",
    allow_config_override=False,
    metadata={"team": "ä"},
    limits=Limits(
        concurrency=8, queue=Queue(2, 0.5), requests=Rates(per_minute=60), budget=Budget(usd=5.5, window="30d")
    ),
    description="what",
    type="organisation",
    sub_type="user",
    expires_at=2_000_000_000,
    previous_digest="e" * 64,
    previous_expires_at=1_900_000_000,
    created_at=1,
    updated_at=2,
    extra={"alert_emails": ["a@example.com"]},
)
VIRTUAL_KEY = VirtualKeyRow(
    slug="openai-prod",
    name="OpenAI",
    provider="openai",
    key=Secret(f"{CANARY}-credential"),
    custom_host="http://10.0.0.1:8000/v1",
    models=("gpt-5*",),
    aliases={"fast": "gpt-5-mini"},
    default_model="gpt-5",
    completions_mode="legacy",
    custom_headers={"x-team": f"{CANARY}-header"},
    fields={"aws_secret_access_key": f"{CANARY}-field", "deployments": [{"alias": "a"}]},
    limits=Limits(concurrency=64),
    note="n",
    expires_at=2_000_000_000,
    created_at=1,
    updated_at=2,
    extra={"workspace_id": "w"},
)
CONFIG = ConfigRow(
    slug="pc-default",
    name="default",
    config={"provider": "openai", "api_key": f"{CANARY}-config", "weight": 123456789012345678901234567890},
    id="config-1",
    version_id="version-1",
    is_default=True,
    created_at=1,
    updated_at=2,
)


def replaced(row: Any, **values: Any) -> Any:
    return msgspec.structs.replace(row, **values)


def usage(request_id: str) -> tuple[object, ...]:
    known: dict[str, object] = {"request_id": request_id, "at": 1_700_000_000_000, "status": 200, "streamed": 1}
    return folded([known.get(column) for column in COLUMNS])


def ask(place: str, statement: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
    """What a statement gives on a connection of its own."""

    def job(connection: Connection) -> list[tuple[Any, ...]]:
        cursor = connection.execute(statement, parameters)
        words = statement.split(None, 1)[0].upper()
        return (
            [tuple(dict(row).values()) for row in cursor.fetchall()] if words in ("SELECT", "PRAGMA", "EXPLAIN") else []
        )

    lane = Lane(engine_of(place), "ask")
    try:
        return lane.now(job)
    finally:
        lane.close_now()
