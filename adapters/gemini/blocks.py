"""Gemini's parts as `content_blocks`: what OpenAI's shape cannot say, in the words that this gateway's clients know.

Thoughts are `thinking` blocks. A thought signature belongs to the part it came with. A call keeps its own; that of any
other part is here the signature of a `thinking` block right before it, with a mark that says whose it is, so that
clients of any dialect that carries thinking carry it back. Parts without a word in any other dialect are `gemini_part`
blocks, whole.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from adapters.chat.wire import EMPTY_STRING
from adapters.gemini.wire import SIGNED, AnswerPart
from adapters.values import joined, on_one_line

_encode = msgspec.json.Encoder().encode

Piece = tuple[str, bytes]
"""A delta of blocks: what kind of block it belongs to (`""`: always one of its own), and its fields without braces."""


def pieces(part: AnswerPart, raw: Raw | None) -> list[Piece]:
    """What one part adds to the blocks. `raw` is the part as it came, for those that cross whole."""
    found: list[Piece] = []
    if part.text:
        if part.thought:
            if part.text != EMPTY_STRING:
                found.append(("thinking", b'"thinking":%b' % part.text))
            _sign(part, found)
        else:
            _sign(part, found)
            if part.text != EMPTY_STRING:
                found.append(("text", b'"text":%b' % part.text))
    elif part.function_call is not None:
        # Calls keep their signature themselves.
        pass
    elif part.inline_data is not None:
        _sign(part, found)
        url = f"data:{part.inline_data.mime_type};base64,{part.inline_data.data}"
        kind = b"image_url" if part.inline_data.mime_type.startswith("image/") else b"file"
        inner = b'{"url":%b}' if kind == b"image_url" else b'{"file_data":%b}'
        found.append(("", b'"type":"%b","%b":%b' % (kind, kind, inner % _encode(url))))
    elif raw is not None:
        found.append(("", b'"type":"gemini_part","part":%b' % on_one_line(raw)))
    return found


def _sign(part: AnswerPart, found: list[Piece]) -> None:
    if part.thought_signature:
        found.append(("signature", b'"signature":%b' % _encode(SIGNED + part.thought_signature)))


_OPENINGS = {"thinking": b'{"type":"thinking","thinking":""}', "text": b'{"type":"text","text":""}'}
_DELTA = b'{"index":%d,"delta":%b}'


class Blocks:
    """Numbers blocks and says which deltas open a new one: a kind that goes on, goes on in the same block."""

    __slots__ = ("_index", "_kind")

    def __init__(self) -> None:
        self._index = -1
        self._kind = ""

    def deltas(self, part: AnswerPart, raw: Raw | None) -> list[bytes]:
        """The `content_blocks` deltas for the next part."""
        out: list[bytes] = []
        for kind, fields in pieces(part, raw):
            # A thought is closed by its signature; one that was never shown has a block for its signature alone.
            wanted = "thinking" if kind == "signature" else kind
            if not wanted or wanted != self._kind:
                self._index += 1
                if wanted:
                    out.append(_DELTA % (self._index, _OPENINGS[wanted]))
            self._kind = "" if kind == "signature" else wanted
            out.append(_DELTA % (self._index, b"{%b}" % fields))
        return out


class _Delta(msgspec.Struct, gc=False):
    index: int
    delta: dict[str, Raw]


_delta = msgspec.json.Decoder(_Delta).decode
_GROWING = ("text", "thinking")


def folded(deltas: list[bytes]) -> list[dict[str, Raw]]:
    """The whole blocks that these deltas come to."""
    made: list[dict[str, Raw]] = []
    grown: dict[tuple[int, str], list[Raw]] = {}
    for each in map(_delta, deltas):
        if each.index == len(made):
            made.append({})
        made[each.index].update(each.delta)
        for name in _GROWING:
            if name in each.delta:
                grown.setdefault((each.index, name), []).append(each.delta[name])
    for (index, name), texts in grown.items():
        made[index][name] = joined(texts)
    return made
