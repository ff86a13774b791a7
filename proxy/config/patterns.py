"""Regular expressions from configs, run by `re` and yet bounded in time.

`re` backtracks, and holds the interpreter while it does: one pattern such as `(a+)+$` stops every request of a worker.
So a pattern is looked at before it is used. What can fail in exponentially many ways is refused: a repetition of
something that itself can match in several ways, back references, and repetitions of nothing. What is left fails in
polynomially many ways, and how many for a text of n characters can be counted: the ways of each repetition times the
places where a search may begin. From that follows the longest text that the pattern is tried on; a longer one does not
match. A pattern that could not even be tried on the 128 characters that metadata values may have is refused as well.
"""

from __future__ import annotations

import re
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

MAX_LENGTH = 1000
"""Characters of a pattern at most."""
MAX_TEXT = 4096
"""Characters of a text at most."""
MIN_TEXT = 128
STEPS = 12_000_000
"""Ways of failing at most; tests/proxy/config/test_patterns.py measures how long the slowest of them take."""

_JS_GROUP = re.compile(r"\(\?<(?=[A-Za-z_])")


class Pattern:
    """A regular expression, and `limit`: the longest text that its `search` may be tried on."""

    __slots__ = ("limit", "search", "text")

    def __init__(self, text: str) -> None:
        """Raises ValueError, with a message for whoever wrote it, for a pattern that may not be used."""
        self.text = text
        self.limit = 0
        self.search = re.compile(r"(?!)").search
        fault = unusable(text)
        if fault is not None:
            raise ValueError(fault)
        if invalid(text) is not None:
            return  # it matches nothing, as everywhere in the field
        spelled = _spelled(text)
        self.limit = _longest(parser.parse(spelled))
        self.search = re.compile(spelled).search

    def __repr__(self) -> str:
        return f"Pattern({self.text!r}, up to {self.limit} characters)"

    def matches(self, value: str) -> bool:
        """Whether it matches anywhere in the text."""
        return len(value) <= self.limit and self.search(value) is not None


def invalid(text: str) -> str | None:
    """Why this is no regular expression, or None."""
    try:
        re.compile(_spelled(text))
    except (re.error, RecursionError, OverflowError) as error:
        return str(error)
    return None


def unusable(text: str) -> str | None:
    """Why this regular expression may not be used, or None. What is no regular expression at all is `invalid`."""
    if len(text) > MAX_LENGTH:
        return f"a regular expression may have {MAX_LENGTH} characters"
    if invalid(text) is not None:
        return None
    try:
        longest = _longest(parser.parse(_spelled(text)))
    except _Unsafe as unsafe:
        return f"this regular expression could take too long: {unsafe}"
    if longest < MIN_TEXT:
        return "this regular expression could take too long: it has too many open repetitions; anchor it with ^"
    return None


def _spelled(text: str) -> str:
    """JavaScript's named groups in Python's spelling."""
    return _JS_GROUP.sub("(?P<", text)


class _Unsafe(Exception):
    """The pattern can fail in exponentially many ways."""


_ONE = frozenset((op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN))
_REPEATS = frozenset((op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT))
_SIZES = (MAX_TEXT, 3072, 2048, 1536, 1024, 768, 512, 384, 256, 192, MIN_TEXT)
_CHEAP = 16  # characters that are compared in the time of one step
_ANCHORS = frozenset((op.AT_BEGINNING, op.AT_BEGINNING_STRING))


def _longest(tree: Any) -> int:
    """The longest text on which the pattern has at most STEPS ways of failing. Raises _Unsafe."""
    # A way costs more where it compares many characters before it fails.
    each = 1 + _width(tree) // _CHEAP
    for size in _SIZES:
        if _ways(tree, size) * each * (1 if _anchored(tree) else size) <= STEPS:
            return size
    return 0


def _width(tree: Any) -> int:
    """Characters that a sequence compares at least, those it only looks ahead or back at included."""
    width = 0
    for code, argument in tree:
        if code in _ONE:
            width += 1
        elif code in _REPEATS:
            width += argument[0] * _width(argument[2])
        elif code is op.SUBPATTERN:
            width += _width(argument[3])
        elif code is op.BRANCH:
            width += sum(map(_width, argument[1]))
        elif code in (op.ASSERT, op.ASSERT_NOT):
            width += _width(argument[1])
        elif code is op.ATOMIC_GROUP:
            width += _width(argument)
    return min(width, MAX_TEXT)


def _anchored(tree: Any) -> bool:
    return bool(len(tree)) and tree[0][0] is op.AT and tree[0][1] in _ANCHORS


def _ways(tree: Any, size: int) -> int:
    """In how many ways a sequence can match at one place of a text, at most. Raises _Unsafe."""
    ways = 1
    for code, argument in tree:
        ways *= _ways_of(code, argument, size)
    return ways


def _ways_of(code: Any, argument: Any, size: int) -> int:
    if code in _ONE or code is op.AT:
        return 1
    if code in _REPEATS:
        low, high, body = argument
        return _repeated(low, high, body, size)
    if code is op.SUBPATTERN:
        return _ways(argument[3], size)
    if code is op.BRANCH:
        return sum(_ways(branch, size) for branch in argument[1])
    if code in (op.ASSERT, op.ASSERT_NOT):
        return _ways(argument[1], size)
    if code is op.ATOMIC_GROUP:
        return _ways(argument, size)
    raise _Unsafe("it has a back reference or a condition")


def _repeated(low: int, high: int, body: Any, size: int) -> int:
    high = min(high, size)
    if high > 1 or low > 1:
        if body.getwidth()[0] == 0:
            raise _Unsafe("it repeats what may be empty")
        if _ambiguous(body):
            raise _Unsafe("it repeats something that can match in several ways")
    inside = _ways(body, size)
    if high <= 1:
        return 1 + inside
    return max(1, high - min(low, high) + 1)


def _ambiguous(body: Any) -> bool:
    """Whether a sequence may match the same place in several ways. Errs towards yes."""
    for code, argument in body:
        if code in _REPEATS:
            low, high, inner = argument
            if low != high or _ambiguous(inner):
                return True
        elif code is op.SUBPATTERN:
            if _ambiguous(argument[3]):
                return True
        elif code is op.BRANCH:
            firsts = [_first(branch) for branch in argument[1]]
            if None in firsts or len(set(firsts)) < len(firsts) or any(map(_ambiguous, argument[1])):
                return True
        elif code not in _ONE and code is not op.AT:
            return True
    return False


def _first(branch: Any) -> int | None:
    """The letter with which an alternative begins, whatever its case; None where that is not so simple."""
    if not len(branch) or branch[0][0] is not op.LITERAL or branch[0][1] > 127:
        return None
    return ord(chr(branch[0][1]).lower())
