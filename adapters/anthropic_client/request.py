"""Messages request → chat request, field by field.

Whatever need not be looked into moves as the JSON it came in: prompts, tool inputs, schemas, numbers. What OpenAI has
no word for is named in `Outbound.dropped`; what would change the meaning of the request is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import msgspec
from msgspec import Raw

from adapters import strict
from adapters.anthropic_client.content import chat_messages, system_text
from adapters.anthropic_client.wire import (
    Assistant,
    ChatRequest,
    Format,
    Function,
    JsonSchema,
    Metadata,
    Named,
    NamedChoice,
    Part,
    ResponseFormat,
    StreamOptions,
    Text,
    Thinking,
    Tool,
    ToolChoice,
)
from adapters.anthropic_client.words import PREFILL, WORDS
from adapters.effort import beside, of_budget
from adapters.errors import InvalidRequest, no_thread
from adapters.known import Belongs, Reader
from adapters.openai_models import fit
from adapters.reading import Dropped, member, missing, read, read_all, string, under
from adapters.types import Call, Outbound
from adapters.values import ABSENT, BRACE, NULL, first

_encode = msgspec.json.Encoder().encode
_bool = msgspec.json.Decoder(bool).decode
_int = msgspec.json.Decoder(int).decode
_float = msgspec.json.Decoder(float).decode
_str = msgspec.json.Decoder(str).decode
_strings = msgspec.json.Decoder(list[str]).decode
_object = msgspec.json.Decoder(dict[str, Raw]).decode
_raws = msgspec.json.Decoder(list[Raw]).decode
_objects = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_thinking = msgspec.json.Decoder(Thinking).decode
_FORMAT = Reader(msgspec.json.Decoder(Format).decode, Format)
_CHOICE = Reader(msgspec.json.Decoder(ToolChoice).decode, ToolChoice)
_METADATA = Reader(msgspec.json.Decoder(Metadata).decode, Metadata)

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_ANYONES = "type disable_parallel_tool_use"
_BELONGS = Belongs(ToolChoice, {**dict.fromkeys(_CHOICES, _ANYONES), "tool": f"{_ANYONES} name"})
_LONGEST_USER = 64
"""Characters that OpenAI takes as `user`."""
_TOOL_FIELDS = frozenset(("type", "name", "description", "input_schema", "strict"))
_CONFIG = frozenset(("effort", "format"))
_NOTHING_ASKED = (*(Raw(word) for word in (b"null", b"false", b"[]", b'["direct"]')),)
"""What a tool's other fields say where they ask for nothing: who calls it is the model alone, by default."""


def to_chat(call: Call) -> Outbound:
    """Builds the chat request for `call.model`. Raises InvalidRequest with the path of the field at fault."""
    request = _Request(ChatRequest(call.model, []), Dropped(call.blocks, call.thoughts, call.details))
    read_all(request, call.body, _FIELDS)
    last = request.out.messages[-1] if request.out.messages else None
    if type(last) is Assistant and last.tool_calls is None and not call.blocks:
        _go_on(last, call.prefill, request.dropped)
    if call.stream:
        request.out.stream = True
        request.out.stream_options = StreamOptions()
    return request.outbound()


def _go_on(last: Assistant, mark: str | None, dropped: Dropped) -> None:
    """Has the model go on from what it said last, as Claude does. Who speaks OpenAI's chat begins anew, unless it is
    known not to."""
    if mark == "partial":
        last.partial = True
    elif mark != "":
        dropped.add(PREFILL)


