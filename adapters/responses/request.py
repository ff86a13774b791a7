"""Chat request → Responses request.

The top level of the body is cut into fields without decoding their values, and each known field has its function in
one table. What has no counterpart is named in `Outbound.dropped`: stop sequences, seeds, penalties, `n` and biases are
not in Responses. Values are never clamped.

Nothing is kept at the provider: the request says `store: false`, and asks for what the model thinks in encrypted form,
so that the next turn can bring it back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from adapters import peek
from adapters.anthropic.request import HARMLESS
from adapters.anthropic_client.words import PREFILL
from adapters.chat import fields
from adapters.chat.request import format_of, read_all
from adapters.chat.wire import NULL
from adapters.effort import beside, implied
from adapters.errors import InvalidRequest
from adapters.reading import Dropped, read
from adapters.responses.items import MESSAGES, Conversation
from adapters.responses.tools import Tools
from adapters.responses.wire import reasons
from adapters.responses_client.request import ENCRYPTED, LOGPROBS
from adapters.strict import kept_to
from adapters.types import Call, Dialect, Outbound
from adapters.values import BRACE, first

_encode = msgspec.json.Encoder().encode
_decode_str = msgspec.json.Decoder(str).decode
_decode_strings = msgspec.json.Decoder(list[str]).decode
_decode_int = msgspec.json.Decoder(int).decode
_decode_float = msgspec.json.Decoder(float).decode
_decode_bool = msgspec.json.Decoder(bool).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode

_DISABLED = Raw(b'"disabled"')
_NONE = Raw(b'"none"')
_OMITTED = Raw(b'"omitted"')
_SUMMARIZED = Raw(b'"summarized"')
_SCHEMA_NAME = "answer"
"""What a schema is called that came without a name, which OpenAI insists on."""


class _Build:
    """A Responses request in the making. `out` is the body; the rest waits for `finish`, where fields meet."""

    __slots__ = (
        "call",
        "conversation",
        "dropped",
        "include",
        "max_completion_tokens",
        "max_tokens",
        "out",
        "reasoning",
        "text",
        "thinking",
        "tools",
    )

    def __init__(self, call: Call) -> None:
        self.call = call
        self.out: dict[str, Any] = {"model": call.model}
        self.dropped = Dropped()
        self.conversation: Conversation | None = None
        self.tools = Tools(self.dropped, call.blocks)
        self.include: dict[str, None] = {}
        self.max_tokens: Raw | None = None
        self.max_completion_tokens: Raw | None = None
        self.reasoning: dict[str, Any] = {}
        self.text: dict[str, Any] = {}
        self.thinking = NULL

    def finish(self) -> bytes:
        """Settles what depends on several fields; returns the body."""
        conversation, out = self.conversation, self.out
        if conversation is None:
            raise InvalidRequest("The request needs `messages`.", "messages")
        if conversation.instructions is not None:
            out["instructions"] = conversation.instructions
        out["input"] = conversation.items
        if self.call.origin is Dialect.ANTHROPIC_MESSAGES and _is_answer(conversation.items):
            # Claude goes on from it, OpenAI's models begin anew.
            self.dropped.add(PREFILL)
        limit = self.max_completion_tokens or self.max_tokens
        if self.max_tokens not in (None, limit):
            self.dropped.add("max_tokens")
        if limit is not None:
            out["max_output_tokens"] = limit
        self._reason()
        if self.text:
            out["text"] = self.text
        self.tools.settle(out)
        if self.include:
            out["include"] = list(self.include)
        out["store"] = False
        if self.call.stream:
            out["stream"] = True
        return _encode(out)

    def _reason(self) -> None:
        reasoning = self.reasoning
        if self.thinking != NULL:
            self._think()
        if reasoning.get("effort") is not None and self.call.blocks and reasoning["effort"] != _NONE:
            # A client further on can show what the model thinks; OpenAI tells it to those who ask.
            reasoning.setdefault("summary", "auto")
        if reasoning.get("summary") == _OMITTED:
            del reasoning["summary"]
        if reasoning:
            self.out["reasoning"] = reasoning
        if reasons(self.call.model):
            self.include[ENCRYPTED] = None

    def _think(self) -> None:
        """Anthropic's budget of thinking tokens: an effort here, which says less."""
        effort = implied(self.thinking)
        if effort is not None:
            self.reasoning.setdefault("effort", effort)
            self.dropped.add("thinking.budget_tokens")
        elif read(_decode_object, self.thinking, "thinking").get("type") == _DISABLED:
            # Models differ in how they are told not to think, and refuse the other's words.
            self.dropped.add("thinking")
            return
        for name, value in beside(self.thinking).items():
            if name == "display" and value in (_OMITTED, _SUMMARIZED):
                self.reasoning.setdefault("summary", _OMITTED if value == _OMITTED else "auto")
            else:
                self.dropped.add(f"thinking.{name}")


