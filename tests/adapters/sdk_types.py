"""Walks the types that an official SDK sends: for each field, however deep, the smallest value that has it."""

from __future__ import annotations

import collections.abc as abc
import enum
import itertools
import types
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple, get_args, get_origin

import typing_extensions

_DEEPEST = 7
_ARRAYS = (list, tuple, abc.Iterable, abc.Sequence)
_LITERALS = (typing.Literal, typing_extensions.Literal)
_URLS = ("url", "file_url", "image_url", "fileUri")
_OBJECT = {"type": "object"}


class Case(NamedTuple):
    """`path` names one field; `value` has it, `bare` is the same without it, or None where it cannot be without."""

    path: str
    value: Any
    bare: Any


class Walk:
    """`fixed` are values by field that a valid request needs; `required` are fields that a type calls optional, and
    without which it means nothing; `either` are those of which it has just one, the first unless another is walked;
    `skipped` are fields by their type that are not walked."""

    def __init__(
        self,
        fixed: dict[str, Any] | None = None,
        required: dict[str, tuple[str, ...]] | None = None,
        skipped: dict[str, frozenset[str]] | None = None,
        either: dict[str, tuple[str, ...]] | None = None,
    ) -> None:
        self._fixed = fixed or {}
        self._required = required or {}
        self._skipped = skipped or {}
        self._either = either or {}
        self._numbers = itertools.count(1000)
        self._fields: dict[Any, dict[str, tuple[Any, bool]]] = {}

    def mark(self) -> str:
        """A text that nobody would say by chance; it is base64 as well."""
        return f"Mark{next(self._numbers)}"

    def _text(self, name: str) -> str:
        if name in _URLS:
            return f"https://{self.mark()}.cz/a.png"
        if name == "arguments":
            return f'{{"{self.mark()}":1}}'
        return f"data:application/pdf;base64,{self.mark()}" if name == "file_data" else self.mark()

    def fields(self, kind: Any) -> dict[str, tuple[Any, bool]]:
        """The fields of a typed dictionary or a model: their types, and whether they must be there."""
        if kind in self._fields:
            return self._fields[kind]
        found: dict[str, tuple[Any, bool]] = {}
        if _is_model(kind):
            musts = self._required.get(kind.__name__, ())
            for name, field in kind.model_fields.items():
                alias = field.alias or name
                found[alias] = (field.annotation, field.is_required() or alias in musts)
        else:
            for name, hint in typing_extensions.get_type_hints(kind, include_extras=True).items():
                inner = get_args(hint)[0] if get_origin(hint) in (typing.Required, typing.NotRequired) else hint
                musts = (*self._required.get(kind.__name__, ()), *self._either.get(kind.__name__, ())[:1])
                must = name in kind.__required_keys__ or name in musts
                found[name] = (inner, must or get_origin(hint) is typing.Required)
        self._fields[kind] = found
        return found

    def least(self, hint: Any, name: str = "", inside: tuple[Any, ...] = ()) -> Any:
        """The smallest value of a type; None for one that has none but of itself."""
        if name in self._fixed:
            return self._fixed[name]
        kinds = [each for each in members(hint) if each not in inside]
        kind = str if str in kinds else kinds[0] if kinds else None
        origin = get_origin(kind)
        if kind in (str, bytes):
            return self._text(name)
        if kind in (bool, int, float):
            return {bool: True, int: 1100, float: 0.5}[kind]
        if origin in _LITERALS:
            return get_args(kind)[0]
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return next(each.value for each in kind if "UNSPECIFIED" not in each.value)
        if _is_array(origin):
            item = self.least(get_args(kind)[0], name, inside)
            return [] if item is None else [item]
        if origin in (dict, abc.Mapping) or kind is dict:
            return {self.mark(): self.mark()}
        if _is_object(kind):
            musts = [(field, of) for field, (of, must) in self.fields(kind).items() if must]
            return {field: self.least(of, field, (*inside, kind)) for field, of in musts}
        return self._anything(name) if kind in (object, Any) else None

    def _anything(self, name: str) -> Any:
        is_schema = "schema" in name.lower() or name == "parameters"
        return {**_OBJECT, "properties": {self.mark(): {"type": "string"}}} if is_schema else self.mark()

    def _mapping(self, name: str) -> Any:
        """A value of a type that says only that it is an object."""
        known = self._fixed.get(name)
        return known[0] if isinstance(known, list) and known else {self.mark(): self.mark()}

    def cases(self, hint: Any, path: str, name: str = "", inside: tuple[Any, ...] = ()) -> Iterator[Case]:
        """A case for each field, each kind of content and each word."""
        kinds = list(members(hint))
        for kind in kinds:
            origin = get_origin(kind)
            if kind in (str, bytes):
                yield Case(path, self._text(name), None)
            elif kind is bool:
                yield from (Case(f"{path}={value}", value, None) for value in (True, False))
            elif kind is int or (kind is float and int not in kinds):
                yield Case(path, 1337 if kind is int else 0.377, None)
            elif origin in _LITERALS:
                yield from (Case(f"{path}={value}", value, None) for value in get_args(kind))
            elif isinstance(kind, type) and issubclass(kind, enum.Enum):
                yield from (Case(f"{path}={each.value}", each.value, None) for each in kind)
            elif _is_array(origin):
                for case in self.cases(get_args(kind)[0], f"{path}[]", name, inside):
                    yield case._replace(value=[case.value], bare=None if case.bare is None else [case.bare])
            elif kind in (object, Any) or origin in (dict, abc.Mapping):
                yield Case(path, self._anything(name) if origin is None else self._mapping(name), None)
            elif _is_object(kind) and kind not in inside and len(inside) < _DEEPEST:
                words = [_word(self, each) for each in kinds if _is_object(each)]
                word = _word(self, kind)
                told = "" if len(words) == 1 else f"<{word if words.count(word) == 1 else kind.__name__}>"
                yield from self._below(kind, path + told, (*inside, kind))

    def _below(self, kind: Any, path: str, inside: tuple[Any, ...]) -> Iterator[Case]:
        least = self.least(kind, "", inside[:-1])
        if not self.fields(kind):
            yield Case(path, {}, None)
        for name, (hint, must) in self.fields(kind).items():
            if name in self._skipped.get(kind.__name__, ()) or (name == "type" and must):
                continue
            either = self._either.get(kind.__name__, ())
            without = either if name in either else (name,)
            rest = {other: value for other, value in least.items() if other not in without}
            for case in self.cases(hint, f"{path}.{name}", name, inside):
                below = (None if must or name in either else rest) if case.bare is None else {**rest, name: case.bare}
                yield Case(case.path, {**rest, name: case.value}, below)


def members(hint: Any) -> Iterator[Any]:
    """The types that a type may be, without what stands around them."""
    while get_origin(hint) in (typing.Annotated, typing.Required, typing.NotRequired) or hasattr(hint, "__value__"):
        hint = hint.__value__ if hasattr(hint, "__value__") else get_args(hint)[0]
    if get_origin(hint) in (typing.Union, types.UnionType):
        for each in get_args(hint):
            yield from members(each)
    elif hint is not type(None):
        yield hint


def _is_array(origin: Any) -> bool:
    return origin in _ARRAYS or getattr(origin, "__name__", "") == "SequenceNotStr"


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "model_fields")


def _is_object(kind: Any) -> bool:
    return _is_model(kind) or (isinstance(kind, type) and issubclass(kind, dict) and hasattr(kind, "__total__"))


def _word(walk: Walk, kind: Any) -> str:
    words = [get_args(each) for each in members(walk.fields(kind).get("type", (None, False))[0])]
    return str(words[0][0]) if words and words[0] else str(kind.__name__)
