"""Contents and their parts → chat messages.

A user's content becomes the answers to tool calls first, then one message with the rest in its order. Contents of the
model that follow one another are one message: SDKs keep each event of a stream as a content of its own. Text and data
move as the JSON they came in. Calls without an id get one by their place; results find their call by id, else by name.
"""

from __future__ import annotations

import binascii
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import Raw

from adapters.errors import InvalidRequest
from adapters.gemini.wire import SIGNED
from adapters.gemini_client import signatures
from adapters.gemini_client.wire import (
    Assistant,
    Blob,
    Block,
    Called,
    ChatMessage,
    Content,
    FunctionCall,
    Link,
    Part,
    Result,
    Shown,
    Text,
    ToolCall,
    ToolText,
)
from adapters.known import Belongs, read_known, shape_of
from adapters.packing import SAID, read_head
from adapters.reading import Dropped, missing, read, string, under
from adapters.reasoning import details_of
from adapters.values import ABSENT, BLANK_LINE, BRACE, NULL, QUOTE, first, joined

_encode = msgspec.json.Encoder().encode
_str = msgspec.json.Decoder(str).decode
_contents = msgspec.json.Decoder(list[Content] | Content | str).decode
_content = msgspec.json.Decoder(Content | str).decode
_object = msgspec.json.Decoder(dict[str, Raw]).decode

_CONTENT = shape_of(Content)

_PARTS = "contents[].parts[]"
_ASKED = Belongs(Part, {"": "", **{name: name for name in ("text", "inlineData", "fileData", "functionResponse")}})
_TOLD = Belongs(
    Part,
    {
        "": "thought thoughtSignature",
        "text": "text thought thoughtSignature",
        **{name: f"{name} thoughtSignature" for name in ("functionCall", "executableCode", "codeExecutionResult")},
    },
)
"""The fields of a user's parts and of a model's, by the data in them; none is what has no place there."""

_EMPTY = Raw(b'""')
_NULL = Raw(b"null")
_LINE = b"\\n"
_WENT_WELL = (None, "OUTCOME_OK", "OUTCOME_UNSPECIFIED")
_FINE, _FAILED = Raw(b'"```\\n"'), Raw(b'"Error:\\n```\\n"')
"""What stands before the output of code."""
_SOUNDS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mp3": "mp3", "audio/mpeg": "mp3"}
_NAME = "contents[].parts[].inlineData.displayName"
_ANSWERS = ("output", "result", "error")
"""Keys under which a result that is one text stands."""


