"""What of a provider's answer its client is not told.

A provider's dialect has a table of its answers: field by field, which clients get it. What no row has, new fields among
them, nobody gets. `Look` compares an answer with the table and gives the names of what stays behind, in the provider's
own words. Of a table is made, for each client, a type that decodes the answers which the client gets whole: for those,
which are most, looking costs one decode of the answer. Only others are walked by field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import Meta, Raw

from adapters.types import Call, Dialect
from adapters.values import ABSENT, BRACE, BRACKET, QUOTE, UNREADABLE, first

STRICT, BLOCKS, TEXT, ITEMS, MESSAGES, GEMINI = 1, 2, 4, 8, 16, 32
"""Clients: of chat, strict or with `content_blocks`; of text completions; of Responses; of Messages; of Gemini."""
ALL = 63
NONE = 0
"""Nobody: for fields that every answer has, nearly always with nothing in them. Others have no row at all."""
CHAT = STRICT | BLOCKS
SHOWING = BLOCKS | ITEMS | MESSAGES | GEMINI
"""Those who are shown or carry what OpenAI's chat has no word for."""
SPEAKING = ALL & ~TEXT
"""Those who get more than a text."""

Shape = Mapping[str, "int | Told"]
"""The fields of an object: who gets them."""


class Told(msgspec.Struct, frozen=True):
    """A field that is not all or nothing. `to` gets it, if what is in it is told; `whole` as it came.

    An object, or an array of some, has a `shape`; or one for each of its `kinds`, by the word in the field `tag`, and
    `others` get kinds without a shape. A text is one of `words`, each with who is told it or something that means it;
    any text is told where the field that `beside` names, of the same object, has one of the words there. Of an array
    `first_to` get the first and nothing else.
    """

    to: int = ALL
    shape: Shape | None = None
    kinds: Mapping[str, Told] | None = None
    tag: str = "type"
    words: Mapping[str, int] | None = None
    beside: tuple[str, frozenset[str]] | None = None
    whole: int = 0
    others: int = 0
    first_to: int = 0


def only(*words: str) -> Told:
    """A text that says nothing to miss if it is one of these."""
    return Told(words=dict.fromkeys(words, ALL))


def every(to: int, *names: str) -> dict[str, int]:
    """Rows of fields that the same clients get."""
    return dict.fromkeys(names, to)


_CLIENTS: Mapping[Dialect, int] = {
    Dialect.OPENAI_COMPLETIONS: TEXT,
    Dialect.OPENAI_RESPONSES: ITEMS,
    Dialect.ANTHROPIC_MESSAGES: MESSAGES,
    Dialect.GEMINI_GENERATE: GEMINI,
    Dialect.GEMINI_STREAM_ARRAY: GEMINI,
    # Of these a provider's dialect has no clients of another kind.
    **dict.fromkeys((Dialect.OPENAI_EMBEDDINGS, Dialect.RERANK), TEXT),
    **dict.fromkeys((Dialect.GEMINI_EMBED, Dialect.GEMINI_BATCH_EMBED), GEMINI),
}


def client_of(call: Call) -> int:
    """Who gets the answer to a call; 0 where that is of no dialect with a table."""
    dialect = call.origin or call.dialect
    if dialect is Dialect.OPENAI_CHAT:
        return STRICT if call.strict else BLOCKS
    return _CLIENTS.get(dialect, 0)


class Look:
    """Names what one client is not told of answers of one shape."""

    __slots__ = ("_decode", "_to", "_told")

    def __init__(self, shape: Shape, to: int) -> None:
        self._told = Told(shape=shape)
        self._to = to
        self._decode = msgspec.json.Decoder(_type_of(self._told, to)).decode

    def __call__(self, data: bytes | Raw) -> tuple[str, ...]:
        """The names, in the order in which they come. What is not JSON names nothing."""
        try:
            self._decode(data)
        except UNREADABLE:
            walk = _Walk(self._to)
            try:
                walk.go(Raw(data), self._told, "")
            except UNREADABLE:
                return ()
            return tuple(walk.found)
        return ()


class Looks:
    """The looks at answers of one dialect, whole or by the name of an event, made when they are first wanted."""

    __slots__ = ("shapes",)

    def __init__(self, shapes: Mapping[bytes, Shape]) -> None:
        self.shapes = shapes

    def by(self, to: int) -> Mapping[bytes, Look]:
        """Those of one client."""
        return _made(self, to)


# -- the type of what a client gets whole

_EMPTY: Any = Union[  # noqa: UP007 - built at run time
    None, Literal["", 0], Annotated[list[Raw], Meta(max_length=0)], Annotated[dict[str, Raw], Meta(max_length=0)]
]


def _type_of(told: int | Told, to: int, tag: tuple[str, str] | None = None) -> Any:
    if isinstance(told, int):
        return Raw if told & to else _EMPTY
    if told.whole & to:
        return Raw
    if not told.to & to:
        return _EMPTY
    if told.words is not None:
        words = tuple(word for word, who in told.words.items() if who & to)
        if told.others & to:
            return Raw
        return Literal[(None, *words)] if words else _EMPTY
    if told.kinds is not None:
        made = tuple(
            _struct(each.shape or {}, to, (told.tag, kind)) for kind, each in told.kinds.items() if each.to & to
        )
        return _or_array(Union[made]) if made else _EMPTY  # noqa: UP007 - built at run time
    if told.shape is None:
        return Raw
    struct = _struct(told.shape, to, tag)
    return _one(struct) if told.first_to & to else _or_array(struct)


