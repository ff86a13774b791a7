"""SQLite's log of changes, kept short.

Whoever writes copies the log into the database's file when it has a thousand pages, and begins it anew when nobody
reads from it. Where one report always begins before the last one ends, that moment never comes, and the log grows by
all that is written.
"""

from __future__ import annotations

from proxy.store.engine import Connection

LIMIT = 128 * 1024 * 1024
"""Bytes of the log beyond which its end is enforced. A log that is long for a moment shortens itself."""


def shorten(connection: Connection, limit: int = LIMIT) -> bool:
    """Empties a log that is longer than `limit` (bytes); whether it was, and is not any more. Whoever writes meanwhile
    waits until those who read have ended, a few seconds at most: then it is left for another time."""
    if connection.kind != "sqlite":
        return False
    page = int(connection.execute("PRAGMA page_size").fetchone()[0])
    pages = int(connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1])
    if pages * page <= limit:
        return False
    return not int(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
