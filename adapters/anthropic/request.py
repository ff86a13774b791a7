"""Chat request → Messages request.

The top level of the body is cut into fields without decoding their values, and each known field has its function in
one table. What has no counterpart is named in `Outbound.dropped`; values are never clamped. Where Anthropic refuses
two parameters together, the one that matters less to the answer is dropped and named: top_p beside temperature,
reasoning_effort beside a forced tool.

JSON answers: a schema goes to `output_config.format`, or for models that lack it becomes a tool that must be called,
whose input is then the answer. Anthropic has no mode for JSON without a schema, so `json_object` adds a line to the
system prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
from msgspec import Raw

from adapters.anthropic import plain, tools
from adapters.anthropic.models import FOREIGN, traits
from adapters.anthropic.parts import text
from adapters.anthropic.reasoning import BUDGETS, reasoning, refused, thinks
from adapters.anthropic.schema import held, in_words
from adapters.anthropic.turns import MESSAGES, Conversation
from adapters.anthropic.wire import JSON_TOOL, Typed
from adapters.chat import fields
from adapters.chat.request import described, read_all, stops_of
from adapters.chat.wire import NULL, JsonSchema
from adapters.errors import InvalidRequest
from adapters.peek import text_fields
from adapters.reading import Dropped, read
from adapters.types import Call, Outbound

_encode = msgspec.json.Encoder().encode
_decode_str = msgspec.json.Decoder(str).decode
_decode_int = msgspec.json.Decoder(int).decode
_decode_float = msgspec.json.Decoder(float).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_typed = msgspec.json.Decoder(Typed).decode
_decode_system = msgspec.json.Decoder(str | list[Raw]).decode


_TIERS = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
"""OpenAI's service tiers, and Anthropic's own word, in Anthropic's words."""

_WEB_SEARCH = "web_search_20250305"
"""The version of Anthropic's search that all its models take."""