class Messages:
    """Contents read one after the other. `made` are the chat messages."""

    __slots__ = ("_calls", "_said", "_waiting", "dropped", "made")

    def __init__(self, dropped: Dropped) -> None:
        self.dropped = dropped
        self.made: list[ChatMessage] = []
        self._said: _Said | None = None
        """What the model says, until somebody else does."""
        self._calls = 0
        self._waiting: list[tuple[str, str]] = []
        """Id and name of the calls that wait for their results."""

    def add_all(self, value: Raw) -> None:
        """Adds `contents`. Raises InvalidRequest with the path below it."""
        contents = read_known(_contents, value, _CONTENT, self.dropped, "contents")
        for at, content in enumerate(contents if isinstance(contents, list) else [contents]):
            given = Content([Part(Raw(_encode(content)))]) if isinstance(content, str) else content
            role = given.role or "user"
            add = _ROLES.get(role)
            if add is None:
                raise InvalidRequest(f"`{role[:40]}` is not a role.", f"[{at}].role")
            for number, part in enumerate(given.parts or ()):
                if first(part.text) == NULL:
                    part.text = ABSENT
                elif first(part.text) != QUOTE:
                    raise InvalidRequest("Expected `str`.", f"[{at}].parts[{number}].text")
            try:
                add(self, given.parts or [])
            except InvalidRequest as error:
                raise under(f"[{at}].parts", error) from error
        self._close()

    def _close(self) -> None:
        said, self._said = self._said, None
        if said is not None:
            self.made.append(said.message())

    def _user(self, parts: list[Part]) -> None:
        self._close()
        made: list[Any] = []
        for at, part in enumerate(parts):
            try:
                if part.function_response is not None:
                    _ASKED.heed(part, "functionResponse", self.dropped, _PARTS)
                    self.made.append(self._result(part.function_response))
                else:
                    made += self._shown(part)
            except InvalidRequest as error:
                raise under(f"[{at}]", error) from error
        if len(made) == 1 and made[0]["type"] == "text":
            # Many compatible providers take text as a string only.
            self.made.append(Text("user", made[0]["text"]))
        elif made or not parts:
            self.made.append(Text("user", made or _EMPTY))

    def _shown(self, part: Part) -> Iterator[dict[str, Any]]:
        kind = ""
        if part.text:
            kind = "text"
            yield {"type": "text", "text": part.text}
        elif part.inline_data is not None:
            kind = "inlineData"
            yield inline(part.inline_data, self.dropped)
        elif part.file_data is not None:
            kind = "fileData"
            yield linked(part.file_data, self.dropped)
        elif part.function_call is not None:
            raise InvalidRequest("Function calls belong in contents of the model.", "functionCall")
        _ASKED.heed(part, kind, self.dropped, _PARTS)

    def _result(self, result: Result) -> ToolText:
        if not result.name and not result.id:
            raise missing("name", "functionResponse.name")
        content, failed = _told(result.response)
        shown = [each for part in result.parts or () for each in _pictures(part, self.dropped)]
        made = ToolText(self._answered(result), [{"type": "text", "text": content}, *shown] if shown else content)
        if failed and self.dropped.blocks:
            made.is_error = True
        elif failed:
            # OpenAI has no flag for it, and the model must not take a failure for a result.
            made.content = joined([Raw(b'"Error: "'), content])
        if shown and not self.dropped.blocks:
            self.dropped.add("contents[].parts[].functionResponse.parts")
            made.content = content
        return made

    def _answered(self, result: Result) -> str:
        """The id of the call that this answers: the one it names, else the first of that name that waits."""
        for number, (id, name) in enumerate(self._waiting):
            if id == result.id or (not result.id and name == result.name):
                del self._waiting[number]
                return id
        if result.id:
            return result.id
        raise InvalidRequest("No function of this name was called before.", "functionResponse.name")

    def _model(self, parts: list[Part]) -> None:
        if self._said is None:
            self._said = _Said(self.dropped)
        said = self._said
        for at, part in enumerate(parts):
            if part.function_call is not None:
                said.sign(part)
                _TOLD.heed(part, "functionCall", self.dropped, _PARTS)
                said.calls.append(self._call(part, part.function_call, f"[{at}]"))
            else:
                said.add(part)

    def _call(self, part: Part, called: Called, path: str) -> ToolCall:
        if not called.name:
            raise missing("name", f"{path}.functionCall.name")
        if first(called.args) not in (BRACE, NULL):
            raise InvalidRequest("Expected `object`.", f"{path}.functionCall.args")
        id = called.id or f"call_{self._calls}_{called.name[:40]}"
        self._calls += 1
        self._waiting.append((id, called.name))
        arguments = str(called.args, "utf-8") if first(called.args) == BRACE else "{}"
        function = FunctionCall(self.dropped.tool(called.name), arguments)
        if part.thought_signature and self.dropped.blocks:
            function.thought_signature = signatures.read(part.thought_signature)[1]
        return ToolCall(id, function)


