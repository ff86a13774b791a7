"""Arguments of a function call that come value by value → the text of one JSON object, piece by piece.

Where it is asked to, Vertex AI streams a call as the places in its arguments and what stands there, strings in several
parts: `{"jsonPath": "$.city.name", "stringValue": "Par", "willContinue": true}`. The paths are those of RFC 9535.
https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling#streaming-fc
"""

from __future__ import annotations

import re

import msgspec

from adapters.gemini.wire import PartialArg
from adapters.values import NULL, QUOTE, first

Step = str | int

_encode = msgspec.json.Encoder().encode

_DEEPEST = 64
_MOST_KEYS = 65_536
"""Keys of one call: an upstream that never stops must not fill the memory."""
_STEP = re.compile(r"""\.([^.\[\]]+)|\[(\d{1,6})\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]""", re.DOTALL)
_ESCAPED = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def steps_of(path: str) -> list[Step]:
    """The names and indexes of a path. Raises msgspec.ValidationError for one that is none."""
    steps: list[Step] = []
    at = 1
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None:
            break
        name, index, single, double = found.groups()
        if index is not None:
            steps.append(int(index))
        elif name is not None:
            steps.append(name)
        else:
            steps.append(_ESCAPED.sub(_letter, single if double is None else double))
        at = found.end()
    if path[:1] != "$" or at < len(path) or not steps or len(steps) > _DEEPEST:
        raise msgspec.ValidationError("a partial argument has no path that can be read")
    return steps


def _letter(found: re.Match[str]) -> str:
    word = found[1]
    return chr(int(word[1:], 16)) if len(word) > 1 else _LETTERS.get(word, word)


class _Container:
    """An object or array that is open: the step that was written last, and all keys."""

    __slots__ = ("keys", "last")

    def __init__(self, first_step: Step) -> None:
        self.last: Step | None = None
        self.keys: set[str] | None = set() if isinstance(first_step, str) else None

    @property
    def closing(self) -> bytes:
        return b"]" if self.keys is None else b"}"


class Arguments:
    """The arguments of one call under way. What `add` and `close` give makes up one JSON object. `id` and `signature`
    are the call's, as far as it has them."""

    __slots__ = ("_keys", "_open", "_string", "id", "signature")

    def __init__(self, id: str | None = None, signature: str | None = None) -> None:
        self.id = id
        self.signature = signature
        self._open: list[_Container] = []
        self._string: list[Step] | None = None
        """Where a string has begun that will go on."""
        self._keys = 0

    def add(self, part: PartialArg) -> bytes:
        """What is new. Raises msgspec.ValidationError for what cannot follow on what was told."""
        steps = steps_of(part.json_path)
        text = part.string_value
        if self._string is not None and steps == self._string:
            out = bytes(text)[1:-1] if first(text) == QUOTE else b""
            if not part.will_continue:
                self._string = None
                out += b'"'
            return out
        out = self._place(steps)
        if first(text) == QUOTE or part.will_continue:
            out += b'"' + (bytes(text)[1:-1] if first(text) == QUOTE else b"")
            if part.will_continue:
                self._string = steps
                return out
            return out + b'"'
        for value in (part.number_value, part.bool_value):
            if first(value) != NULL:
                return out + bytes(value)
        return out + b"null"

    def close(self) -> bytes:
        """The rest."""
        if not self._open:
            return b"{}"
        out = self._end_string() + b"".join([each.closing for each in reversed(self._open)])
        self._open = []
        return out

    def _end_string(self) -> bytes:
        was, self._string = self._string, None
        return b"" if was is None else b'"'

    def _place(self, steps: list[Step]) -> bytes:
        """What stands between the last value and the one at `steps`."""
        out = self._end_string()
        opened = self._open
        if not opened:
            out += self._enter(steps[0])
        depth = 0
        while depth < len(steps) - 1 and depth + 1 < len(opened) and opened[depth].last == steps[depth]:
            depth += 1
        while len(opened) > depth + 1:
            out += opened.pop().closing
        out += self._name(opened[depth], steps[depth])
        for step in steps[depth + 1 :]:
            out += self._enter(step) + self._name(opened[-1], step)
        return out

    def _enter(self, step: Step) -> bytes:
        self._open.append(_Container(step))
        return b"[" if isinstance(step, int) else b"{"

    def _name(self, container: _Container, step: Step) -> bytes:
        comma = b"" if container.last is None else b","
        keys = container.keys
        if isinstance(step, str) and keys is not None and step not in keys:
            keys.add(step)
            self._keys += 1
            if self._keys > _MOST_KEYS:
                raise msgspec.ValidationError("a call has too many arguments")
            comma += _encode(step) + b":"
        elif keys is not None or step != (0 if container.last is None else int(container.last) + 1):
            # What was told cannot be taken back.
            raise msgspec.ValidationError("partial arguments come in no order that a stream can have")
        container.last = step
        return comma