class _Build:
    """A Messages request in the making. `out` is the body; the rest waits for `finish`, where fields meet."""

    __slots__ = (
        "conversation",
        "dropped",
        "effort",
        "format",
        "json_mode",
        "lines",
        "max_completion_tokens",
        "max_tokens",
        "out",
        "shown",
        "system",
        "tool_choice",
        "tools",
        "traits",
        "user_ids",
    )

    def __init__(self, call: Call) -> None:
        self.traits = traits(call.model)
        self.out: dict[str, Any] = {"model": call.model}
        self.dropped = Dropped()
        self.conversation: Conversation | None = None
        self.system: str | list[Raw] | None = None
        self.max_tokens: int | None = None
        self.max_completion_tokens: int | None = None
        self.tools: list[tools.Tool] = []
        self.tool_choice = tools.Choice()
        self.effort: str | None = None
        self.format: JsonSchema | None = None
        self.json_mode = False
        self.lines: list[dict[str, Any]] = []
        self.shown = call.shows_blocks
        self.user_ids: dict[str, str] = {}

    def finish(self) -> bytes:
        """Settles what depends on several fields; returns the body."""
        conversation, out = self.conversation, self.out
        if conversation is None:
            raise InvalidRequest("The request needs `messages`.", "messages")
        self.tools = self.tool_choice.among(self.tools)
        if self.format is not None:
            self._schema(self.format)
        system = self._system(conversation)
        if system:
            out["system"] = system
        out["messages"] = conversation.turns
        limit = self.max_completion_tokens
        if limit is None:
            limit = self.max_tokens
        elif self.max_tokens not in (None, limit):
            self.dropped.add("max_tokens")
        out["max_tokens"] = self.traits.max_tokens if limit is None else limit
        if self.user_ids:
            self._user()
        if self.tools:
            out["tools"] = self.tools
        choice = self.tool_choice.settle(bool(self.tools))
        if choice is not None:
            out["tool_choice"] = choice
        if self.effort is not None:
            self._reason(self.effort, conversation.thoughtless, limit)
        if self.traits.sampling != "all" or "thinking" in out:
            self._sample()
        return _encode(out)

    def _system(self, conversation: Conversation) -> list[Any]:
        system: list[Any] = conversation.system
        if self.system:
            own = [text(self.system)] if isinstance(self.system, str) else self.system
            system = [*own, *system]
        if self.json_mode:
            system = [*system, text(in_words())]
        return [*system, *self.lines]

    def _user(self) -> None:
        # Anthropic's own field first, then OpenAI's old name, then its new one.
        names = [name for name in ("metadata.user_id", "user", "safety_identifier") if name in self.user_ids]
        self.out["metadata"] = {"user_id": self.user_ids[names[0]]}
        for name in names[1:]:
            if self.user_ids[name] != self.user_ids[names[0]]:
                self.dropped.add(name)

    def _schema(self, wanted: JsonSchema) -> None:
        schema = described(wanted, self.dropped)
        if self.traits.structured:
            found = held(schema)
            if found is None:
                # The model is told, and nobody makes sure.
                self.dropped.add("response_format")
                self.lines.append(text(in_words(schema)))
                return
            for word in found[1]:
                self.dropped.add(f"response_format.json_schema.schema.{word}")
            self._configure("format", {"type": "json_schema", "schema": found[0]})
            return
        if wanted.strict:
            # A tool's input is asked for in this form, and not made sure of.
            self.dropped.add("response_format.json_schema.strict")
        if any(tools.name_of(tool) == JSON_TOOL for tool in self.tools):
            raise InvalidRequest(f"A tool of the name `{JSON_TOOL}` cannot stand beside a response format.", "tools")
        self.tool_choice.need_answer(JSON_TOOL, bool(self.tools))
        if "thinking" in self.out and read(_decode_typed, self.out["thinking"], "thinking").type != "disabled":
            # Which is refused where a tool must be called.
            del self.out["thinking"]
            self.dropped.add("thinking")
        self.tools.append(
            {
                "name": JSON_TOOL,
                "description": "Gives the answer. Call it exactly once, with the whole answer as its input.",
                "input_schema": schema,
            }
        )

    def _reason(self, effort: str, thoughtless: bool, limit: int | None) -> None:
        out, own = self.out, self.out.get("thinking")
        if limit is None:
            limit = out["max_tokens"]
            if self.traits is FOREIGN and own is None and effort != "none":
                limit = out["max_tokens"] = max(limit, 2 * BUDGETS[effort])
        barred = thoughtless or self.tool_choice.forced
        level, thinking, whole = reasoning(self.traits, effort, own, limit, barred, self.shown)
        if level is not None:
            self._configure("effort", level)
        if thinking is not None:
            out["thinking"] = thinking
        if not whole:
            self.dropped.add("reasoning_effort")

    def _sample(self) -> None:
        out = self.out
        given: dict[str, Raw] = {name: out[name] for name in ("temperature", "top_p", "top_k") if name in out}
        left, lost = refused(self.traits, thinks(out.get("thinking")), given)
        for name in left:
            del out[name]
        for name in lost:
            self.dropped.add(name)

    def _configure(self, name: str, value: Any) -> None:
        """Adds to output_config; what the client itself put there stands."""
        config = self.out.get("output_config")
        if isinstance(config, Raw):
            config = read(_decode_object, config, "output_config")
        given = (config or {}).get(name, NULL)
        if given not in (NULL, Raw(_encode(value))):
            self.dropped.add(_CONFIGURED[name])
        self.out["output_config"] = {name: value, **(config or {})}


_CONFIGURED = {"format": "response_format", "effort": "reasoning_effort"}
"""The fields of a chat that come to be each of those of `output_config`."""


def translate(call: Call) -> Outbound:
    """The Messages request for `call`. Raises InvalidRequest with the path of the field at fault."""
    top = text_fields(call.body)
    made = plain.translate(call, top)
    return thorough(call, top) if made is None else Outbound(made)


def thorough(call: Call, top: Mapping[str, Raw]) -> Outbound:
    """The same for any request, of these fields at its `top`."""
    build = _Build(call)
    read_all(build, top, _FIELDS, HARMLESS)
    if call.stream:
        build.out["stream"] = True
    return Outbound(build.finish(), (), build.dropped.names())


def _messages(build: _Build, name: str, raw: Raw) -> None:
    build.conversation = MESSAGES.tell(raw, Conversation(build.dropped))


def _forward(build: _Build, name: str, raw: Raw) -> None:
    build.out[name] = raw


def _number(build: _Build, name: str, raw: Raw) -> None:
    read(_decode_float, raw, name)
    build.out[name] = raw


def _whole_number(build: _Build, name: str, raw: Raw) -> None:
    read(_decode_int, raw, name)
    build.out[name] = raw


def _max_tokens(build: _Build, name: str, raw: Raw) -> None:
    setattr(build, name, read(_decode_int, raw, name))


