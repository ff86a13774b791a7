"""Chat messages → Gemini's system instruction and contents.

System and developer messages become parts of the system instruction, in order, wherever they stood. Neighbours of one
role become one content: Gemini wants the results of parallel calls together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from adapters.chat.request import input_of, messages_of
from adapters.chat.wire import EMPTY_STRING
from adapters.errors import InvalidRequest
from adapters.gemini.models import Traits
from adapters.gemini.parts import Made, Parts
from adapters.gemini.wire import (
    UNSIGNED,
    FunctionCall,
    LenientMessage,
    Message,
    ToolCall,
    Turn,
)
from adapters.pivot import BRACKET, NULL, QUOTE, first, joined
from adapters.reading import Dropped

_decode_messages = msgspec.json.Decoder(list[Message]).decode
_decode_lenient: Callable[[Raw], list[Message]] = msgspec.json.Decoder(list[LenientMessage]).decode  # type: ignore[assignment]

_KNOWN = frozenset(Message.__struct_fields__)
_LINE = b"\\n"


class Conversation:
    """What a list of chat messages comes to."""

    __slots__ = ("_function", "_named", "_names", "_traits", "dropped", "system", "turns")

    def __init__(self, traits: Traits, dropped: Dropped, named: bool = False) -> None:
        self.system: list[Made] = []
        self.turns: list[Turn] = []
        self.dropped = dropped
        self._traits = traits
        self._named = named
        self._names: dict[str, str] = {}
        """Which function each call's id means: Gemini's results go by the function's name."""
        self._function: str | None = None

    def add_all(self, raw: Raw) -> None:
        """Adds a JSON array of chat messages. Raises InvalidRequest with the path of the field at fault."""
        for index, message in enumerate(messages_of(raw, self.dropped, _decode_messages, _decode_lenient, _KNOWN)):
            add = _ROLES.get(message.role)
            if add is None:
                raise InvalidRequest(f"There is no role `{message.role[:40]}`.", f"messages[{index}].role")
            add(self, message, f"messages[{index}]")
            if message.name is not None and message.role not in ("function", "tool"):
                self.dropped.add("messages[].name")
            if first(message.cache_control) != NULL:
                self.dropped.add("cache_control")
        if not self.turns:
            # Gemini answers no system instruction alone.
            self._add("user", [])

    def _add(self, role: str, parts: list[Made]) -> None:
        made = parts or [{"text": ""}]
        last = self.turns[-1] if self.turns else None
        if last is not None and last.role == role:
            last.parts += made
        else:
            self.turns.append(Turn(role, made))

    def _content(self, message: Message, path: str) -> Parts:
        parts = Parts(self.dropped, self._named)
        content = message.content
        kind = first(content)
        if kind == QUOTE:
            parts.add_text(content)
        elif kind == BRACKET:
            parts.add_all(content, f"{path}.content")
        elif kind != NULL:
            raise InvalidRequest("Expected a string or a list of content parts.", f"{path}.content")
        return parts

    def _system(self, message: Message, path: str) -> None:
        _need_content(message, path)
        self.system += self._content(message, path).made

    def _user(self, message: Message, path: str) -> None:
        _need_content(message, path)
        self._add("user", self._content(message, path).made)

    def _assistant(self, message: Message, path: str) -> None:
        if message.audio and first(message.audio) != NULL:
            self.dropped.add("messages[].audio")
        parts = self._said(message, path)
        if message.function_call is not None:
            self._function = message.function_call.name
            parts.made.append(self._call(message.function_call, f"{path}.function_call"))
        for number, call in enumerate(message.tool_calls or ()):
            self._tool_call(call, number, parts, f"{path}.tool_calls[{number}]")
        parts.close()
        self._add("model", parts.made)

    def _said(self, message: Message, path: str) -> Parts:
        if first(message.content_blocks) != BRACKET:
            parts = self._content(message, path)
        else:
            parts = Parts(self.dropped, self._named)
            parts.add_all(message.content_blocks, f"{path}.content_blocks")
            if not parts.texts:
                # The blocks of an answer hold its text too; a client that kept only the thinking sends it in `content`.
                waiting, parts.pending = parts.pending, []
                parts.made += self._content(message, path).made
                parts.pending = waiting
        if not parts.texts and first(message.refusal) == QUOTE:
            parts.add_text(message.refusal)
        return parts

    def _tool_call(self, call: ToolCall, number: int, parts: Parts, path: str) -> None:
        self._names[call.id] = call.function.name
        if first(call.cache_control) != NULL:
            self.dropped.add("cache_control")
        made = self._call(call.function, f"{path}.function")
        if call.id:
            made["functionCall"]["id"] = call.id
        signature = call.signature
        if signature and signature in parts.pending:
            parts.pending.remove(signature)
        elif not signature and parts.pending:
            signature = parts.pending.pop(0)
        if not signature and number == 0 and self._traits.signed:
            signature = UNSIGNED
        if signature:
            made["thoughtSignature"] = signature
        parts.made.append(made)

    def _call(self, function: FunctionCall, path: str) -> dict[str, Any]:
        return {"functionCall": {"name": function.name, "args": input_of(function.arguments, path)}}

    def _tool(self, message: Message, path: str) -> None:
        if not message.tool_call_id:
            raise InvalidRequest("A tool message needs `tool_call_id`.", f"{path}.tool_call_id")
        name = self._names.get(message.tool_call_id) or message.name
        if name is None:
            raise InvalidRequest(
                f"No tool call before this message has the id `{message.tool_call_id[:80]}`.", f"{path}.tool_call_id"
            )
        self._result({"id": message.tool_call_id, "name": name}, message, path)

    def _of_function(self, message: Message, path: str) -> None:
        name = message.name or self._function
        if name is None:
            raise InvalidRequest("No function was called before this result.", f"{path}.role")
        self._result({"name": name}, message, path)

    def _result(self, response: dict[str, Any], message: Message, path: str) -> None:
        parts = self._content(message, path).made
        texts = [part["text"] for part in parts if isinstance(part, dict) and "text" in part]
        shown = [part for part in parts if isinstance(part, Raw) or "text" not in part]
        told = joined(texts, _LINE) if texts else EMPTY_STRING
        response["response"] = {"error" if message.is_error else "output": told}
        made: list[Made] = [{"functionResponse": response}]
        if shown and self._traits.shown_results:
            response["parts"] = shown
        elif shown:
            # With several results in a turn the model could not tell whose image it sees.
            made.append({"text": f"Content of the result of {response['name']}:"})
            made += shown
        self._add("user", made)


_ROLES: dict[str, Callable[[Conversation, Message, str], None]] = {
    "system": Conversation._system,
    "developer": Conversation._system,
    "user": Conversation._user,
    "assistant": Conversation._assistant,
    "tool": Conversation._tool,
    "function": Conversation._of_function,
}


def _need_content(message: Message, path: str) -> None:
    if first(message.content) == NULL:
        raise InvalidRequest(f"A {message.role} message needs `content`.", f"{path}.content")
