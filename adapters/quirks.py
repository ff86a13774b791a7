"""What a provider wants otherwise than the dialect it speaks: names to change, parameters it refuses, values it needs.

A body that holds none of them is not touched: it passes byte for byte. Otherwise only the named fields change, and
what is left out is told to whoever asked for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import ClassVar

import msgspec

from adapters import peek
from adapters.errors import InvalidRequest
from adapters.types import Call, Dialect
from adapters.values import UNREADABLE

Fields = dict[str, msgspec.Raw]
Patch = Callable[[Fields], tuple[str, ...]]
"""Changes the top level of a body in place and returns the names of what could not come along. Pure; may raise
InvalidRequest."""


_NOTHING = (b"null", b"false", b'""', b"[]", b"{}")
_ZERO = (b"0", b"0.0")
_DEFAULTS: Mapping[str, tuple[bytes, ...]] = {
    "n": (b"1",),
    "presence_penalty": _ZERO,
    "frequency_penalty": _ZERO,
    "top_logprobs": _ZERO,
    "tool_choice": (b'"auto"',),
    "parallel_tool_calls": (b"true",),
}
"""What a parameter does where nobody gives it."""


def asks_nothing(name: str, value: msgspec.Raw) -> bool:
    """Whether leaving a parameter out loses nothing: its value is empty, or what its absence says."""
    text = bytes(value)
    return text in _NOTHING or text in _DEFAULTS.get(name, ())


class Prefill(msgspec.Struct, frozen=True):
    """How a provider is asked to go on from the request's last message, which is the assistant's.

    `mark` is the field of that message that asks for it (`""`: standing last is enough). `echoes`: its answer begins
    with the message's text. `below` is the base path under which alone it does that (`""`: any), `models` are patterns
    of the models that do (none: all).
    """

    mark: str = ""
    echoes: bool = False
    below: str = ""
    models: tuple[str, ...] = ()

    def mark_for(self, model: str) -> str | None:
        """The mark for a message that a client itself wants gone on from; None where that is not sure to work, or would
        bring the message back."""
        certain = not (self.echoes or self.below)
        fits = not self.models or any(fnmatchcase(model, pattern) for pattern in self.models)
        return self.mark if certain and fits else None


class Quirks(msgspec.Struct, frozen=True):
    """The quirks of one provider for one dialect, applied in the order of their fields.

    `thoughts` is the field of an assistant's message in which it takes back what it thought in an earlier turn (`""`:
    none); clients' codecs fill it, for providers that have it want it at the latest where tools were called.
    `details`: it takes back its `reasoning_details` instead, where the client has kept them (see `adapters.reasoning`).
    `file_names` says that it has a field for the names of files, where its dialect alone does not say so.

    `developers`: it knows messages of developers; elsewhere they are the system's, which says the same.

    `betas` are those of Anthropic's betas that it knows, by Anthropic's name, where the header goes as it is otherwise.

    `drop` are parameters that it refuses, or says that it does not heed. `rename` gives its names for others (the
    provider's own name, if the body has it too, stands). `default` are JSON values of parameters that it needs and
    nobody gave. `patch` does the rest, for the odd one out, and has nothing to do where none of `touches` is there.
    """

    native: ClassVar[bool] = False
    """Whether bodies that a codec made have nothing of it."""

    thoughts: str = ""
    details: bool = False
    file_names: bool = False
    developers: bool = True
    drop: tuple[str, ...] = ()
    rename: Mapping[str, str] = {}
    default: Mapping[str, bytes] = {}
    patch: Patch | None = None
    touches: tuple[str, ...] = ()
    prefill: Prefill | None = None
    betas: Mapping[str, str] | None = None

    def told(self, call: Call) -> Call:
        """The call with what codecs must know of this provider."""
        if self.prefill is not None and call.dialect is Dialect.ANTHROPIC_MESSAGES:
            call = msgspec.structs.replace(call, prefill=self.prefill.mark_for(call.model))
        if not self.thoughts and not self.file_names:
            return call
        return msgspec.structs.replace(call, thoughts=self.thoughts, details=self.details, file_names=self.file_names)

    def names(self) -> tuple[str, ...]:
        """Every parameter whose presence makes a difference."""
        return (*self.drop, *self.rename, *self.touches)

    def apply(self, body: bytes) -> tuple[bytes, tuple[str, ...]]:
        """The body as this provider wants it, and the names of what was left out. Raises InvalidRequest."""
        # A search for each name costs less than decoding a body, and nearly no body has one.
        spoken = not self.developers and _DEVELOPER in body
        if not spoken and not self.default and not any(b'"%b"' % name.encode() in body for name in self.names()):
            return body, ()
        fields = peek.fields(body)
        before = len(fields)
        dropped = tuple(name for name in self.drop if not asks_nothing(name, fields.pop(name, _NULL)))
        changed = len(fields) != before
        for name, theirs in self.rename.items():
            if name in fields:
                value = fields.pop(name)
                if fields.setdefault(theirs, value) != value and value != _NULL:
                    dropped += (name,)
                changed = True
        for name, text in self.default.items():
            if name not in fields:
                fields[name] = msgspec.Raw(text)
                changed = True
        if self.patch is not None and any(name in fields for name in self.touches):
            try:
                dropped += self.patch(fields)
            except UNREADABLE as error:
                raise InvalidRequest("A parameter of the request is malformed.") from error
            changed = True
        if spoken and "messages" in fields:
            messages = _by_system(fields["messages"])
            changed = changed or messages is not fields["messages"]
            fields["messages"] = messages
        return (msgspec.json.encode(fields) if changed else body), dropped

    def marked(self, body: bytes) -> bytes:
        """A body whose last message is to be gone on from, and says so. Raises InvalidRequest."""
        if self.prefill is None or not self.prefill.mark:
            return body
        fields = peek.fields(body)
        try:
            messages = _messages(fields["messages"])
            last = _message(messages[-1])
        except (KeyError, IndexError, msgspec.MsgspecError) as error:
            raise InvalidRequest("Expected a list of messages.", "messages") from error
        if bytes(last.get("role", _NULL)) == b'"assistant"':
            last[self.prefill.mark] = msgspec.Raw(b"true")
            messages[-1] = msgspec.Raw(msgspec.json.encode(last))
            fields["messages"] = msgspec.Raw(msgspec.json.encode(messages))
        return msgspec.json.encode(fields)


def _by_system(raw: msgspec.Raw) -> msgspec.Raw:
    """The messages, with the system's in the place of developers'. Raises InvalidRequest."""
    try:
        messages = _messages(raw)
        found = False
        for at, message in enumerate(messages):
            if _DEVELOPER in bytes(message):
                fields = _message(message)
                if bytes(fields.get("role", _NULL)) == _DEVELOPER:
                    fields["role"] = msgspec.Raw(b'"system"')
                    messages[at] = msgspec.Raw(msgspec.json.encode(fields))
                    found = True
    except UNREADABLE as error:
        raise InvalidRequest("Expected a list of messages.", "messages") from error
    return msgspec.Raw(msgspec.json.encode(messages)) if found else raw


_DEVELOPER = b'"developer"'
_NULL = msgspec.Raw(b"null")
_messages = msgspec.json.Decoder(list[msgspec.Raw]).decode
_message = msgspec.json.Decoder(Fields).decode
