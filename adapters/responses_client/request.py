"""Responses request → chat request, field by field.

What a chat has no word for is named in `Outbound.dropped`. What would change the meaning of the request is refused:
above all whatever needs a response that a provider stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from adapters.errors import InvalidRequest
from adapters.reading import Dropped, member, missing, read, read_all, string
from adapters.responses_client.items import Conversation
from adapters.responses_client.tools import Tools
from adapters.responses_client.words import WORDS
from adapters.types import Call, Outbound
from adapters.values import ABSENT, BRACE, NULL, QUOTE, first

_encode = msgspec.json.Encoder().encode
_bool = msgspec.json.Decoder(bool).decode
_int = msgspec.json.Decoder(int).decode
_float = msgspec.json.Decoder(float).decode
_str = msgspec.json.Decoder(str).decode
_strings = msgspec.json.Decoder(list[str]).decode
_object = msgspec.json.Decoder(dict[str, Raw]).decode

LOGPROBS = "message.output_text.logprobs"
ENCRYPTED = "reasoning.encrypted_content"
_SUMMARIES = ("summary", "generate_summary")
_AUTO = Raw(b'"auto"')
_OBFUSCATION = frozenset(("include_obfuscation",))
_TYPE = frozenset(("type",))
_OURS = frozenset((ENCRYPTED,))
"""What `include` may ask for that is there anyway."""


class _Request:
    """One translation under way."""

    __slots__ = ("conversation", "dropped", "instructions", "out", "tools")

    def __init__(self, call: Call) -> None:
        self.out: dict[str, Any] = {"model": call.model, "messages": []}
        self.dropped = Dropped(call.blocks, call.thoughts, call.details)
        self.conversation = Conversation(self.dropped)
        self.tools = Tools(self.dropped)
        self.instructions = ABSENT

    def outbound(self, stream: bool) -> Outbound:
        messages = self.conversation.messages
        if len(self.instructions) > len(b'""'):
            messages.insert(0, {"role": "system", "content": self.instructions})
        if not messages:
            raise InvalidRequest("The request needs `input`.", "input", "missing_required_parameter")
        self.out["messages"] = messages
        self.tools.settle(self.out)
        if stream:
            self.out["stream"] = True
            self.out["stream_options"] = {"include_usage": True}
        return Outbound(_encode(self.out), dropped=self.dropped.names(), words=(WORDS,), plain=self.dropped.plain)


def to_chat(call: Call) -> Outbound:
    """Builds the chat request for `call.model`. Raises InvalidRequest with the path of the field at fault."""
    request = _Request(call)
    read_all(request, call.body, _FIELDS)
    return request.outbound(call.stream)


def _nothing(request: _Request, value: Raw) -> None:
    """`model` and `stream` are told by the call."""


def _stream_options(request: _Request, value: Raw) -> None:
    # What is known of these only hides the lengths of OpenAI's own events.
    request.dropped.strangers(read(_object, value), _OBFUSCATION, "stream_options")


def _input(request: _Request, value: Raw) -> None:
    request.conversation.add_all(value)


def _instructions(request: _Request, value: Raw) -> None:
    if first(value) != QUOTE:
        raise InvalidRequest("Expected `str`.")
    request.instructions = value


def _same(decode: Callable[[Raw], Any], name: str) -> Callable[[_Request, Raw], None]:
    """A field that a chat has too, under `name`, as the JSON it came in."""

    def put(request: _Request, value: Raw) -> None:
        read(decode, value)
        request.out[name] = value

    return put


def _top_logprobs(request: _Request, value: Raw) -> None:
    if read(_int, value):
        request.out["top_logprobs"] = value
        request.out["logprobs"] = True


def _reasoning(request: _Request, value: Raw) -> None:
    for name, field in read(_object, value).items():
        if first(field) == NULL or (name in _SUMMARIES and field == _AUTO):
            # Summaries are told whenever the model shows its thinking. How long they are, nobody else can be asked.
            continue
        if name == "effort":
            request.out["reasoning_effort"] = string(field, name)
        else:
            request.dropped.add(f"reasoning.{name}")


def _text(request: _Request, value: Raw) -> None:
    fields = read(_object, value)
    for name, field in fields.items():
        if first(field) == NULL or name == "format":
            continue
        if name == "verbosity":
            request.out["verbosity"] = string(field, name)
        else:
            request.dropped.add(f"text.{name}")
    form = member(_object, fields, "format")
    if form is not None:
        _format(request, form)


def _format(request: _Request, form: Mapping[str, Raw]) -> None:
    kind = member(_str, form, "type")
    if kind in ("text", "json_object"):
        request.dropped.strangers(form, _TYPE, "text.format")
        if kind == "json_object":
            request.out["response_format"] = {"type": kind}
    elif kind == "json_schema":
        if first(form.get("schema", ABSENT)) != BRACE:
            raise missing("schema", "format.schema")
        schema = {name: field for name, field in form.items() if name != "type" and first(field) != NULL}
        request.out["response_format"] = {"type": "json_schema", "json_schema": schema}
    else:
        raise InvalidRequest(f"There is no text format `{(kind or '')[:40]}`.", "format.type")


def _include(request: _Request, value: Raw) -> None:
    for each in read(_strings, value):
        if each == LOGPROBS:
            request.out["logprobs"] = True
        elif each not in _OURS:
            request.dropped.add(f"include[].{each}")


def _parallel(request: _Request, value: Raw) -> None:
    if not read(_bool, value):
        # True is the default, and some hosts know no such field.
        request.out["parallel_tool_calls"] = value


def _tools(request: _Request, value: Raw) -> None:
    request.tools.read(value)


def _tool_choice(request: _Request, value: Raw) -> None:
    request.tools.choose(value)


def _stored(request: _Request, value: Raw) -> None:
    raise InvalidRequest(
        "This model's provider stores no responses: send the whole conversation as `input` instead.",
        code="unsupported_parameter",
    )


def _background(request: _Request, value: Raw) -> None:
    if read(_bool, value):
        raise InvalidRequest("This model's provider runs nothing in the background.", code="unsupported_parameter")


def _unless(harmless: tuple[bytes, ...], name: str) -> Callable[[_Request, Raw], None]:
    """A field that cannot survive, and need not where its value asks for nothing."""

    def drop(request: _Request, value: Raw) -> None:
        if bytes(value) not in harmless:
            request.dropped.add(name)

    return drop


_FIELDS: Mapping[str, Callable[[_Request, Raw], None]] = {
    "model": _nothing,
    "stream": _nothing,
    "stream_options": _stream_options,
    "input": _input,
    "instructions": _instructions,
    "max_output_tokens": _same(_int, "max_completion_tokens"),
    "temperature": _same(_float, "temperature"),
    "top_p": _same(_float, "top_p"),
    "top_logprobs": _top_logprobs,
    "presence_penalty": _same(_float, "presence_penalty"),
    "frequency_penalty": _same(_float, "frequency_penalty"),
    "reasoning": _reasoning,
    "text": _text,
    "include": _include,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "parallel_tool_calls": _parallel,
    "service_tier": _same(_str, "service_tier"),
    "prompt_cache_key": _same(_str, "prompt_cache_key"),
    "prompt_cache_retention": _same(_str, "prompt_cache_retention"),
    "safety_identifier": _same(_str, "safety_identifier"),
    "user": _same(_str, "user"),
    "previous_response_id": _stored,
    "conversation": _stored,
    "prompt": _stored,
    "background": _background,
    "store": _unless((b"false",), "store"),
    "truncation": _unless((b'"disabled"',), "truncation"),
    "metadata": _unless((b"{}",), "metadata"),
}
"""What is done with each field that is not null; all others are dropped by name."""
