"""Walking the messages of a chat request, for codecs that turn each into something of their dialect's.

A dialect names the fields that matter to it in a subclass of `wire.Message`, has a subclass of `Conversation` with a
method for each role, and brings them together in one `Messages`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import GenericAlias
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from msgspec import Raw

from adapters.chat.wire import NULL, FunctionCall, Message
from adapters.errors import InvalidRequest
from adapters.known import Belongs, Reader
from adapters.reading import Dropped

_M = TypeVar("_M", bound=Message)
_C = TypeVar("_C", bound="Conversation")  # type: ignore[type-arg]


_ANYONES = "role content name cache_control"
_SAID = f"{_ANYONES} content_blocks audio annotations refusal tool_calls function_call"
BELONGS = {
    **dict.fromkeys(("system", "developer", "user", "function"), _ANYONES),
    "assistant": _SAID,
    "tool": f"{_ANYONES} tool_call_id is_error",
}
"""The fields of each role's messages."""


class _Call(Protocol):
    @property
    def function(self) -> FunctionCall | None:
        """What a tool call calls, if that is a function."""


class Conversation(Generic[_M]):
    """What a list of chat messages comes to in another dialect. A message of each role goes to a method for it."""

    __slots__ = ("_function_id", "_function_name", "dropped")

    dropped: Dropped
    _function_id: str | None
    """The id that the last `function_call` was given, which came without one."""
    _function_name: str
    """The name of its function."""

    def _system(self, message: _M, index: int) -> None:
        """Adds what the system or the developer says."""
        raise NotImplementedError

    def _user(self, message: _M, index: int) -> None:
        """Adds what the user says."""
        raise NotImplementedError

    def _assistant(self, message: _M, index: int) -> None:
        """Adds what the assistant said and called."""
        raise NotImplementedError

    def _tool(self, message: _M, index: int) -> None:
        if not message.tool_call_id:
            raise InvalidRequest("A tool message needs `tool_call_id`.", f"messages[{index}].tool_call_id")
        self._result(message.tool_call_id, message, index)

    def _function(self, message: _M, index: int) -> None:
        if self._function_id is None:
            raise InvalidRequest("No function was called before this result.", f"messages[{index}].role")
        if message.name not in (None, self._function_name):
            self.dropped.add("messages[].name")
        self._result(self._function_id, message, index)

    def _called(self, message: _M, calls: Sequence[_Call], index: int) -> FunctionCall | None:
        """The call of a message that was before there were tools; None where it has none, or has `calls` as well: then
        it is one of them in the other form, or it is named."""
        called = message.function_call
        if called is None:
            return None
        if calls:
            if all(call.function != called for call in calls):
                self.dropped.add("messages[].function_call")
            return None
        self._function_id, self._function_name = f"call_{index}", called.name
        return called

    def _result(self, call_id: str, message: _M, index: int) -> None:
        """Adds what a tool or function gave back."""
        raise NotImplementedError


class Messages(Generic[_C, _M]):
    """How a dialect reads a chat's messages."""

    __slots__ = ("_belongs", "_cached", "_named", "_read", "_roles")

    def __init__(
        self,
        kind: type[_M],
        conversation: type[_C],
        named: tuple[str, ...] = ("function",),
        cached: bool = False,
    ) -> None:
        """`kind` are the messages, `conversation` what they come to. `named` are the roles whose `name` is read;
        `cached` says that marks of caching are. Elsewhere they are dropped by name."""
        decode: Callable[[Raw], list[_M]] = msgspec.json.Decoder(GenericAlias(list, kind)).decode
        self._read = Reader(decode, kind).read
        self._roles: Mapping[str, Callable[[_C, _M, int], None]] = {
            "system": conversation._system,
            "developer": conversation._system,
            "user": conversation._user,
            "assistant": conversation._assistant,
            "tool": conversation._tool,
            "function": conversation._function,
        }
        self._belongs = Belongs(kind, BELONGS)
        self._named = named
        self._cached = cached

    def tell(self, raw: Raw, conversation: _C) -> _C:
        """Hands each message of a JSON array to its role's method; returns the conversation. Raises InvalidRequest with
        the path of the field at fault."""
        dropped, roles, unread = conversation.dropped, self._roles, not self._cached
        heed = self._belongs.heed
        messages = self._read(raw, dropped, "messages")
        called: set[tuple[str | None, str]] | None = None
        for index, message in enumerate(messages):
            try:
                add = roles[message.role]
            except KeyError:
                path = f"messages[{index}].role"
                raise InvalidRequest(f"There is no role `{message.role[:40]}`.", path) from None
            add(conversation, message, index)
            heed(message, message.role, dropped, "messages[]")
            named = message.name
            if named and message.role not in self._named:
                called = named_calls(messages) if called is None else called
                if (message.tool_call_id, named) not in called:
                    dropped.add("messages[].name")
            if unread and message.cache_control != NULL:
                dropped.add("cache_control")
        return conversation


def named_calls(messages: Iterable[Any]) -> set[tuple[str | None, str]]:
    """The calls of some messages, by id and by what they call: a result that has that for its own name says nothing
    new."""
    calls = (call for message in messages for call in message.tool_calls or ())
    return {(call.id, call.function.name) for call in calls if call.function is not None}


def no_content(message: Message, index: int) -> InvalidRequest:
    """The error for a message that has no content and must have some."""
    return InvalidRequest(f"A {message.role} message needs `content`.", f"messages[{index}].content")