def _is_answer(items: list[dict[str, Any] | Raw]) -> bool:
    """Whether the last word is the assistant's."""
    last = items[-1] if items else None
    return isinstance(last, dict) and last.get("role") == "assistant"


def translate(call: Call) -> Outbound:
    """The Responses request for `call`. Raises InvalidRequest with the path of the field at fault."""
    build = _Build(call)
    read_all(build, peek.text_fields(call.body), _FIELDS, HARMLESS)
    return Outbound(build.finish(), (), build.dropped.names())


def _messages(build: _Build, name: str, raw: Raw) -> None:
    build.conversation = MESSAGES.tell(raw, Conversation(build.dropped))


def _same(decode: Callable[[Raw], Any]) -> Callable[[_Build, str, Raw], None]:
    """A field of the same name, as the JSON it came in."""

    def put(build: _Build, name: str, raw: Raw) -> None:
        read(decode, raw, name)
        build.out[name] = raw

    return put


def _limit(build: _Build, name: str, raw: Raw) -> None:
    read(_decode_int, raw, name)
    setattr(build, name, raw)


def _logprobs(build: _Build, name: str, raw: Raw) -> None:
    if read(_decode_bool, raw, name):
        build.include[LOGPROBS] = None


def _tools(build: _Build, name: str, raw: Raw) -> None:
    build.tools.add_all(raw)


def _functions(build: _Build, name: str, raw: Raw) -> None:
    build.tools.add_functions(raw)
    # A legacy answer has room for one call only.
    build.out["parallel_tool_calls"] = False


def _tool_choice(build: _Build, name: str, raw: Raw) -> None:
    if fields.chooses(build.tools.given, name, build.dropped):
        build.tools.choose(raw, name)


def _web_search(build: _Build, name: str, raw: Raw) -> None:
    build.tools.search(raw, name)


def _response_format(build: _Build, name: str, raw: Raw) -> None:
    any_json, wanted = format_of(raw, name, build.dropped)
    if any_json:
        build.text["format"] = {"type": "json_object"}
    elif wanted is not None:
        made: dict[str, Any] = {"type": "json_schema", "name": wanted.name or _SCHEMA_NAME, "schema": wanted.schema}
        if wanted.description is not None:
            made["description"] = wanted.description
        # Chat clients may ask for what OpenAI refuses, and are told so by itself.
        keeps = kept_to(wanted.schema, wanted.strict, build.dropped) if build.call.blocks else wanted.strict
        if keeps is not None:
            made["strict"] = keeps
        build.text["format"] = made


def _verbosity(build: _Build, name: str, raw: Raw) -> None:
    build.text[name] = read(_decode_str, raw, name)


def _reasoning_effort(build: _Build, name: str, raw: Raw) -> None:
    if build.reasoning.get("effort", raw) != raw:
        build.dropped.add("reasoning.effort")
    read(_decode_str, raw, name)
    build.reasoning["effort"] = raw


def _reasoning(build: _Build, name: str, raw: Raw) -> None:
    for field, value in read(_decode_object, raw, name).items():
        if build.reasoning.setdefault(field, value) != value:
            build.dropped.add(f"{name}.{field}")


def _thinking(build: _Build, name: str, raw: Raw) -> None:
    if first(raw) != BRACE:
        raise InvalidRequest("Expected `object`.", name)
    build.thinking = raw


def _include(build: _Build, name: str, raw: Raw) -> None:
    build.include.update(dict.fromkeys(read(_decode_strings, raw, name)))


_FIELDS: dict[str, Callable[[_Build, str, Raw], None]] = {
    "model": fields.ignored,
    "stream": fields.ignored,
    "stream_options": fields.stream_options,
    "messages": _messages,
    "max_tokens": _limit,
    "max_completion_tokens": _limit,
    "temperature": _same(_decode_float),
    "top_p": _same(_decode_float),
    "logprobs": _logprobs,
    "top_logprobs": _same(_decode_int),
    "tools": _tools,
    "functions": _functions,
    "tool_choice": _tool_choice,
    "function_call": _tool_choice,
    "parallel_tool_calls": _same(_decode_bool),
    "web_search_options": _web_search,
    "response_format": _response_format,
    "verbosity": _verbosity,
    "reasoning_effort": _reasoning_effort,
    "thinking": _thinking,
    "service_tier": _same(_decode_str),
    "metadata": _same(_decode_object),
    "user": _same(_decode_str),
    "safety_identifier": _same(_decode_str),
    "prompt_cache_key": _same(_decode_str),
    "prompt_cache_retention": _same(_decode_str),
    # Responses' own.
    "reasoning": _reasoning,
    "include": _include,
    "truncation": _same(_decode_str),
    "max_tool_calls": _same(_decode_int),
}
"""Every field with a meaning upstream; the others are dropped by name."""
