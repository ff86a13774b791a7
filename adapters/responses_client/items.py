"""Input items → chat messages.

Reasoning, words and tool calls that follow one another are one assistant message. Text and image data move as the JSON
they came in. A function's output may hold images and files: where the upstream follows OpenAI's rules strictly, those
come right after the results, as a message of the user.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from msgspec import Raw, Struct, field

from adapters.errors import InvalidRequest
from adapters.known import Belongs, Reader
from adapters.packing import CALL_SIGNATURE, read_head, unpack
from adapters.reading import Dropped, missing, read, string, under
from adapters.reasoning import details_of
from adapters.responses_client.parts import CONTENT, OUTPUT, SUMMARY, Message, parts_of, plain, texts_of
from adapters.values import ABSENT, BRACKET, NULL, QUOTE, first, joined

_encode = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(dict[str, Raw]).decode

_EMPTY = Raw(b'""')
_NULL = Raw(b"null")
_LINE = b"\\n"
_DIRECT = {"type": Raw(b'"direct"')}
_NOTHING = Raw(b"[]")


class Item(Struct, forbid_unknown_fields=True, gc=False):
    """Any input item: the union of the fields that some type of item has."""

    type: str | None = None
    role: str = ""
    content: Raw = ABSENT
    call_id: str = ""
    name: str = ""
    arguments: Raw = ABSENT
    input: Raw = ABSENT
    output: Raw = ABSENT
    encrypted_content: str | None = None
    summary: Raw = ABSENT
    id: str | None = None
    phase: Raw = ABSENT
    namespace: str | None = None
    caller: Raw = ABSENT
    status: Raw = ABSENT
    asynchronous: bool | None = field(default=None, name="async")


class Conversation:
    """Chat messages in the making.

    While the assistant's is (`_open`), `_texts`, `_calls`, `_thoughts` and `_details` are what it has so far. `_blocks`
    are its content blocks, a plain text being its JSON string; `_foreign` says that `content` has no place for some.
    `_named` are all calls so far by id and name, which say what an output's own name says.
    """

    __slots__ = (
        "_blocks",
        "_calls",
        "_details",
        "_foreign",
        "_named",
        "_open",
        "_shown",
        "_signatures",
        "_texts",
        "_thoughts",
        "dropped",
        "messages",
    )

    def __init__(self, dropped: Dropped) -> None:
        self.dropped = dropped
        self.messages: list[Message] = []
        self._open = self._foreign = False
        self._texts: list[Raw] = []
        self._calls: list[Message] = []
        self._thoughts: list[Raw] = []
        self._details: list[Message] = []
        self._named: set[tuple[str, str]] = set()
        self._blocks: list[Raw] = []
        self._shown: list[Message] = []
        self._signatures: dict[str, str] = {}

    def add_all(self, value: Raw) -> None:
        """Adds the request's `input`. Raises InvalidRequest with the path below it."""
        if first(value) == QUOTE:
            self.messages.append({"role": "user", "content": value})
            return
        if first(value) != BRACKET:
            raise InvalidRequest("Expected a string or a list of items.")
        items = _READER.read(value, self.dropped, name="input")
        for at, item in enumerate(items):
            if item.type is None:
                # Both a message and a reference may leave it out.
                item.type = "item_reference" if item.id and not item.role else "message"
            add = _ITEMS.get(item.type)
            try:
                if add is None:
                    self._foreign_item(item)
                else:
                    add(self, item)
            except InvalidRequest as error:
                raise under(f"[{at}]", error) from error
        _BELONGS.heed_all(items, self.dropped, "input")
        if self._open:
            self._close_assistant()
        if self._shown:
            self._show()

    def _foreign_item(self, item: Item) -> None:
        # Calls that ran on OpenAI's servers, and what only those can read.
        self.dropped.add(f"input[].{item.type}")

    def _reference(self, item: Item) -> None:
        if (item.id or "").startswith("rs_"):
            # A thought that stays behind leaves the conversation whole; its signature is missed where one is due.
            self.dropped.add("input[].item_reference")
            return
        raise InvalidRequest(
            "This model's provider stores no responses: send the items themselves instead of references, as clients do"
            " when `store` is false.",
            "type",
        )

    def _message(self, item: Item) -> None:
        role = _ROLES.get(item.role)
        if role is None:
            raise InvalidRequest(f"`{item.role[:40]}` is not a role.", "role")
        content: Raw | list[Message] = item.content
        kind = first(item.content)
        if kind == BRACKET:
            try:
                content = parts_of(item.content, self.dropped, CONTENT)
            except InvalidRequest as error:
                raise under("content", error) from error
        elif kind != QUOTE:
            raise InvalidRequest("Expected a string or a list of content parts.", "content")
        if item.phase:
            self.dropped.phase(item.phase, "input[].phase")
        if role == "assistant":
            self._said(content)
            return
        if self._open:
            self._close_assistant()
        if self._shown:
            self._show()
        self.messages.append({"role": role, "content": plain(content)})

    def _said(self, content: Raw | list[Message]) -> None:
        if not self._open:
            self._open_assistant()
        if isinstance(content, Raw):
            self._texts.append(content)
            self._blocks.append(content)
            return
        for at, made in enumerate(content):
            if made["type"] != "text":
                raise InvalidRequest("Expected a part of what an assistant says.", f"content[{at}].type")
            self._texts.append(made["text"])
            if len(made) > len(("type", "text")):
                self._blocks.append(Raw(_encode(made)))
                self._foreign = True
            else:
                self._blocks.append(made["text"])

    def _reasoning(self, item: Item) -> None:
        packed = unpack(item.encrypted_content) if item.encrypted_content else None
        if self.dropped.thoughts:
            if not self._open:
                self._open_assistant()
            # A summary says nothing that the thought itself does not say.
            thought = texts_of(item.content, self.dropped, CONTENT) or texts_of(item.summary, self.dropped, SUMMARY)
            self._thoughts += thought
            details = details_of(packed or ()) if self.dropped.details else []
            self._details += details
            if item.encrypted_content and not details and (packed is None or any(map(_is_sealed, packed))):
                self.dropped.add("input[].encrypted_content")
            return
        if packed is None or not self.dropped.blocks:
            if item.encrypted_content:
                # Another maker's, or one that this upstream has no place for.
                self.dropped.add("input[].encrypted_content")
            for name, told in (("content", item.content), ("summary", item.summary)):
                if first(told) != NULL and told != _NOTHING:
                    self.dropped.add(f"input[].{name}")
            return
        if not self._open:
            self._open_assistant()
        for block in packed:
            head = read_head(block)
            if head.type == CALL_SIGNATURE:
                self._signatures[head.call_id] = head.signature
            else:
                self._blocks.append(block)
                self._foreign = True

    def _call(self, item: Item) -> None:
        self._add_call(item, string(item.arguments, "arguments"))

    def _custom_call(self, item: Item) -> None:
        arguments = b'{"input":%b}' % string(item.input, "input")
        self._add_call(item, Raw(_encode(arguments.decode())))

    def _add_call(self, item: Item, arguments: Raw) -> None:
        if not item.call_id or not item.name:
            raise missing("name" if item.call_id else "call_id")
        if item.namespace:
            self.dropped.add("input[].namespace")
        if item.asynchronous:
            self.dropped.add("input[].async")
        if item.caller:
            self._called(item)
        function = {
            "name": self.dropped.tool(item.name),
            "arguments": _EMPTY_OBJECT if arguments == _EMPTY else arguments,
        }
        if not self._open:
            self._open_assistant()
        self._calls.append({"id": item.call_id, "type": "function", "function": function})
        self._named.add((item.call_id, item.name))

    def _called(self, item: Item) -> None:
        """Names who called, where that was no model but a program that only OpenAI's servers run."""
        if first(item.caller) != NULL and read(_object, item.caller, "caller") != _DIRECT:
            self.dropped.add("input[].caller")

    def _output(self, item: Item) -> None:
        if not item.call_id:
            raise missing("call_id")
        if item.caller:
            self._called(item)
        if self._open:
            self._close_assistant()
        if item.name and (item.call_id, item.name) not in self._named:
            self.dropped.add("input[].name")
        message: Message = {"role": "tool", "tool_call_id": item.call_id}
        try:
            content = self._told(item.output)
        except InvalidRequest as error:
            raise under("output", error) from error
        if isinstance(content, list) and not self.dropped.blocks:
            texts = [part["text"] for part in content if part["type"] == "text"]
            others = [part for part in content if part["type"] != "text"]
            content = joined(texts, _LINE)
            if others:
                # With several results in a turn the model could not tell whose image it sees.
                self._shown += [{"type": "text", "text": f"Content of tool result {item.call_id}:"}, *others]
        message["content"] = content
        self.messages.append(message)

    def _told(self, output: Raw) -> Raw | list[Message]:
        kind = first(output)
        if kind in (QUOTE, NULL):
            return output if kind == QUOTE else _EMPTY
        return plain(parts_of(output, self.dropped, OUTPUT))

    def _open_assistant(self) -> None:
        if self._shown:
            self._show()
        self._open = True

    def _close_assistant(self) -> None:
        texts, calls = self._texts, self._calls
        message: Message = {"role": "assistant", "content": joined(texts, _LINE) if texts else _NULL}
        if calls:
            if self._signatures:
                self._sign(calls)
            message["tool_calls"] = calls
        if self._details:
            message["reasoning_details"] = self._details
        elif self.dropped.thoughts:
            thought = self.dropped.thought(self._thoughts, bool(calls))
            if thought:
                message[self.dropped.thoughts] = thought
        if self._foreign:
            message["content_blocks"] = [
                Raw(b'{"type":"text","text":%b}' % each) if first(each) == QUOTE else each for each in self._blocks
            ]
        if texts or calls or self._foreign:
            self.messages.append(message)
        self._open = self._foreign = False
        self._texts, self._calls, self._thoughts, self._details, self._blocks = [], [], [], [], []

    def _sign(self, calls: list[Message]) -> None:
        for call in calls:
            if call["id"] in self._signatures:
                call["function"]["thought_signature"] = self._signatures[call["id"]]

    def _show(self) -> None:
        self.messages.append({"role": "user", "content": self._shown})
        self._shown = []


