"""Where the store is: from an URL or a path to a database file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from proxy.errors import StartupError

VARIABLE = "LOOPWAY_DATABASE_URL"
FILE = "loopway.db"
_POSTGRES = frozenset(("postgresql", "postgres"))


def default_url(data_dir: str | os.PathLike[str], env: Mapping[str, str]) -> str:
    """The store an operator means: `LOOPWAY_DATABASE_URL`, else a file in the data directory."""
    return env.get(VARIABLE, "").strip() or str(Path(data_dir) / FILE)


def is_postgres(url_or_path: str | os.PathLike[str]) -> bool:
    """Whether this is the URL of a PostgreSQL database."""
    return os.fspath(url_or_path).partition("://")[0] in _POSTGRES and "://" in os.fspath(url_or_path)


def sqlite_path(url_or_path: str | os.PathLike[str]) -> Path:
    """The file of `sqlite:///relative`, `sqlite:////absolute` or a plain path. Raises `StartupError` for others."""
    text = os.fspath(url_or_path)
    if "://" not in text:
        return Path(text)
    parts = urlsplit(text)
    if parts.scheme != "sqlite":
        # The URL itself may hold a password.
        raise StartupError(
            f"{VARIABLE} (or store.url): cannot use a {parts.scheme} store; give postgresql://user@host/database, "
            "sqlite:///path/to/file, or leave it unset"
        )
    if parts.netloc or len(parts.path) < 2:
        raise StartupError(f"{VARIABLE} (or store.url): write sqlite:///relative/path or sqlite:////absolute/path")
    return Path(unquote(parts.path[1:]))


def label(url_or_path: str | os.PathLike[str]) -> str:
    """The store's name for people: the file, or host and database without user and password."""
    if not is_postgres(url_or_path):
        return str(sqlite_path(url_or_path))
    try:
        parts = urlsplit(os.fspath(url_or_path))
        host = parts.hostname or dict(parse_qsl(parts.query)).get("host", "localhost")
        return f"postgresql://{host}:{parts.port or 5432}{parts.path}"
    except ValueError:
        return "postgresql://…"
