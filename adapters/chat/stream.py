"""Chunks of a streamed chat answer, for machines over any provider's events.

What stands around a delta is built once, when the answer begins: a word of text then costs one encode of it, or none.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from adapters.chat.wire import NULL, TIERS, OutUsage, Wish, told
from adapters.framing.machine import Machine
from adapters.types import Call, Usage, bodiless
from adapters.unsaid import Looks, client_of

_encode = msgspec.json.Encoder().encode


class Chunks(Machine):
    """The half of a stream machine that writes chunks; see `adapters.types.StreamDecoder` for the whole."""

    __slots__ = (
        "_blocks", "_call", "_head", "_include_usage", "_legacy", "_looks", "_tail", "_text_head", "_text_tail",
    )  # fmt: skip

    provider: ClassVar[bytes]
    """The name of who answers."""
    answers: ClassVar[Looks] = Looks({})
    """What clients are told of its events."""

    def __init__(self, call: Call, wish: Wish) -> None:
        super().__init__()
        self._call = bodiless(call)
        self._looks = self.answers.by(client_of(call))
        self._blocks = call.shows_blocks
        options = wish.stream_options
        self._include_usage = options is not None and bool(options.include_usage)
        self._legacy = wish.functions != NULL
        self._head = b""
        """What every chunk begins with, up to its list of choices; empty until the answer begins."""
        self._tail = b',"finish_reason":null}]%b}\n\n' % (b',"usage":null' if self._include_usage else b"")
        self._text_tail = b"}" + self._tail

    def _name(self, id: str | None, model: str | None) -> None:
        """Begins the answer, with the provider's own words for its id and model if it has any."""
        call = self._call
        self._head = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,%b"choices":[' % (
            _encode(id or f"chatcmpl-{call.id}"),
            call.created,
            _encode(model or call.model),
            b"" if call.strict else b'"provider":"%b",' % self.provider,
        )
        self._text_head = self._head + b'{"index":0,"delta":{"content":'

    def _told(self, usage: Usage, own: bool) -> OutUsage:
        """The usage object; the provider's `own` words may be among it."""
        return told(usage, own)

    def _tell_finish(self, finish: str, out: list[bytes], index: int = 0) -> None:
        """The last chunk of a choice. Without the chunk of their own the counts stand in it, unless that is strict."""
        usage = b""
        if self._include_usage:
            usage = b',"usage":null'
        elif not self._call.strict:
            counted = self.usage
            if counted is not None:
                usage = b',"usage":%b%b' % (_encode(self._told(counted, True)), _served(counted))
        last = b'%b{"index":%d,"delta":{},"finish_reason":%b}]%b}\n\n'
        out.append(last % (self._head, index, _encode(finish), usage))

    def _tell_end(self, out: list[bytes]) -> None:
        """The usage where the client wants it, and the end."""
        counted = self.usage if self._include_usage else None
        if counted is not None:
            told = _encode(self._told(counted, self._blocks))
            out.append(b'%b],"usage":%b%b}\n\n' % (self._head, told, _served(counted)))
        out.append(b"data: [DONE]\n\n")
        self._end()


def _served(usage: Usage) -> bytes:
    """The field that names the tier that served the answer, where it is not the usual one."""
    tier = "" if usage.tier is None else TIERS.get(usage.tier, "")
    return b',"service_tier":"%b"' % tier.encode() if tier else b""


class Tool:
    """A tool call under way. `number` counts the client's tool calls; None marks the tool that is the answer."""

    __slots__ = ("bare", "number")

    def __init__(self, number: int | None) -> None:
        self.number = number
        self.bare = True


class OneChoice(Chunks):
    """The same where there is one choice, whose tool calls come in fragments. `_answer_tool` is the name of the tool
    whose input is the answer."""

    __slots__ = ("_answer_tool", "_answered", "_calls", "_tools")

    def __init__(self, call: Call, wish: Wish, answer_tool: str | None = None) -> None:
        super().__init__(call, wish)
        self._answer_tool = answer_tool
        self._answered = False
        self._calls = 0
        self._tools: dict[int, Tool] = {}

    def _tell_role(self, out: list[bytes]) -> None:
        self._send(b'{"role":"assistant","content":""}', out)

    def _send(self, delta: bytes, out: list[bytes]) -> None:
        out.append(b'%b{"index":0,"delta":%b%b' % (self._head, delta, self._tail))

    def _extend(self, index: int, delta: bytes, out: list[bytes]) -> None:
        """What a delta adds to a block."""
        self._send(b'{"content_blocks":[{"index":%d,"delta":%b}]}' % (index, delta), out)

    def _begin_call(self, index: int, id: str, name: str, out: list[bytes]) -> Tool:
        """A tool call of the provider's, by its index there."""
        if name == self._answer_tool:
            self._answered = True
            tool = self._tools[index] = Tool(None)
            return tool
        tool = self._tools[index] = Tool(self._calls)
        self._calls += 1
        function = b'{"name":%b,"arguments":""}' % _encode(name)
        if not self._legacy:
            call = b'{"tool_calls":[{"index":%d,"id":%b,"type":"function","function":%b}]}'
            self._send(call % (tool.number, _encode(id), function), out)
        elif tool.number == 0:
            self._send(b'{"function_call":%b}' % function, out)
        return tool

    def _argue(self, tool: Tool, fragment: str, out: list[bytes]) -> None:
        if not fragment:
            return
        tool.bare = False
        text = _encode(fragment)
        if tool.number is None:
            out += (self._text_head, text, self._text_tail)
        elif not self._legacy:
            self._send(b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (tool.number, text), out)
        elif tool.number == 0:
            self._send(b'{"function_call":{"arguments":%b}}' % text, out)

    def _end_call(self, index: int, out: list[bytes]) -> None:
        tool = self._tools.pop(index, None)
        if tool is not None and tool.bare:
            # A call without arguments: no fragments came, and an empty string is not JSON to the client.
            self._argue(tool, "{}", out)
