"""Gemini: streamed pieces ⇄ answer, as server-sent events and as one JSON array.

Every piece of a stream is an answer of its own that holds what is new, so a whole answer is a stream of one piece. Put
together, texts of one kind grow over the pieces, but for what comes with a thought signature: that belongs to its part
alone (https://ai.google.dev/gemini-api/docs/thought-signatures). Usage and the like are told as they stand, so the last
ones count. Which pieces there are is the same in both forms of a stream; one kept answer serves both.
"""

from __future__ import annotations

from typing import Any

import msgspec

from adapters.gemini_client.response import usage_metadata
from adapters.replay.form import Assembled, Form, Json, cut, encode, grow, grown, guessed_input, guessed_output, read
from adapters.types import Usage
from adapters.values import UNREADABLE

_WORDS = frozenset(("text", "thought"))
_KEPT_FIELDS = _WORDS | {"thoughtSignature", "inlineData"}
"""What a part may hold: words, thoughts and pictures. Whatever else there is asks for an act, or tells of one."""
_FAILED = frozenset(
    (
        "FINISH_REASON_UNSPECIFIED",
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "MISSING_THOUGHT_SIGNATURE",
        "OTHER",
        "TOO_MANY_TOOL_CALLS",
        "UNEXPECTED_TOOL_CALL",
    )
)
"""Ends that say the model stumbled: asked again, it may well answer."""
_LISTED = ("citationMetadata", "logprobsResult")
"""Told piece by piece, in lists."""
_NOTHING = {"text": ""}
_CANDIDATES = 64

_decode_piece = msgspec.json.Decoder(Json).decode
_decode_pieces = msgspec.json.Decoder(list[Json]).decode


class _Grown:
    """One candidate under way."""

    __slots__ = ("content", "parts", "rest")

    def __init__(self) -> None:
        self.rest: Json = {}
        self.content: Json = {}
        self.parts: list[Json] = []

    def take(self, told: Json) -> None:
        """Adds what a piece tells of it. Raises MsgspecError."""
        content = msgspec.convert(told.pop("content", None) or {}, Json)
        parts = msgspec.convert(content.pop("parts", None) or [], list[Json])
        self.content.update(content)
        for name in _LISTED:
            if name in told:
                _lengthen(self.rest.setdefault(name, {}), msgspec.convert(told.pop(name) or {}, Json))
        self.rest.update((name, value) for name, value in told.items() if value is not None)
        if parts and self._continues(parts[0]):
            grow(self.parts[-1], {"text": parts.pop(0)["text"]})
        # Streams end with an empty text, which a whole answer does not have.
        self.parts += parts if parts != [_NOTHING] or not self.parts else []

    def _continues(self, part: Json) -> bool:
        """Whether a piece's first part goes on with the words that the last piece ended with."""
        last = self.parts[-1] if self.parts else None
        if last is None or last.keys() - _WORDS or part.keys() - _WORDS:
            return False
        return isinstance(part.get("text"), str) and "text" in last and part.get("thought") == last.get("thought")

    def told(self) -> Json:
        """The candidate, whole."""
        index = {"index": self.rest.pop("index")} if "index" in self.rest else {}
        return {"content": {"parts": grown(self.parts), **self.content}, **self.rest, **index}


def _lengthen(into: Json, piece: Json) -> None:
    for name, value in piece.items():
        before = into.get(name)
        if isinstance(before, list) and isinstance(value, list):
            before.extend(value)
        else:
            into[name] = value


class GenerateForm:
    """See `adapters.replay.form.Form`. `array`: streams are one JSON array instead of server-sent events."""

    def __init__(self, *, array: bool = False) -> None:
        self._array = array

    def whole(self, stream: bytes, request: bytes, usage: Usage | None) -> Assembled | None:
        """The answer that the pieces tell."""
        try:
            pieces = _decode_pieces(stream) if self._array else [_decode_piece(data) for _, data in cut(stream)]
            return _whole(pieces, request, usage)
        except UNREADABLE:
            return None

    def keeps(self, body: bytes) -> bool:
        """Whether all its candidates have ended, and none acts."""
        answer = read(body)
        return answer is not None and _kept(answer)

    def events(self, body: bytes, request: bytes) -> bytes:
        """The answer as a stream of one piece."""
        if self._array:
            return b"[%b]" % body
        # Google's answers have line ends in them, and an event's data is one line.
        return b"data: %b\r\n\r\n" % msgspec.json.format(body, indent=-1)


def _whole(pieces: list[Json], request: bytes, usage: Usage | None) -> Assembled | None:
    top: Json = {}
    under_way: dict[int, _Grown] = {}
    for piece in pieces:
        if piece.get("error") is not None:
            return None
        for told in msgspec.convert(piece.pop("candidates", None) or [], list[Json]):
            index = told.get("index", 0)
            if not isinstance(index, int) or not 0 <= index < _CANDIDATES:
                return None
            under_way.setdefault(index, _Grown()).take(told)
        top.update((name, value) for name, value in piece.items() if value is not None)
    answer: Json = {"candidates": [one.told() for _, one in sorted(under_way.items())], **top}
    if not _kept(answer):
        return None
    estimated = "usageMetadata" not in answer and usage is None
    if "usageMetadata" not in answer:
        answer["usageMetadata"] = _guessed(request, answer["candidates"]) if usage is None else usage_metadata(usage)
    return Assembled(encode(answer), estimated)


def _kept(answer: Json) -> bool:
    candidates = answer.get("candidates")
    if answer.get("error") is not None or not isinstance(candidates, list) or not candidates:
        return False
    return all(isinstance(each, dict) and _is_said(each) for each in candidates)


def _is_said(candidate: Json) -> bool:
    """Whether a candidate has ended well, and says words only."""
    reason = candidate.get("finishReason")
    content: Any = candidate.get("content") or {}
    if not isinstance(reason, str) or reason in _FAILED or not isinstance(content, dict):
        return False
    parts: Any = content.get("parts") or []
    return isinstance(parts, list) and all(isinstance(part, dict) and not part.keys() - _KEPT_FIELDS for part in parts)


def _guessed(request: bytes, candidates: list[Json]) -> Json:
    parts = [part for candidate in candidates for part in candidate["content"]["parts"]]
    sent, said = guessed_input(request), guessed_output("".join([str(part.get("text") or "") for part in parts]))
    return {"promptTokenCount": sent, "candidatesTokenCount": said, "totalTokenCount": sent + said}


FORM: Form = GenerateForm()
ARRAY: Form = GenerateForm(array=True)