class _Said:
    """One message of the model under way."""

    __slots__ = (
        "_blocks", "_called", "_details", "_dropped", "_texts", "_thoughts", "_told", "_unsigned", "_whole", "calls",
    )  # fmt: skip

    def __init__(self, dropped: Dropped) -> None:
        self._dropped = dropped
        self._texts: list[Raw] = []
        self._thoughts: list[Raw] = []
        self._details: list[dict[str, Any]] = []
        self._blocks: list[Block | Raw] = []
        self._told = 0
        """How many of the blocks have had their thoughts put among them."""
        self._unsigned: list[Raw] = []
        self._whole = False
        """Whether what the model thought came packed in some signature, and the texts only show it again."""
        self.calls: list[ToolCall] = []
        self._called = 0
        """How many of the calls stand before the last text."""

    def add(self, part: Part) -> None:
        if part.thought:
            # What other makers' models thought comes whole with a signature, if they sign it.
            _TOLD.heed(part, "text", self._dropped, _PARTS)
            self._thought(part)
            return
        self.sign(part)
        kind = ""
        if part.text:
            kind = "text"
            if part.text != _EMPTY:
                if self._called != len(self.calls):
                    self._called = len(self.calls)
                    self._texts += [BLANK_LINE] if self._texts else []
                self._texts.append(part.text)
                self._blocks.append(Block("text", text=part.text))
        elif part.executable_code is not None and first(part.executable_code.code) == QUOTE:
            kind = "executableCode"
            self._texts.append(joined([Raw(b'"```python\\n"'), part.executable_code.code, Raw(b'"\\n```\\n"')]))
        elif part.code_execution_result is not None and first(part.code_execution_result.output) == QUOTE:
            kind = "codeExecutionResult"
            head = _FINE if part.code_execution_result.outcome in _WENT_WELL else _FAILED
            self._texts.append(joined([head, part.code_execution_result.output, Raw(b'"\\n```\\n"')]))
        _TOLD.heed(part, kind, self._dropped, _PARTS)

    def _thought(self, part: Part) -> None:
        if not part.text and not (part.thought_signature and part.inline_data is None):
            # A sketch on the way to a picture, or code that was tried.
            self._dropped.add("contents[].parts[].thought")
        if self._dropped.thoughts:
            self._thoughts += [part.text] if part.text else []
            if part.thought_signature:
                self.sign(part)
        elif not self._dropped.blocks:
            self._dropped.add("contents[].parts[].thought")
        elif part.thought_signature:
            signature = self._unpack(part.thought_signature)
            if signature:
                self._blocks.append(Block("thinking", thinking=part.text or _EMPTY, signature=SIGNED + signature))
        elif part.text:
            self._unsigned.append(part.text)

    def _unpack(self, signature: str) -> str:
        """Takes the blocks packed in a part's signature; returns what of it is Google's own."""
        blocks, own = signatures.read(signature)
        if blocks:
            self._whole = True
            self._blocks[self._told :] = _placed(blocks, self._blocks[self._told :])
            self._told = len(self._blocks)
        return own

    def sign(self, part: Part) -> None:
        """Takes what comes in the signature of a part: before the part, as it was when the model said it."""
        if not part.thought_signature:
            return
        details = details_of(signatures.read(part.thought_signature)[0]) if self._dropped.details else []
        self._details += details
        if details:
            return
        if not self._dropped.blocks:
            self._dropped.add("contents[].parts[].thoughtSignature")
            return
        signature = self._unpack(part.thought_signature)
        if signature and part.function_call is None:
            thought = joined(self._unsigned) if self._unsigned else _EMPTY
            self._unsigned = []
            self._blocks.append(Block("thinking", thinking=thought, signature=SIGNED + signature))

    def message(self) -> Assistant:
        nothing = _NULL if self.calls else _EMPTY
        made = Assistant(joined(self._texts) if self._texts else nothing, self.calls or None)
        thought = self._dropped.thought(self._thoughts, bool(self.calls))
        if self._details:
            made.reasoning_details = self._details
        elif thought:
            setattr(made, self._dropped.thoughts, thought)
        if self._unsigned and not self._whole:
            self._blocks.insert(0, Block("thinking", thinking=joined(self._unsigned)))
        thoughtful = any(isinstance(each, Raw) or each.type != "text" for each in self._blocks)
        if self._dropped.blocks and thoughtful:
            made.content_blocks = _collected(self._blocks)
        return made


def _placed(packed: list[Raw], said: list[Block | Raw]) -> list[Block | Raw]:
    """What came packed among what was `said` before it, as it stood when the model said it. What is said may have been
    put together otherwise since: `SAID` counts its characters."""
    heads = [read_head(each) for each in packed]
    lengths = [head.length for head in heads if head.type == SAID]
    if not lengths:
        return [*said, *packed]
    rest = _Rest(said)
    made = rest.take(rest.length - sum(lengths))
    for head, each in zip(heads, packed, strict=True):
        made += rest.take(head.length) if head.type == SAID else [each]
    return [*made, *rest.blocks]


class _Rest:
    """Blocks that are taken by the characters of their texts."""

    __slots__ = ("blocks", "length")

    def __init__(self, blocks: list[Block | Raw]) -> None:
        self.blocks = deque(blocks)
        self.length = sum(len(read(_str, each.text)) for each in blocks if isinstance(each, Block) and each.text)

    def take(self, length: int) -> list[Block | Raw]:
        """The blocks of the next so many characters; one that holds more is cut in two."""
        taken: list[Block | Raw] = []
        while length > 0 and self.blocks:
            block = self.blocks.popleft()
            if isinstance(block, Block) and block.text:
                text = _str(block.text)
                if len(text) > length:
                    self.blocks.appendleft(Block("text", text=Raw(_encode(text[length:]))))
                    block, text = Block("text", text=Raw(_encode(text[:length]))), text[:length]
                length -= len(text)
            taken.append(block)
        return taken


