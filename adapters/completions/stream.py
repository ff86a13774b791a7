"""Chat completion chunks → text completion chunks."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from adapters.completions.response import said_text
from adapters.completions.wire import Wanted
from adapters.pivot import ChatStream, Choice, Head, Said
from adapters.types import Call
from adapters.values import ABSENT, UNREADABLE

_encode = msgspec.json.Encoder().encode
_wanted = msgspec.json.Decoder(Wanted).decode

_NO_TEXT = ("reasoning_content", "reasoning", "tool_calls", "function_call")
_PATHS = {name: f"choices[].delta.{name}" for name in _NO_TEXT}
_NOTHING = (None, ABSENT, Raw(b"null"), Raw(b'""'))
_HEAD = b'data: {"id":%b,"object":"text_completion","created":%d,"model":%b,"choices":['
_REST = b',"index":%d,"logprobs":null,"finish_reason":%b}]}\n\n'
_GOES_ON = _REST % (0, b"null")


class CompletionStream(ChatStream):
    """One streamed answer; see `adapters.types.StreamDecoder`."""

    __slots__ = ("_head", "_wants_usage")

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._head = b""
        self._wants_usage = _wants_usage(call.body)

    def _begin(self, head: Head, out: list[bytes]) -> None:
        self._head = _HEAD % (
            _encode(head.id or f"cmpl-{self.call.id}"),
            self.call.created if head.created is None else head.created,
            _encode(head.model or self.call.model),
        )

    def _add(self, choice: Choice, out: list[bytes]) -> None:
        text = said_text(choice.delta)
        if choice.finish_reason is None and len(text) == len(b'""'):
            if choice.delta is not None:
                self._miss(choice.delta)
            return
        plain = choice.index == 0 and choice.finish_reason is None
        rest = _GOES_ON if plain else _REST % (choice.index, _encode(choice.finish_reason))
        out += (self._head, b'{"text":', text, rest)

    def _miss(self, delta: Said) -> None:
        """Names what is said that is no text."""
        for name in _NO_TEXT:
            if getattr(delta, name) not in _NOTHING and _PATHS[name] not in self.unsaid:
                self._leave(_PATHS[name])

    def _finish(self, out: list[bytes]) -> None:
        if self._wants_usage and self.raw_usage:
            # Within an event of ours a line end of the provider's JSON would end the line.
            usage = msgspec.json.format(bytes(self.raw_usage), indent=-1)
            out += (self._head, b'],"usage":', usage, b"}\n\n")
        out.append(b"data: [DONE]\n\n")


def _wants_usage(body: bytes) -> bool:
    try:
        options = _wanted(body).stream_options
    except UNREADABLE:
        # The request was translated from this body, so this is a value of another type, which asks for nothing.
        return False
    return options is not None and bool(options.include_usage)
