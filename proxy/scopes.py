"""What a key may do: the four plain scopes of this gateway and the dotted ones that the SDKs know.

Routes ask for one dotted scope each. `expand` turns what a key was given into the set that routes look in.
"""

from __future__ import annotations

from collections.abc import Iterable

_VERBS = ("create", "read", "update", "delete", "list")
_ENTITIES = (
    "virtual_keys",
    "configs",
    "providers",
    "integrations",
    "prompts",
    "guardrails",
    "workspaces",
    "policies",
    "organisation_service_api_keys",
    "workspace_service_api_keys",
    "workspace_user_api_keys",
)

ADMIN: frozenset[str] = frozenset(
    [f"{entity}.{verb}" for entity in _ENTITIES for verb in _VERBS]
    + ["virtual_keys.copy", "virtual_keys.duplicate", "audit_logs.list", "metrics.read"]
    + ["log_level.read", "log_level.update"]
)
"""Everything administrative. `admin` means all of it, and nothing else: an administrator's key runs no models."""

_GROUPS: dict[str, frozenset[str]] = {
    "admin": ADMIN,
    "inference": frozenset(
        ["completions.write", "models.list", "prompts.render", "mcp.invoke", "feedbacks.read", "feedbacks.write"]
    ),
    "logs": frozenset(["logs.read", "logs.write", "logs.view", "logs.list", "logs.export"]),
    "analytics": frozenset(["analytics.view"]),
}

KNOWN: frozenset[str] = frozenset(_GROUPS).union(*_GROUPS.values())
"""Every scope a key may be given."""


def expand(scopes: Iterable[str]) -> frozenset[str]:
    """The scopes given, together with what the plain ones among them stand for."""
    given = frozenset(scopes)
    return given.union(*(_GROUPS[scope] for scope in given if scope in _GROUPS))
