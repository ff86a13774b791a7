"""The provider-specific settings in a body of the admin API: picked out, spelled as config objects spell them, checked.

The SDKs and the hosted console write some of them in camelCase and under names of their own (`deploymentName`), at the
top level or inside `model_config` or `configurations`.
"""

from __future__ import annotations

import re
from typing import Any

from proxy.admin.body import bad
from proxy.config.checks import Examiner
from proxy.config.fields import FIELD_CHECKS, PROVIDER_FIELDS

_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")
_OTHER_NAMES = {
    "deployment_name": "deployment_id",
    "deployment_config": "deployments",
    "azure_deployment_config": "deployments",
    "provider_auth_mode": "azure_auth_mode",
}
_NESTED = ("model_config", "configurations")


def spelled(name: str) -> str:
    """A key in snake_case, by the name that this gateway uses."""
    plain = name if name.islower() else _CAPITAL.sub(r"_\1", name).lower()
    return _OTHER_NAMES.get(plain, plain)


def flattened(raw: dict[str, Any]) -> dict[str, Any]:
    """A body with what stands in `model_config` or `configurations` beside the rest; nulls inside them are left out.

    Raises `Refused` (400) when one of them is no object.
    """
    flat: dict[str, Any] = {}
    for name in _NESTED:
        inner = raw.get(name)
        if inner is None:
            continue
        if not isinstance(inner, dict):
            raise bad(name, "expected an object")
        flat |= {key: value for key, value in inner.items() if value is not None}
    return {**flat, **{key: value for key, value in raw.items() if key not in _NESTED}}


def split(raw: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The provider fields of a body (None: to be cleared) and all its other keys. Raises `Refused` (400)."""
    fields: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    examiner = Examiner()
    for key, value in raw.items():
        name = spelled(key)
        if name not in PROVIDER_FIELDS:
            rest[name if name in ("custom_host", "custom_headers") else key] = value
        elif value is None:
            fields[name] = None
        else:
            read = FIELD_CHECKS[PROVIDER_FIELDS[name]](examiner, _deployments(name, value), (key,))
            fields[name] = list(read) if isinstance(read, tuple) else read
    if examiner.findings:
        finding = examiner.findings[0]
        path = "".join(f"[{step}]" if isinstance(step, int) else str(step) for step in finding.path)
        raise bad(path, finding.message[:1].lower() + finding.message[1:])
    return fields, rest


def _deployments(name: str, value: Any) -> Any:
    """The list of Azure deployments with its keys in our spelling."""
    if name != "deployments" or not isinstance(value, list):
        return value
    return [{spelled(key): item for key, item in one.items()} if isinstance(one, dict) else one for one in value]
