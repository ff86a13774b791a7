"""Changing a request's parameters: set where absent, replaced, dropped at any depth. In that order.

What does not change keeps its very text: only the objects and arrays on the way to a change are written anew, and in
them every other value as it came.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from adapters.peek import fields, malformed
from adapters.values import UNREADABLE

PATH = r"[^\s.\[\]]+(?:\[(?:\d{1,6}|\*)\])*(?:\.[^\s.\[\]]+(?:\[(?:\d{1,6}|\*)\])*)*"
"""The form of a path: `a.b`, `a[0].b`, `a[*].b`."""

_STEP = re.compile(r"\[(\d+|\*)\]|([^\s.\[\]]+)")
_EVERY = -1
_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Drops:
    """What to drop, as a tree of steps: names, indexes, and all items. `here` says that the path ends at this step."""

    __slots__ = ("below", "here")

    def __init__(self, paths: Iterable[str] = ()) -> None:
        """`paths` match `PATH`."""
        self.here = False
        self.below: dict[str | int, Drops] = {}
        for path in paths:
            node = self
            for index, name in _STEP.findall(path):
                step = name or (_EVERY if index == "*" else int(index))
                node = node.below.setdefault(step, Drops())
            node.here = True

    def __bool__(self) -> bool:
        return bool(self.below)


def edited(body: bytes, default: Mapping[str, object], override: Mapping[str, object], drops: Drops) -> bytes:
    """The body with parameters set where it has none, then replaced, then dropped; the same object if nothing changes.
    Raises InvalidRequest when the body is no JSON object."""
    top = fields(body)
    changed = False
    for name, value in default.items():
        if name not in top:
            top[name] = msgspec.Raw(_encode(value))
            changed = True
    for name, value in override.items():
        top[name] = msgspec.Raw(_encode(value))
        changed = True
    if drops:
        try:
            left = _object(top, drops)
        except UNREADABLE as error:
            raise malformed(error) from error
        if left is not None:
            top, changed = left, True
    return _encode(top) if changed else body


def _object(values: dict[str, msgspec.Raw], drops: Drops) -> dict[str, msgspec.Raw] | None:
    """An object without what is dropped; None if that is nothing."""
    kept = dict(values)
    changed = False
    for name, below in drops.below.items():
        if not isinstance(name, str) or name not in kept:
            continue
        if below.here:
            del kept[name]
            changed = True
            continue
        inner = _value(kept[name], below)
        if inner is not None:
            kept[name] = inner
            changed = True
    return kept if changed else None


def _array(items: list[msgspec.Raw], drops: Drops) -> list[msgspec.Raw] | None:
    """An array without what is dropped; indexes are those of the array as it came."""
    kept: list[msgspec.Raw] = []
    changed = False
    for index, item in enumerate(items):
        steps = [drops.below[step] for step in (_EVERY, index) if step in drops.below]
        if any(step.here for step in steps):
            changed = True
            continue
        for step in steps:
            inner = _value(item, step)
            if inner is not None:
                item = inner
                changed = True
        kept.append(item)
    return kept if changed else None


def _value(raw: msgspec.Raw, drops: Drops) -> msgspec.Raw | None:
    """A value without what is dropped in it; None if that is nothing, or if it is no value that has parts."""
    text = bytes(raw).lstrip()
    left: Any = None
    if text[:1] == b"{":
        left = _object(_decode_object(text), drops)
    elif text[:1] == b"[":
        left = _array(_decode_array(text), drops)
    return None if left is None else msgspec.Raw(_encode(left))
