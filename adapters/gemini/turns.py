"""Chat messages → Gemini's system instruction and contents.

System and developer messages become parts of the system instruction, in order, wherever they stood. Neighbours of one
role become one content: Gemini wants the results of parallel calls together.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from adapters.chat import turns
from adapters.chat.parts import refused_as_well, said_otherwise
from adapters.chat.request import input_of
from adapters.chat.turns import Messages, no_content
from adapters.chat.wire import EMPTY_STRING, FunctionCall
from adapters.errors import InvalidRequest
from adapters.gemini.models import Traits
from adapters.gemini.parts import Made, Parts
from adapters.gemini.wire import (
    UNSIGNED,
    Message,
    ToolCall,
    Turn,
)
from adapters.reading import Dropped
from adapters.values import BRACKET, NULL, QUOTE, first, joined

_LINE = b"\\n"


class Conversation(turns.Conversation[Message]):
    """What a list of chat messages comes to."""

    __slots__ = ("_named", "_names", "_traits", "system", "turns")

    def __init__(self, traits: Traits, dropped: Dropped, named: bool = False) -> None:
        self.dropped = dropped
        self.system: list[Made] = []
        self.turns: list[Turn] = []
        self._traits = traits
        self._named = named
        self._names: dict[str, str] = {}
        """Which function each call's id means: Gemini's results go by the function's name."""
        self._function_id = None

    def contents(self) -> list[Turn]:
        """The turns, of which there is one at least: Gemini answers no system instruction alone."""
        if not self.turns:
            self.turns.append(Turn("user", [{"text": ""}]))
        return self.turns

    def _add(self, role: str, parts: list[Made]) -> None:
        if not parts and self._named:
            # Vertex AI refuses an empty text, which Gemini's own API takes: who says nothing has no turn there.
            return
        made = parts or [{"text": ""}]
        last = self.turns[-1] if self.turns else None
        if last is not None and last.role == role:
            last.parts += made
        else:
            self.turns.append(Turn(role, made))

    def _content(self, message: Message, index: int) -> Parts:
        parts = Parts(self.dropped, self._named)
        content = message.content
        kind = first(content)
        if kind == QUOTE:
            parts.add_text(content)
        elif kind == BRACKET:
            parts.add_all(content, f"messages[{index}].content")
        elif kind != NULL:
            raise InvalidRequest("Expected a string or a list of content parts.", f"messages[{index}].content")
        return parts

    def _system(self, message: Message, index: int) -> None:
        if first(message.content) == NULL:
            raise no_content(message, index)
        self.system += self._content(message, index).made

    def _user(self, message: Message, index: int) -> None:
        if first(message.content) == NULL:
            raise no_content(message, index)
        self._add("user", self._content(message, index).made)

    def _assistant(self, message: Message, index: int) -> None:
        if message.audio and first(message.audio) != NULL:
            self.dropped.add("messages[].audio")
        parts = self._said(message, index)
        called = self._called(message, message.tool_calls or (), index)
        if called is not None:
            made = self._call(called, f"messages[{index}].function_call")
            self._sign(made, called.thought_signature, parts, first=True)
            parts.made.append(made)
        for number, call in enumerate(message.tool_calls or ()):
            self._tool_call(call, number, parts, f"messages[{index}].tool_calls[{number}]")
        parts.close()
        self._add("model", parts.made)

    def _said(self, message: Message, index: int) -> Parts:
        if first(message.content_blocks) == NULL:
            parts = self._content(message, index)
        else:
            parts = Parts(self.dropped, self._named)
            parts.add_all(message.content_blocks, f"messages[{index}].content_blocks")
            if not parts.texts:
                # The blocks of an answer hold its text too; a client that kept only the thinking sends it in `content`.
                waiting, parts.pending = parts.pending, []
                parts.made += self._content(message, index).made
                parts.pending = waiting
            else:
                said_otherwise(message, self.dropped)
        refusal = refused_as_well(message)
        if refusal:
            parts.add_text(refusal)
        return parts

    def _tool_call(self, call: ToolCall, number: int, parts: Parts, path: str) -> None:
        self._names[call.id] = call.function.name
        if first(call.cache_control) != NULL:
            self.dropped.add("cache_control")
        made = self._call(call.function, f"{path}.function")
        if call.id:
            made["functionCall"]["id"] = call.id
        self._sign(made, call.signature, parts, first=number == 0)
        parts.made.append(made)

    def _sign(self, made: dict[str, Any], signature: str | None, parts: Parts, *, first: bool) -> None:
        """Gives a call its signature: its own, or that of the thought before it."""
        if signature and signature in parts.pending:
            parts.pending.remove(signature)
        elif not signature and parts.pending:
            signature = parts.pending.pop(0)
        if not signature and first and self._traits.signed:
            signature = UNSIGNED
        if signature:
            made["thoughtSignature"] = signature

    def _call(self, function: FunctionCall, path: str) -> dict[str, Any]:
        return {"functionCall": {"name": function.name, "args": input_of(function.arguments, path)}}

    def _result(self, call_id: str, message: Message, index: int) -> None:
        name = self._names.get(call_id) or message.name
        if message.name not in (None, name):
            self.dropped.add("messages[].name")
        if name is None:
            path = f"messages[{index}].tool_call_id"
            raise InvalidRequest(f"No tool call before this message has the id `{call_id[:80]}`.", path)
        self._respond({"id": call_id, "name": name}, message, index)

    def _function(self, message: Message, index: int) -> None:
        name = message.name or (self._function_name if self._function_id is not None else None)
        if name is None:
            raise InvalidRequest("No function was called before this result.", f"messages[{index}].role")
        self._respond({"name": name}, message, index)

    def _respond(self, response: dict[str, Any], message: Message, index: int) -> None:
        parts = self._content(message, index).made
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


MESSAGES = Messages(Message, Conversation, named=("function", "tool"))