def _stop(build: _Build, name: str, raw: Raw) -> None:
    add_stops(build.out.setdefault("stop_sequences", []), visible(stops_of(raw, name), name, build.dropped))


def add_stops(given: list[str], more: list[str]) -> None:
    """Adds the words of OpenAI's field to those of Anthropic's own, or the other way round: both say the same."""
    given += [word for word in more if word not in given] if given else more


def visible(stops: list[str], name: str, dropped: Dropped) -> list[str]:
    """The words that Claude can be told to stop at: white space alone is refused, and named."""
    found = [word for word in stops if not word.isspace()]
    if len(found) < len(stops):
        dropped.add(name)
    return found


class _Systemic(Protocol):
    system: str | list[Raw] | None


def own_system(build: _Systemic, name: str, raw: Raw) -> None:
    """Anthropic's own system prompt, beside which those of the messages stand."""
    build.system = read(_decode_system, raw, name)


def _user_id(build: _Build, name: str, raw: Raw) -> None:
    build.user_ids[name] = read(_decode_str, raw, name)


def _metadata(build: _Build, name: str, raw: Raw) -> None:
    for key, value in read(_decode_object, raw, name).items():
        if key == "user_id":
            build.user_ids["metadata.user_id"] = read(_decode_str, value, "metadata.user_id")
        else:
            build.dropped.add(f"metadata.{key}")


def _tools(build: _Build, name: str, raw: Raw) -> None:
    build.tools += tools.translate(raw, build.traits.structured, build.dropped)


def _functions(build: _Build, name: str, raw: Raw) -> None:
    build.tools += tools.legacy(raw, build.dropped)
    # A legacy answer has room for one call only.
    build.tool_choice.single = True


def _web_search(build: _Build, name: str, raw: Raw) -> None:
    # OpenAI's option of a chat is a tool here, which runs at the provider.
    options = read(_decode_object, raw, name)
    tool: dict[str, Any] = {"type": _WEB_SEARCH, "name": "web_search"}
    location = options.pop("user_location", NULL)
    if location != NULL:
        tool["user_location"] = fields.location_of(location, f"{name}.user_location", build.dropped)
    filters = options.pop("filters", NULL)
    if filters != NULL:
        tool.update(read(_decode_object, filters, f"{name}.filters"))
    for other, value in options.items():
        if value != NULL:
            build.dropped.add(f"{name}.{other}")
    build.tools.append(tool)


def _service_tier(build: _Build, name: str, raw: Raw) -> None:
    tier = _TIERS.get(read(_decode_str, raw, name))
    if tier is None:
        build.dropped.add(name)
    else:
        build.out[name] = tier


_FIELDS: dict[str, Callable[[_Build, str, Raw], None]] = {
    **fields.READERS,
    "messages": _messages,
    "max_tokens": _max_tokens,
    "max_completion_tokens": _max_tokens,
    "temperature": _number,
    "top_p": _number,
    "top_k": _whole_number,
    "stop": _stop,
    "user": _user_id,
    "safety_identifier": _user_id,
    "metadata": _metadata,
    "tools": _tools,
    "functions": _functions,
    "web_search_options": _web_search,
    "reasoning_effort": fields.effort(BUDGETS),
    "service_tier": _service_tier,
    # Anthropic's own.
    "system": own_system,
    "stop_sequences": _stop,
    "thinking": _forward,
    "output_config": _forward,
    "cache_control": _forward,
    "container": _forward,
    "context_management": _forward,
    "mcp_servers": _forward,
    "inference_geo": _forward,
    "speed": _forward,
    "diagnostics": _forward,
    "user_profile_id": _forward,
}
"""Every field with a meaning upstream; the others are dropped by name."""

_NO, _ZERO = (Raw(b"false"),), (Raw(b"0"), Raw(b"0.0"))
HARMLESS: dict[str, tuple[Raw, ...]] = {
    "n": (Raw(b"1"),),
    "logprobs": _NO,
    "top_logprobs": _ZERO,
    "presence_penalty": _ZERO,
    "frequency_penalty": _ZERO,
    "logit_bias": (Raw(b"{}"),),
    "store": _NO,
    "verbosity": (fields.MEDIUM,),
    "reasoning": (fields.SUMMARY,),
    "modalities": (Raw(b'["text"]'), Raw(b'[ "text" ]')),
}
"""Values that ask for nothing: leaving them out loses nothing, so they are not reported."""
