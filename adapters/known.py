"""Reading what has fields that no codec knows: they are left out, and named.

Where the structs of a request forbid unknown fields, a request without any costs nothing more. One that has some is
read once more, without them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence
from operator import attrgetter
from typing import Any, Generic, Protocol, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Raw, Struct

from adapters.errors import InvalidRequest
from adapters.reading import Dropped, read, under
from adapters.values import BRACE, BRACKET, NULL, QUOTE, UNREADABLE, first

_T = TypeVar("_T")

Shape = Mapping[str, Any]
"""The fields that an object may have; each value is the shape of what it holds, itself or as the items of an array, or
None for what is not looked into."""

_encode = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(dict[str, Raw]).decode
_items = msgspec.json.Decoder(list[Raw]).decode
_str = msgspec.json.Decoder(str).decode
_FALSE = Raw(b"false")
ECHOES = frozenset(("index", "parsed", "parsed_arguments"))
"""What clients send back with an answer, and says nothing that does not stand beside it: the number of a thing in its
stream, and what a helper of OpenAI's SDK adds to the answers that it parses."""
_NOTHING = (None, False, "", (), Raw(b"null"), Raw(b"false"), Raw(b'""'), Raw(b"[]"))
"""Values that ask for nothing."""
_NUMBERS = re.compile(r"\[\d+\]")


def shape_of(struct: type[Struct]) -> Shape:
    """The shape that a struct decodes, with those of the structs in it."""
    hints = get_type_hints(struct)
    return {each.encode_name: _inner(hints[each.name]) for each in msgspec.structs.fields(struct)}


def _inner(hint: Any) -> Shape | None:
    if isinstance(hint, type) and issubclass(hint, Struct):
        return shape_of(hint)
    return next((found for each in get_args(hint) if (found := _inner(each)) is not None), None)


def read_known(decode: Callable[[Raw], _T], value: Raw, shape: Shape, dropped: Dropped, path: str) -> _T:
    """The decoded value, without fields that its `shape` does not have: those are named below `path`, unless they are
    null or false. Raises InvalidRequest with the path of what else is wrong."""
    try:
        return decode(value)
    except msgspec.ValidationError:
        # Either a field is wrong, which is found again below, or one is unknown.
        return read(decode, read(lambda raw: _without(raw, shape, dropped, path), value))


class _Typed(Struct, gc=False):
    type: Raw = Raw(b"null")


_kind = msgspec.json.Decoder(_Typed).decode


class Reader(Generic[_T]):
    """`read_known` for values of one type, with what it needs made once.

    Of things that say their `type`, one or a list, `kinds` are the types whose fields are read. Fields of any other are
    not looked for: who reads it names the thing itself, or passes it on as it came.
    """

    __slots__ = ("_decode", "_kinds", "_shape")

    def __init__(self, decode: Callable[[Raw], _T], struct: type[Struct], kinds: Container[str] | None = None) -> None:
        self._decode = decode
        self._shape = shape_of(struct)
        self._kinds = kinds

    def read(self, value: Raw, dropped: Dropped, path: str = "", name: str | None = None) -> _T:
        """The decoded value. `path` is its place, for errors; what is not known is named below `name`, which is the
        path without its numbers unless it is given. Raises InvalidRequest."""
        try:
            return self._decode(value)
        except UNREADABLE:
            # As above.
            below = _NUMBERS.sub("[]", path) if name is None else name
            try:
                kept = read(lambda raw: self._known(raw, dropped, below), value)
                return read(self._decode, kept)
            except InvalidRequest as error:
                raise under(path, error) from error

    def _known(self, value: Raw, dropped: Dropped, path: str) -> Raw:
        if self._kinds is None:
            return _without(value, self._shape, dropped, path)
        if first(value) == BRACKET:
            return Raw(_encode([self._known(item, dropped, f"{path}[]") for item in _items(value)]))
        if first(value) != BRACE:
            return value
        kind = _kind(value).type
        known = first(kind) == NULL or (first(kind) == QUOTE and _str(kind) in self._kinds)
        return _without(value, self._shape, dropped if known else Dropped(found={}), path)


class _Kind(Protocol):
    @property
    def type(self) -> str | None:
        """What kind of thing it is."""


class Belongs:
    """Which of a struct's fields belong to things of which kind, where things of several kinds are read as one struct:
    a refusal belongs to a message of the assistant's, and an image to a part that is one. What stands where it does not
    belong is named.

    `kinds` are the fields of each, by the names that clients write, between spaces. Those of a kind that is not among
    them are not looked at: who reads it names the thing itself, or refuses it.
    """

    __slots__ = ("_kinds",)

    def __init__(self, struct: type[Struct], kinds: Mapping[str, str]) -> None:
        fields = msgspec.structs.fields(struct)
        self._kinds: dict[str, tuple[Callable[[Any], Any], Any, tuple[str, ...]]] = {}
        for kind, own in kinds.items():
            foreign = [each for each in fields if not each.required and each.encode_name not in (*own.split(), *ECHOES)]
            if not foreign:
                continue
            # A getter of one attribute returns no tuple: the class of a thing, which is never foreign, stands first.
            get = attrgetter("__class__", *(each.name for each in foreign))
            usual = tuple(None if each.default is msgspec.NODEFAULT else each.default for each in foreign)
            self._kinds[kind] = (get, (struct, *usual), ("", *(each.encode_name for each in foreign)))

    def heed(self, thing: Struct, kind: str, dropped: Dropped, path: str) -> None:
        """Names what the thing has that does not belong to its `kind`, unless it asks for nothing, below `path`, which
        loses its numbers."""
        known = self._kinds.get(kind)
        if known is not None and known[0](thing) != known[1]:
            _name(thing, *known, dropped, path)

    def heed_all(self, things: Sequence[_Kind], dropped: Dropped, path: str) -> None:
        """The same for a list of things that say their `type`; `path` is the list's."""
        kinds = self._kinds
        for thing in things:
            known = kinds.get(thing.type or "")
            if known is not None and known[0](thing) != known[1]:
                _name(thing, *known, dropped, f"{path}[]")


def _name(
    thing: object, get: Callable[[Any], Any], usual: Any, names: tuple[str, ...], dropped: Dropped, path: str
) -> None:
    for name, value, absent in zip(names, get(thing), usual, strict=True):
        if value != absent and value not in _NOTHING:
            dropped.add(f"{_NUMBERS.sub('[]', path)}.{name}")


def _without(value: Raw, shape: Shape, dropped: Dropped, path: str) -> Raw:
    kind = first(value)
    if kind == BRACKET:
        return Raw(_encode([_without(item, shape, dropped, f"{path}[]") for item in _items(value)]))
    if kind != BRACE:
        return value
    kept: dict[str, Raw] = {}
    for name, each in _object(value).items():
        if name not in shape:
            if first(each) != NULL and each != _FALSE and name not in ECHOES:
                dropped.add(f"{path}.{name}")
            continue
        inner = shape[name]
        kept[name] = each if inner is None else _without(each, inner, dropped, f"{path}.{name}")
    return Raw(_encode(kept))
