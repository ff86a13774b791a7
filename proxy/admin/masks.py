"""Secrets in answers: a mask instead of the value, and the value again where a mask comes back in an update.

A mask names its place, so that a config object may be read, rearranged and written back without its keys ever being
shown: `********@3:/targets/0/api_key` is what stood there in version 3 (the place is a JSON pointer).
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from proxy.admin.body import bad
from proxy.config.fields import SECRET_FIELDS

MASK = "********"
_MASKED = re.compile(r"\*{8}(?:@\d+)?:/.*", re.DOTALL)
_SECRET = re.compile(
    r"(?:^|.*[_-])(?:api[_-]?key|access[_-]?key|secret|token|password|passphrase|authorization|credentials?"
    r"|private[_-]?key)$"
    r"|.*service_account.*",
    re.IGNORECASE,
)
_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")
# Parameters of models and conditions hold no credentials, but words such as `stop_token`.
_OPEN = frozenset({"override_params", "default_params", "strategy"})
_CLOSED = frozenset({"headers", "custom_headers"})


def is_secret(name: str) -> bool:
    """Whether a field of this name holds a credential."""
    return name in SECRET_FIELDS or _SECRET.fullmatch(_CAPITAL.sub(r"_\1", name)) is not None


def mask(value: Any, tag: str = "") -> Any:
    """A copy of an object in which a mask stands for every secret. `tag` tells one version of it from the next."""
    return _masked(value, f"{MASK}{tag}:")


def _masked(value: Any, here: str) -> Any:
    if isinstance(value, list):
        return [_masked(item, f"{here}/{index}") for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    shown = {}
    for name, item in value.items():
        place = f"{here}/{_escaped(name)}"
        if name in _OPEN:
            shown[name] = item
        elif name in _CLOSED and isinstance(item, dict):
            shown[name] = {key: f"{place}/{_escaped(key)}" for key in item}
        elif item and is_secret(str(name)):
            shown[name] = place
        else:
            shown[name] = _masked(item, place)
    return shown


def _escaped(name: object) -> str:
    return str(name).replace("~", "~0").replace("/", "~1")


def unmask(value: Any, old: Any, tag: str = "") -> Any:
    """An object in which the values of `old` stand again for their masks.

    Raises `Refused` (400) for a mask of another version, of a place where `old` has nothing, or in a place where the
    value would be shown.
    """
    return _unmasked(value, _Old(old, mask(old, tag)), "", hidden=False)


class _Old(NamedTuple):
    value: Any
    shown: Any


def _unmasked(value: Any, old: _Old, path: str, *, hidden: bool) -> Any:
    if isinstance(value, dict):
        restored = {}
        for name, item in value.items():
            here = f"{path}.{name}" if path else str(name)
            # Within open parameters nothing is hidden, whatever its name.
            inside = hidden or is_secret(str(name)) or name in _CLOSED
            restored[name] = _refused(item, here) if name in _OPEN else _unmasked(item, old, here, hidden=inside)
        return restored
    if isinstance(value, list):
        return [_unmasked(item, old, f"{path}[{index}]", hidden=hidden) for index, item in enumerate(value)]
    if not _is_mask(value) and not (hidden and value == MASK):
        return value
    pointer = str(value).partition(":")[2]
    if not hidden or _at(old.shown, pointer) != value:
        raise bad(path, "this is a mask, and what it stood for is not to be had here; give the value itself")
    return _at(old.value, pointer)


def _at(value: Any, pointer: str) -> Any:
    """What a JSON pointer leads to, or None."""
    for escaped in pointer.split("/")[1:]:
        step = escaped.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def _refused(value: Any, path: str) -> Any:
    """The value, which must hold no mask."""
    if isinstance(value, dict):
        return {name: _refused(item, f"{path}.{name}") for name, item in value.items()}
    if isinstance(value, list):
        return [_refused(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if _is_mask(value):
        raise bad(path, "this is a mask; give the value itself")
    return value


def _is_mask(value: Any) -> bool:
    return isinstance(value, str) and _MASKED.fullmatch(value) is not None