def _collected(blocks: list[Block | Raw]) -> list[Block | Raw]:
    """The blocks, with texts that follow one another as one."""
    made: list[Block | Raw] = []
    texts: list[Raw] = []
    for block in blocks:
        if isinstance(block, Block) and block.text:
            texts.append(block.text)
            continue
        if texts:
            made.append(Block("text", text=joined(texts)))
            texts = []
        made.append(block)
    return [*made, Block("text", text=joined(texts))] if texts else made


_ROLES: dict[str, Callable[[Messages, list[Part]], None]] = {
    "user": Messages._user,
    "function": Messages._user,
    "tool": Messages._user,
    "model": Messages._model,
}


def system_text(value: Raw, dropped: Dropped) -> Raw:
    """A system instruction as one JSON string; its parts are joined by line ends."""
    content = read_known(_content, value, _CONTENT, dropped, "systemInstruction")
    if isinstance(content, str):
        return value
    texts = []
    for at, part in enumerate(content.parts or ()):
        texts.append(string(part.text, f"parts[{at}].text"))
        _ASKED.heed(part, "text", dropped, "systemInstruction.parts[]")
    return joined(texts, _LINE) if texts else _EMPTY


def inline(blob: Blob, dropped: Dropped) -> dict[str, Any]:
    """The content part for inline data."""
    data = string(blob.data, "inlineData.data")
    sound = _SOUNDS.get(blob.mime_type)
    if blob.display_name and (sound is not None or blob.mime_type.startswith("image/")):
        dropped.add(_NAME)
    if sound is not None:
        standard = Raw(b'"%b' % _standard(data))
        return {"type": "input_audio", "input_audio": {"data": standard, "format": sound}}
    if blob.mime_type.startswith("text/") and not dropped.blocks:
        return _prose(blob, data)
    url = Raw(b"".join((b'"data:', _encode(blob.mime_type)[1:-1], b";base64,", _standard(data))))
    if blob.mime_type.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": url}}
    file: dict[str, Any] = {"file_data": url}
    # OpenAI wants a name.
    name = blob.display_name or (None if dropped.blocks else _name(blob.mime_type))
    if name:
        file = {"filename": name, "file_data": url}
    return {"type": "file", "file": file}


def _prose(blob: Blob, data: Raw) -> dict[str, Any]:
    """A text that came as data, which OpenAI takes as no file but as what it says, under its name if it has one."""
    try:
        encoded = _standard(data)[:-1]
        text = binascii.a2b_base64(encoded + b"=" * (-len(encoded) % 4)).decode()
    except ValueError as error:
        raise InvalidRequest("The text is not base64 of UTF-8.", "inlineData.data") from error
    return {"type": "text", "text": Raw(_encode(f"{blob.display_name}\n{text}" if blob.display_name else text))}


def linked(blob: Link, dropped: Dropped) -> dict[str, Any]:
    """The content part for a file's address."""
    url = string(blob.file_uri, "fileData.fileUri")
    if blob.mime_type.startswith("image/"):
        if blob.display_name:
            dropped.add(_NAME)
        return {"type": "image_url", "image_url": {"url": url}}
    file: dict[str, Any] = {"file_url": url}
    if blob.mime_type:
        file["mime_type"] = blob.mime_type
    if blob.display_name:
        file["filename"] = blob.display_name
    return {"type": "file", "file": file}


def _standard(data: Raw) -> bytes:
    """Google's SDKs write base64 with `-` and `_`; nobody else reads it. Without the opening quote."""
    return bytes(data)[1:].replace(b"-", b"+").replace(b"_", b"/")


def _name(media: str) -> str:
    return f"document.{media.rpartition('/')[2] or 'bin'}" if media.isascii() else "document.bin"


def _pictures(shown: Shown, dropped: Dropped) -> Iterator[dict[str, Any]]:
    if shown.inline_data is not None:
        yield inline(shown.inline_data, dropped)
    if shown.file_data is not None:
        yield linked(shown.file_data, dropped)


def _told(response: Raw) -> tuple[Raw, bool]:
    """The text of a result, and whether it tells of a failure."""
    if first(response) == NULL:
        return _EMPTY, False
    if first(response) != BRACE:
        raise InvalidRequest("Expected `object`.", "functionResponse.response")
    fields = read(_object, response)
    if len(fields) == 1:
        name, value = next(iter(fields.items()))
        if name in _ANSWERS:
            text = value if first(value) == QUOTE else Raw(_encode(str(value, "utf-8")))
            return text, name == "error"
    return Raw(_encode(str(response, "utf-8"))), False