def _is_sealed(block: Raw) -> bool:
    """Whether a block that came back packed says more than the text of a thought."""
    head = read_head(block)
    return head.type != "thinking" or bool(head.signature)


_EMPTY_OBJECT = Raw(b'"{}"')
_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}

_LABELS = "type id status"
"""Labels of stored items, which no model is shown: nothing is lost with them, wherever they stand."""
_CALLED = f"{_LABELS} call_id name namespace caller async"
_ANSWERED = f"{_LABELS} call_id output caller name"
_BELONGS = Belongs(
    Item,
    {
        "message": f"{_LABELS} role content phase",
        "reasoning": f"{_LABELS} summary content encrypted_content",
        "function_call": f"{_CALLED} arguments",
        "custom_tool_call": f"{_CALLED} input",
        "function_call_output": _ANSWERED,
        "custom_tool_call_output": _ANSWERED,
        "item_reference": _LABELS,
    },
)

_ITEMS: Mapping[str, Callable[[Conversation, Item], None]] = {
    "message": Conversation._message,
    "reasoning": Conversation._reasoning,
    "function_call": Conversation._call,
    "function_call_output": Conversation._output,
    "custom_tool_call": Conversation._custom_call,
    "custom_tool_call_output": Conversation._output,
    "item_reference": Conversation._reference,
}
"""What is done with each type of item; all others are dropped by name."""


_READER = Reader(msgspec.json.Decoder(list[Item]).decode, Item, _ITEMS)
