"""Codecs made of nothing or of two others: the same dialect on both sides, and translation by way of the pivot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from adapters import peek, places
from adapters.chat.response import wishes
from adapters.errors import InvalidRequest, UpstreamError
from adapters.types import Call, Codec, Dialect, Outbound, Reply, StreamDecoder, Usage, in_words, next_number

ErrorReader = Callable[[int, Mapping[str, str], bytes], UpstreamError]
"""Reads a non-2xx answer of one dialect: its status, headers and body. Never raises."""

_NO_NAMES: Mapping[bytes, bytes] = MappingProxyType({})
_WITH_USAGE: dict[str, object] = {"stream_options": {"include_usage": True}}


class Identity:
    """The same dialect on both sides: every byte passes. Only errors are read, by the dialect's own reader."""

    identity = True

    def __init__(self, read_error: ErrorReader) -> None:
        self._read_error = read_error

    def request(self, call: Call) -> Outbound:
        """The body as it is."""
        return Outbound(call.body)

    def response(self, call: Call, body: bytes) -> Reply:
        """The body as it is. Usage is not looked for: `adapters.observe` does that where somebody wants it."""
        return Reply(body)

    def stream(self, call: Call) -> StreamDecoder:
        """A machine that gives what it takes."""
        return Verbatim()

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """What the dialect's reader says."""
        return self._read_error(status, headers, body)


class Verbatim:
    """Gives what it takes. It cannot know where an answer ends, so `error` is never set; `adapters.observe.Tap` can."""

    __slots__ = ("error", "unsaid", "usage")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.error: UpstreamError | None = None
        self.unsaid: tuple[str, ...] = ()

    def feed(self, data: bytes) -> bytes:
        """The same bytes."""
        return data

    def close(self) -> bytes:
        """Nothing is held."""
        return b""


class Chain:
    """Client dialect → pivot → upstream dialect. `first` speaks the pivot upstream, `second` takes it from clients.

    The chat request between them is what `first` makes of the call. A streamed one always asks for usage, for `first`
    or the gateway's accounts may need it; whether the client sees it is for `first` to say. The call's `strict` holds
    in the middle where the client speaks OpenAI, whose finish reasons then are as it asked; other clients' codecs know
    OpenAI's words alone, so for them the middle is strict. It carries `content_blocks` either way, there (`first` sees
    a call with `blocks`) and back, but for text completions, which have no place for them. Header lines are the second
    codec's: it knows the upstream. What that one cannot say is named as the client knows it. Of the chat request the
    answer needs what `Wish` reads, and nothing else is kept for it.
    """

    identity = False

    def __init__(self, first: Codec, second: Codec) -> None:
        self._first = first
        self._second = second

    def request(self, call: Call) -> Outbound:
        """Raises InvalidRequest from either half, with the client's own path."""
        middle, first = self._between(call)
        try:
            outbound = self._second.request(middle)
        except InvalidRequest as error:
            raise places.in_client(error, call, first, lambda other: self._between(other)[1]) from error
        dropped = first.dropped + in_words(first.words, outbound.dropped) if outbound.dropped else first.dropped
        kept = msgspec.structs.replace(middle, body=wishes(middle.body), middle=outbound.middle)
        return Outbound(outbound.body, outbound.headers, tuple(dict.fromkeys(dropped)), middle=kept)

    def response(self, call: Call, body: bytes) -> Reply:
        """Raises BadAnswer when `body` is not of the upstream dialect."""
        inner = self._second.response(call.middle or self._between(call)[0], body)
        outer = self._first.response(call, inner.body)
        return Reply(outer.body, outer.usage if inner.usage is None else inner.usage)

    def stream(self, call: Call) -> StreamDecoder:
        """One machine behind the other."""
        return Piped(self._first.stream(call), self._second.stream(call.middle or self._between(call)[0]))

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Read by the codec that knows the upstream dialect."""
        return self._second.error(status, headers, body)

    def _between(self, call: Call) -> tuple[Call, Outbound]:
        """The call that the second codec sees, and what the first one made of the client's."""
        blocks = call.dialect is not Dialect.OPENAI_COMPLETIONS
        outbound = self._first.request(msgspec.structs.replace(call, blocks=blocks))
        body = peek.with_params(outbound.body, _WITH_USAGE) if call.stream else outbound.body
        strict = call.strict or call.dialect.family != "openai"
        middle = msgspec.structs.replace(
            call,
            dialect=Dialect.OPENAI_CHAT,
            body=body,
            strict=strict,
            blocks=blocks,
            origin=call.dialect,
            names=_NO_NAMES if outbound.plain else None,
        )
        return middle, outbound


class Piped:
    """Feeds the second codec's chunks to the first one's machine. See `adapters.types.StreamDecoder`.

    An error upstream leaves the first machine open: what came before is still given, and nothing after it makes the
    answer look complete. Usage is the upstream's own count where it gave one.
    """

    __slots__ = ("_first", "_second", "error", "usage")

    def __init__(self, first: StreamDecoder, second: StreamDecoder) -> None:
        self._first = first
        self._second = second
        self.usage: Usage | None = None
        self.error: UpstreamError | None = None

    @property
    def unsaid(self) -> tuple[str, ...]:
        """What the second codec's table says: the first one's machine reads what the second one wrote."""
        return self._second.unsaid

    @property
    def sequence(self) -> int:
        """The number of the client's next event, where its events have numbers."""
        return next_number(self._first)

    def feed(self, data: bytes) -> bytes:
        """Takes the upstream's bytes, gives the client's."""
        if self.error is not None:
            return b""
        middle = self._second.feed(data)
        out = self._first.feed(middle) if middle else b""
        self._look()
        return out

    def close(self) -> bytes:
        """The rest of both, the upstream side first. The first machine is closed only when the second ended well."""
        if self.error is not None:
            return b""
        out = self._first.feed(self._second.close())
        if self._second.error is None:
            out += self._first.close()
        self._look()
        return out

    def _look(self) -> None:
        first, second = self._first, self._second
        self.usage = first.usage if second.usage is None else second.usage
        self.error = first.error if second.error is None else second.error