class _Request:
    """One translation under way."""

    __slots__ = ("behind", "dropped", "effort", "out", "renamed", "system")

    def __init__(self, out: ChatRequest, dropped: Dropped) -> None:
        self.out = out
        self.dropped = dropped
        self.system: Raw | list[Part] = ABSENT
        self.effort: str | None = None
        """What the thinking budget asks for; an effort given by name goes before it."""
        self.renamed: dict[str, str] = {}
        """What has another name here than in `WORDS`."""
        self.behind: set[str] = set()
        """The names of tools that cannot come along."""

    def outbound(self) -> Outbound:
        out = self.out
        if not out.messages:
            raise InvalidRequest("At least one message is required.", "messages")
        if isinstance(self.system, list) or len(self.system) > len(b'""'):
            out.messages.insert(0, Text("system", self.system))
        if out.reasoning_effort is None and self.effort is not None:
            out.reasoning_effort = self.effort
            self.renamed["reasoning_effort"] = "thinking.budget_tokens"
        if not out.tools:
            # OpenAI refuses both of these where there are no tools.
            if out.tool_choice not in (None, "auto", "none"):
                self.dropped.add("tool_choice")
            out.tools = out.tool_choice = out.parallel_tool_calls = None
        elif isinstance(out.tool_choice, NamedChoice) and out.tool_choice.function.name in self.behind:
            self.dropped.add("tool_choice")
            out.tool_choice = None
        words = (self.renamed, WORDS)
        fit(out, self.dropped, words)
        return Outbound(_encode(out), dropped=self.dropped.names(), words=words, plain=self.dropped.plain)


def _nothing(request: _Request, value: Raw) -> None:
    """`model` and `stream` are told by the call, where routing may have replaced them."""


def _read_messages(request: _Request, value: Raw) -> None:
    request.out.messages = chat_messages(value, request.dropped)


def _read_system(request: _Request, value: Raw) -> None:
    request.system = system_text(value, request.dropped)


def _read_max_tokens(request: _Request, value: Raw) -> None:
    read(_int, value)
    request.out.max_completion_tokens = value


def _read_temperature(request: _Request, value: Raw) -> None:
    read(_float, value)
    request.out.temperature = value


def _read_top_p(request: _Request, value: Raw) -> None:
    read(_float, value)
    request.out.top_p = value


def _read_stop_sequences(request: _Request, value: Raw) -> None:
    if read(_strings, value):
        request.out.stop = value


def _read_tools(request: _Request, value: Raw) -> None:
    tools: list[Tool | Raw] = []
    raws: list[Raw] | None = None
    for at, fields in enumerate(read(_objects, value)):
        try:
            tool = _tool(fields, request.dropped)
            if tool is None and request.dropped.blocks:
                # One that runs at the provider, should it have the like.
                raws = _raws(value) if raws is None else raws
                tools.append(raws[at])
            elif tool is None:
                request.behind.add(member(_str, fields, "name") or "")
        except InvalidRequest as error:
            raise under(f"[{at}]", error) from error
        if tool is not None:
            tools.append(tool)
    request.out.tools = tools


def _tool(fields: dict[str, Raw], dropped: Dropped) -> Tool | None:
    """The function that a tool is; None for those that only Anthropic's own servers can run."""
    kind = member(_str, fields, "type")
    if kind not in (None, "custom"):
        if not dropped.blocks:
            dropped.add(f"tools[].{kind}")
        return None
    name = member(_str, fields, "name")
    if not name:
        raise missing("name")
    schema = fields.get("input_schema", ABSENT)
    if first(schema) != BRACE:
        raise InvalidRequest("Expected `object`.", "input_schema")
    function = Function(dropped.tool(name), parameters=schema)
    description = fields.get("description", ABSENT)
    if first(description) != NULL:
        function.description = string(description, "description")
    if member(_bool, fields, "strict"):
        # As with formats below.
        if dropped.blocks or strict.fits(schema):
            function.strict = True
        else:
            dropped.add("tools[].strict")
    mark = fields.get("cache_control", ABSENT)
    kept = dropped.blocks and first(mark) == BRACE
    for other, value in fields.items():
        if other not in _TOOL_FIELDS and value not in _NOTHING_ASKED and not (other == "cache_control" and kept):
            dropped.add("cache_control" if other == "cache_control" else f"tools[].{other}")
    return Tool(function, mark if kept else ABSENT)


def _read_tool_choice(request: _Request, value: Raw) -> None:
    choice = _CHOICE.read(value, request.dropped, name="tool_choice")
    _BELONGS.heed(choice, choice.type, request.dropped, "tool_choice")
    out = request.out
    if choice.type == "tool":
        if not choice.name:
            raise missing("name")
        out.tool_choice = NamedChoice(Named(choice.name))
    elif choice.type in _CHOICES:
        out.tool_choice = _CHOICES[choice.type]
    else:
        raise InvalidRequest(f"`{choice.type}` is not a tool choice.", "type")
    if choice.disable_parallel_tool_use:
        out.parallel_tool_calls = False


