"""What the environment says over the configuration file, read for all commands at one place.

Every message names the variable, and none repeats a value that may hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from proxy.config.file import FileConfig, store_url
from proxy.config.hosts import TRUSTED
from proxy.config.near import hint
from proxy.config.schema import LEVELS
from proxy.errors import StartupError
from proxy.ports import Secret
from proxy.store import default_url
from proxy.store.location import VARIABLE

_TRUSTED = re.compile(TRUSTED)


def over(file: FileConfig, environ: Mapping[str, str]) -> FileConfig:
    """The file with what the environment says laid over it. Raises StartupError for a value that cannot be used."""
    server, logs, redis, store = file.server, file.logs, file.redis, file.store
    trusted = environ.get("TRUSTED_CUSTOM_HOSTS")
    if trusted is not None:
        server = msgspec.structs.replace(server, trusted_custom_hosts=_hosts(trusted))
    level = environ.get("LOOPWAY_LOG_LEVEL", "").strip().lower()
    if level:
        if level not in LEVELS:
            raise StartupError(
                f"the environment variable LOOPWAY_LOG_LEVEL: unknown level '{level[:40]}'{hint(level, LEVELS)}"
            )
        logs = msgspec.structs.replace(logs, level=level)
    url = environ.get("LOOPWAY_REDIS_URL", "").strip()
    if url:
        from proxy.redis_link import check_url  # eight megabytes, for those who have one

        check_url(url, "the environment variable LOOPWAY_REDIS_URL")
        redis = msgspec.structs.replace(redis, url=Secret(url))
    if environ.get(VARIABLE, "").strip():
        store = msgspec.structs.replace(store, url=Secret(environ[VARIABLE].strip()))
    return msgspec.structs.replace(file, server=server, logs=logs, redis=redis, store=store)


def store_of(file: FileConfig, data: str | Path) -> str:
    """Where the store is, for one who has the whole configuration (with the environment over it)."""
    return file.store.url.reveal() if file.store.url is not None else default_url(data, {})


def where(data: str | Path, environ: Mapping[str, str]) -> str:
    """Where the store is, for commands that need nothing else: `LOOPWAY_DATABASE_URL`, else what the file that
    `LOOPWAY_CONFIG` names says, else SQLite in the data directory. Raises ConfigError."""
    config = environ.get("LOOPWAY_CONFIG")
    named = None if not config or environ.get(VARIABLE, "").strip() else store_url(Path(config), environ)
    return named or default_url(data, environ)


def _hosts(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if not _TRUSTED.fullmatch(name):
            raise StartupError(
                f"the environment variable TRUSTED_CUSTOM_HOSTS: '{name[:80]}' is no host; write names or addresses, "
                "without scheme and path, such as 127.0.0.1,models.internal:8000"
            )
    return names
