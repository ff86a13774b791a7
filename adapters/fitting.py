"""Codecs that make names of tools fit for their upstream, and give clients their own back. See `adapters.tool_names`.

A call in which every name fits goes the same way as without, and its answer is not looked into. Clients' codecs see
each name and say whether any provider takes all of them (`Outbound.plain`); where they do not, a search of the body
finds out, and so it does for clients that speak chat.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from adapters.chat.response import wishes
from adapters.errors import UpstreamError
from adapters.tool_names import Rule
from adapters.types import Call, Codec, Outbound, Reply, StreamDecoder, Usage, next_number

Names = Mapping[bytes, bytes]

_HELD = 8 << 20
"""Bytes of a line that are held until the rest of it comes."""

_NAMED = re.compile(rb'("name"\s*:\s*)"([A-Za-z0-9_.-]+)"')


def own(data: bytes, names: Names) -> bytes:
    """JSON with the client's names of tools for those that were made."""

    def put(found: re.Match[bytes]) -> bytes:
        name = names.get(found[2])
        return found[0] if name is None else found[1] + name

    return _NAMED.sub(put, data)


class Fitted:
    """A codec for chat clients whose upstream is of the given rule. What its answers are read by knows the tools by
    their made names, which the answer in chat has too until it leaves."""

    identity = False

    def __init__(self, codec: Codec, rule: Rule) -> None:
        self._codec = codec
        self._rule = rule

    def request(self, call: Call) -> Outbound:
        """Raises InvalidRequest as the codec does. `Outbound.middle` is what the answer needs where a name was made."""
        fit = None if call.names is not None else self._rule.fit(call.body)
        if fit is None:
            return self._codec.request(call)
        inner = msgspec.structs.replace(call, body=fit.body)
        kept = msgspec.structs.replace(inner, body=wishes(fit.body), names=fit.names)
        return msgspec.structs.replace(self._codec.request(inner), middle=kept)

    def response(self, call: Call, body: bytes) -> Reply:
        """Raises BadAnswer as the codec does."""
        asked = call.middle
        if asked is None or not asked.names:
            return self._codec.response(call, body)
        reply = self._codec.response(asked, body)
        return Reply(own(reply.body, asked.names), reply.usage)

    def stream(self, call: Call) -> StreamDecoder:
        """The codec's machine, or one around it."""
        asked = call.middle
        if asked is None or not asked.names:
            return self._codec.stream(call)
        return Renamed(self._codec.stream(asked), asked.names)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """As the codec reads it."""
        return self._codec.error(status, headers, body)


class FittedChat:
    """A codec to an upstream that speaks chat, of the given rule. Its codec reads answers in which names are the
    client's own already."""

    identity = False

    def __init__(self, codec: Codec, rule: Rule) -> None:
        self._codec = codec
        self._rule = rule

    def request(self, call: Call) -> Outbound:
        """Raises InvalidRequest as the codec does. `Outbound.middle` is what the answer needs where a name was made."""
        outbound = self._codec.request(call)
        fit = None if outbound.plain else self._rule.fit(outbound.body)
        if fit is None:
            return outbound
        return msgspec.structs.replace(
            outbound, body=fit.body, middle=msgspec.structs.replace(call, body=b"", names=fit.names)
        )

    def response(self, call: Call, body: bytes) -> Reply:
        """Raises BadAnswer as the codec does."""
        asked = call.middle
        return self._codec.response(call, body if asked is None or not asked.names else own(body, asked.names))

    def stream(self, call: Call) -> StreamDecoder:
        """The codec's machine, or one before which names are changed."""
        machine, asked = self._codec.stream(call), call.middle
        return machine if asked is None or not asked.names else Renaming(machine, asked.names)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """As the codec reads it."""
        return self._codec.error(status, headers, body)


class Renamed:
    """Gives what a machine gives, with the client's names. Machines give whole events."""

    __slots__ = ("_machine", "_names", "error", "usage")

    def __init__(self, machine: StreamDecoder, names: Names) -> None:
        self._machine = machine
        self._names = names
        self.usage: Usage | None = None
        self.error: UpstreamError | None = None

    @property
    def unsaid(self) -> tuple[str, ...]:
        """The machine's."""
        return self._machine.unsaid

    @property
    def sequence(self) -> int:
        """The number of the client's next event, where its events have numbers."""
        return next_number(self._machine)

    def feed(self, data: bytes) -> bytes:
        """Takes the upstream's bytes, gives the client's."""
        return self._given(self._machine.feed(data))

    def close(self) -> bytes:
        """The rest."""
        return self._given(self._machine.close())

    def _given(self, out: bytes) -> bytes:
        self.usage, self.error = self._machine.usage, self._machine.error
        return own(out, self._names)


class Renaming(Renamed):
    """Gives a machine the lines of a stream with the client's names in them. What it takes may end anywhere, so a line
    waits for its end."""

    __slots__ = ("_held",)

    def __init__(self, machine: StreamDecoder, names: Names) -> None:
        super().__init__(machine, names)
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Takes the upstream's bytes, gives the client's."""
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if not end and len(self._held) < _HELD:
            self._held += data
            return b""
        lines, self._held = self._held + data[:end], data[end:]
        return self._given(self._machine.feed(own(lines, self._names)))

    def close(self) -> bytes:
        """The rest."""
        out = b""
        if self._held:
            lines, self._held = self._held, b""
            out = self._machine.feed(own(lines, self._names))
        return self._given(out + self._machine.close())

    def _given(self, out: bytes) -> bytes:
        self.usage, self.error = self._machine.usage, self._machine.error
        return out