def _read_thinking(request: _Request, value: Raw) -> None:
    thinking = read(_thinking, value)
    if request.dropped.blocks:
        request.out.thinking = value
    elif thinking.type == "enabled":
        request.dropped.add("thinking.budget_tokens")
    elif thinking.type == "disabled":
        # Models differ in how they are told not to think, and refuse the other's words.
        request.dropped.add("thinking")
    if not request.dropped.blocks:
        for name in beside(value):
            request.dropped.add(f"thinking.{name}")
    if thinking.type == "enabled":
        request.effort = of_budget(thinking.budget_tokens or 0)


def _read_output_config(request: _Request, value: Raw) -> None:
    fields = read(_object, value)
    request.out.reasoning_effort = member(_str, fields, "effort")
    wanted = fields.get("format", ABSENT)
    if first(wanted) != NULL:
        try:
            _read_output_format(request, wanted)
        except InvalidRequest as error:
            raise under("format", error) from error
    request.dropped.strangers(fields, _CONFIG, "output_config")


def _read_output_format(request: _Request, value: Raw, name: str = "output_config.format") -> None:
    wanted = _FORMAT.read(value, request.dropped, name=name)
    if wanted.type != "json_schema":
        raise InvalidRequest(f"`{wanted.type}` is not an output format.", "type")
    if first(wanted.schema) != BRACE:
        raise InvalidRequest("Expected `object`.", "schema")
    # Whether another maker's model can be held to it is for those to say who know that maker.
    kept = request.dropped.blocks or strict.fits(wanted.schema)
    if not kept:
        # It is asked for, and not made sure of.
        request.dropped.add(name)
    request.out.response_format = ResponseFormat(JsonSchema("output", wanted.schema, kept))


def _read_old_format(request: _Request, value: Raw) -> None:
    _read_output_format(request, value, "output_format")
    for name in ("response_format", "response_format.json_schema", "response_format.json_schema.strict"):
        request.renamed[name] = "output_format"


def _read_metadata(request: _Request, value: Raw) -> None:
    user = _METADATA.read(value, request.dropped, name="metadata").user_id
    if user is not None and len(user) > _LONGEST_USER:
        # A digest keeps one user one user; coding agents send ids of 150 characters.
        request.dropped.add("metadata.user_id")
        user = hashlib.sha256(user.encode()).hexdigest()
    request.out.user = user


def _read_cache_control(request: _Request, value: Raw) -> None:
    request.dropped.add("cache_control")


def _read_top_k(request: _Request, value: Raw) -> None:
    read(_int, value)
    if request.dropped.blocks:
        request.out.top_k = value
    else:
        request.dropped.add("top_k")


def _read_service_tier(request: _Request, value: Raw) -> None:
    tier = read(_str, value)
    if tier == "standard_only":
        request.out.service_tier = "default"
    elif tier != "auto":
        # That one is everybody's default.
        request.dropped.add("service_tier")


def _read_thread(request: _Request, value: Raw) -> None:
    # Its name is added by who hands out the fields.
    error = no_thread()
    raise InvalidRequest(error.message, code=error.code)


_FIELDS: Mapping[str, Callable[[_Request, Raw], None]] = {
    "model": _nothing,
    "stream": _nothing,
    "messages": _read_messages,
    "system": _read_system,
    "max_tokens": _read_max_tokens,
    "stop_sequences": _read_stop_sequences,
    "temperature": _read_temperature,
    "top_p": _read_top_p,
    "tools": _read_tools,
    "tool_choice": _read_tool_choice,
    "thinking": _read_thinking,
    "output_config": _read_output_config,
    "output_format": _read_old_format,
    "metadata": _read_metadata,
    "cache_control": _read_cache_control,
    "top_k": _read_top_k,
    "service_tier": _read_service_tier,
    "thread": _read_thread,
}
"""What is done with each field that is not null; all others are dropped by name."""