def _one(kind: Any) -> Any:
    return Union[None, Annotated[list[kind], Meta(max_length=1)]]  # noqa: UP007 - built at run time


def _or_array(kind: Any) -> Any:
    return Union[None, kind, list[kind]]  # noqa: UP007 - built at run time


def _struct(shape: Shape, to: int, tag: tuple[str, str] | None) -> type[msgspec.Struct]:
    names = [name for name in shape if tag is None or name != tag[0]]
    fields = [(f"f{at}", _type_of(shape[name], to), ABSENT) for at, name in enumerate(names)]
    rename = {f"f{at}": name for at, name in enumerate(names)}
    more: dict[str, Any] = {} if tag is None else {"tag_field": tag[0], "tag": tag[1]}
    return msgspec.defstruct("Told", fields, rename=rename, forbid_unknown_fields=True, gc=False, **more)


# -- the walk by field

_object = msgspec.json.Decoder(dict[str, Raw]).decode
_items = msgspec.json.Decoder(list[Raw]).decode
_text = msgspec.json.Decoder(str).decode

_NOTHING = frozenset((b"null", b"false", b'""', b"0", b"0.0"))
_LONGEST_NOTHING = max(map(len, _NOTHING))
_DEEPEST = 3
"""Levels of a value in which nothing is looked for: a hostile one may have thousands."""
_LARGEST = 4096
"""Bytes of a value that may be nothing."""
_LONGEST = 60
"""Characters of a name that a provider gave."""
_MOST = 40
"""Names that are given."""
_NONE = Raw(b"null")
_FARTHEST = 2000
"""Objects that are walked; log probabilities alone may be a hundred thousand."""


def _says(value: Raw, depth: int = 0) -> bool:
    """Whether there is anything in a value but nulls, noughts and empty texts."""
    kind = first(value)
    if kind not in (BRACE, BRACKET):
        return len(value) > _LONGEST_NOTHING or bytes(value) not in _NOTHING
    if len(value) > _LARGEST:
        return True
    inner = _object(value).values() if kind == BRACE else _items(value)
    return any(depth == _DEEPEST or _says(each, depth + 1) for each in inner)


def _word(fields: Mapping[str, Raw], name: str) -> str:
    """The text in a field; empty where there is none."""
    value = fields.get(name, _NONE)
    return _text(value) if first(value) == QUOTE else ""


class _Walk:
    """One answer, walked for one client; `found` are the names, in their order."""

    __slots__ = ("_left", "_to", "found")

    def __init__(self, to: int) -> None:
        self.found: dict[str, None] = {}
        self._to = to
        self._left = _FARTHEST

    def go(self, value: Raw, told: Told, path: str) -> None:
        """Looks into what the client gets at least in part. Raises one of `UNREADABLE`."""
        kind = first(value)
        if kind == BRACKET:
            below = f"{path}[]"
            for number, each in enumerate(_items(value)):
                if number and told.first_to & self._to:
                    self._name(f"{path}[1]")
                    return
                if not self._left:
                    return
                self.go(each, told, below)
        elif kind == BRACE and self._left:
            self._left -= 1
            self._fields(_object(value), told, path)
        elif kind == QUOTE and told.words is not None and not told.words.get(_text(value), told.others) & self._to:
            self._name(path)

    def _fields(self, fields: dict[str, Raw], told: Told, path: str) -> None:
        shape = told.shape
        if told.kinds is not None:
            word = _word(fields, told.tag)
            of = told.kinds.get(word)
            if of is None or of.shape is None or not of.to & self._to:
                if not (told.others if of is None else of.to) & self._to:
                    self._name(f"{path}.{word[:_LONGEST]}" if word else path)
                return
            shape = {told.tag: ALL, **of.shape}
        for name, value in fields.items():
            below = f"{path}.{name[:_LONGEST]}" if path else name[:_LONGEST]
            row = (shape or {}).get(name, NONE)
            if isinstance(row, int):
                if not row & self._to and _says(value):
                    self._name(below)
            elif not row.whole & self._to and _says(value):
                if row.beside is not None and _word(fields, row.beside[0]) in row.beside[1]:
                    continue
                if row.to & self._to:
                    self.go(value, row, below)
                else:
                    self._name(below)

    def _name(self, path: str) -> None:
        if len(self.found) < _MOST:
            self.found[path] = None


@cache
def _made(looks: Looks, to: int) -> Mapping[bytes, Look]:
    return {name: Look(shape, to) for name, shape in looks.shapes.items()}


def together(names: Iterable[str]) -> tuple[str, ...]:
    """The names as the log has them, among those of what a request lost."""
    return tuple(_AMONG + name for name in names)


def apart(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the log's names that are of the answer, as they were."""
    return tuple(name.removeprefix(_AMONG) for name in names if name.startswith(_AMONG))


_AMONG = "answer."
