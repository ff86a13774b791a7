"""The log level of an instance over HTTP: what holds now, and another one for a while or for good.

It is the level of the program's own log on standard error, of all workers of the instance that answers; which requests
leave access lines has nothing to do with it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from time import time
from typing import Any

import msgspec

from proxy.admin.body import Nothing, bad, parse, read
from proxy.admin.scene import audit, routes
from proxy.loglevel import LEVELS, Chosen
from proxy.routes import AdminContext, AdminRequest, Answer

_LONGEST = 7 * 86_400


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a change. `seconds` is how long it holds; None: until the gateway ends or somebody chooses again."""

    level: str
    seconds: int | None = None


def _shown(context: AdminContext) -> dict[str, Any]:
    chosen: Chosen | None
    configured, chosen = context.log_level()
    until = None if chosen is None or chosen.until is None else chosen.until
    return {
        "object": "log_level",
        "level": configured if chosen is None else chosen.level,
        "configured": configured,
        "chosen": chosen is not None,
        "until": None if until is None else datetime.fromtimestamp(until, UTC).isoformat(timespec="seconds"),
    }


async def _show(context: AdminContext, request: AdminRequest) -> Answer:
    return Answer(_shown(context))


async def _choose(context: AdminContext, request: AdminRequest) -> Answer:
    wanted = parse(read(request.body), Wanted)
    if wanted.level not in LEVELS:
        raise bad("level", f"must be one of {', '.join(LEVELS)}")
    if wanted.seconds is not None and not 1 <= wanted.seconds <= _LONGEST:
        raise bad("seconds", f"must be a whole number from 1 to {_LONGEST}")
    until = None if wanted.seconds is None else time() + wanted.seconds
    _note(request, wanted.level)
    context.set_log_level(Chosen(wanted.level, until))
    return Answer(_shown(context))


async def _revert(context: AdminContext, request: AdminRequest) -> Answer:
    parse(read(request.body), Nothing)
    _note(request, "as configured")
    context.set_log_level(None)
    return Answer(_shown(context))


def _note(request: AdminRequest, level: str) -> None:
    # Before the change: a level that hides it would hide who made it.
    audit.info(
        "log level set: %s, by key %s",
        level,
        request.key_id,
        extra={"action": "set", "entity": "log_level", "actor": request.key_id, "request_id": request.id},
    )


ROUTES = routes(
    "operations of an instance",
    ("GET", "/v1/log-level", "log_level.read", "The log level that holds in this instance, and until when", _show),
    (
        "PUT",
        "/v1/log-level",
        "log_level.update",
        "Log at another level, in all workers; for `seconds`, if told",
        _choose,
    ),
    ("DELETE", "/v1/log-level", "log_level.update", "Log again at the level that the file says", _revert),
)
