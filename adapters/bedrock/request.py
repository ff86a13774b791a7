"""Chat request → Converse request.

Each known field has its function in one table. What every model takes has its place in the request; what only some do
goes to `additionalModelRequestFields`, by the table of families. What has no counterpart is named in
`Outbound.dropped`; values are never clamped.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from adapters.anthropic import tools
from adapters.anthropic.models import traits
from adapters.anthropic.reasoning import BUDGETS, reasoning, refused, thinks
from adapters.anthropic.request import HARMLESS, add_stops, own_system, visible
from adapters.anthropic.schema import held, in_words
from adapters.anthropic.turns import MESSAGES, Conversation
from adapters.anthropic.wire import JSON_TOOL, Typed
from adapters.bedrock.blocks import Blocks, Turns
from adapters.bedrock.models import family
from adapters.chat import fields
from adapters.chat.request import described, read_all, stops_of
from adapters.chat.wire import NULL, JsonSchema
from adapters.errors import InvalidRequest
from adapters.peek import text_fields
from adapters.reading import Dropped, read
from adapters.types import Call, Outbound

_encode = msgspec.json.Encoder().encode
_decode_typed = msgspec.json.Decoder(Typed).decode
_decode_any = msgspec.json.Decoder().decode
_decode_str = msgspec.json.Decoder(str).decode
_decode_int = msgspec.json.Decoder(int).decode
_decode_float = msgspec.json.Decoder(float).decode
_decode_betas = msgspec.json.Decoder(str | list[str]).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_tool = msgspec.json.Decoder(dict[str, Raw]).decode

_TIERS = {"auto": "default", "default": "default", "flex": "flex", "priority": "priority", "reserved": "reserved"}
_TRUE = Raw(b"true")
_CHOICE = frozenset(("type", "name", "disable_parallel_tool_use"))
_NO_NAME = Raw(b'""')
_LABEL = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}")
"""What the service takes as request metadata."""
_SAMPLING = {"temperature": "temperature", "topP": "top_p"}
"""What Converse calls otherwise."""


class _Build:
    """A Converse request in the making. `more` are the fields of the model's own; the rest waits for `finish`."""

    __slots__ = (
        "config",
        "conversation",
        "dropped",
        "effort",
        "family",
        "format",
        "json_mode",
        "more",
        "out",
        "shown",
        "system",
        "tool_choice",
        "tools",
        "traits",
    )

    def __init__(self, call: Call) -> None:
        # Of the one model that takes words and budgets, the words need a beta here.
        known = traits(call.model)
        self.traits = known._replace(efforts=()) if known.reasoning == "budget" else known
        self.shown = call.shows_blocks
        self.family = family(call.model)
        self.out: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.more: dict[str, Any] = {}
        self.dropped = Dropped()
        self.conversation: Conversation | None = None
        self.system: str | list[Raw] | None = None
        self.tools: list[tools.Tool] = []
        self.tool_choice = tools.Choice()
        self.effort: str | None = None
        self.format: JsonSchema | None = None
        self.json_mode = False

    def finish(self) -> bytes:
        """Settles what depends on several fields; returns the body."""
        conversation, out = self.conversation, self.out
        if conversation is None:
            raise InvalidRequest("The request needs `messages`.", "messages")
        blocks = Blocks(self.dropped, self.family)
        self.tools = self.tool_choice.among(self.tools)
        lines = self._schema()
        system = self._system(conversation, blocks) + [{"text": line} for line in lines]
        if system:
            out["system"] = system
        out["messages"] = [
            {
                "role": turn.role,
                "content": blocks.all(turn.content, f"messages[{index}].content", said=turn.role == "assistant"),
            }
            for index, turn in enumerate(conversation.turns)
        ]
        if self.effort is not None:
            self._reason(self.effort, conversation.thoughtless)
        if self.family.name == "anthropic":
            self._sample()
        self._tool_config(blocks)
        if self.config:
            out["inferenceConfig"] = self.config
        if self.more:
            out["additionalModelRequestFields"] = self.more
        return _encode(out)

    def _system(self, conversation: Conversation, blocks: Blocks) -> list[dict[str, Any]]:
        own = self.system
        found = [{"text": own}] if isinstance(own, str) else blocks.all(own, "system") if own else []
        return found + blocks.all(conversation.system, "system")

    def _schema(self) -> list[str]:
        """Asks for JSON as the family has it; returns lines for the system prompt."""
        if self.json_mode:
            return [in_words()]
        wanted = self.format
        if wanted is None:
            return []
        how = self.family.schema
        found = held(wanted.schema) if how == "native" else None
        if found is not None:
            structure = {"name": wanted.name or "answer", "schema": bytes(found[0]).decode()}
            if wanted.description:
                structure["description"] = wanted.description
            for word in found[1]:
                self.dropped.add(f"response_format.json_schema.schema.{word}")
            textual = {"type": "json_schema", "structure": {"jsonSchema": structure}}
            self.out["outputConfig"] = {"textFormat": textual}
            return []
        described_schema = described(wanted, self.dropped)
        if how != "tool":
            # The model is told, and nobody makes sure.
            self.dropped.add("response_format")
            return [in_words(described_schema)]
        if wanted.strict:
            self.dropped.add("response_format.json_schema.strict")
        if any(tools.name_of(tool) == JSON_TOOL for tool in self.tools):
            raise InvalidRequest(f"A tool of the name `{JSON_TOOL}` cannot stand beside a response format.", "tools")
        self.tool_choice.need_answer(JSON_TOOL, bool(self.tools))
        if "thinking" in self.more and read(_decode_typed, self.more["thinking"], "thinking").type != "disabled":
            # Which is refused where a tool must be called.
            del self.more["thinking"]
            self.dropped.add("thinking")
        description = "Gives the answer. Call it exactly once, with the whole answer as its input."
        self.tools.append({"name": JSON_TOOL, "description": description, "input_schema": described_schema})
        return []

    def _tool_config(self, blocks: Blocks) -> None:
        choice = self.tool_choice.settle(bool(self.tools)) or {}
        kind = choice.get("type")
        if choice.get("disable_parallel_tool_use"):
            self.dropped.add("parallel_tool_calls")
        for name in choice.keys() - _CHOICE:
            self.dropped.add(f"tool_choice.{name}")
        specs: list[dict[str, Any]] = []
        native: list[Raw] = []
        others: set[str] = set()
        for tool in self.tools:
            given = read(_decode_tool, tool if isinstance(tool, Raw) else Raw(_encode(tool)), "tools")
            if "type" in given and "input_schema" not in given:
                if self.family.name == "anthropic":
                    native.append(Raw(_encode(given)))
                else:
                    self.dropped.add(f"tools[].{read(_decode_str, given['type'], 'tools[].type')[:40]}")
                others.add(read(_decode_str, given.get("name", _NO_NAME), "tools[].name"))
                continue
            specs += _spec(given, blocks)
        if native and kind != "none":
            self.more["tools"] = native
        used = _used(self.out["messages"])
        if kind == "none":
            if not used:
                return
            # Without tools the service refuses a history that has called some.
            self.dropped.add("tool_choice")
        if not specs and used:
            empty = Raw(b'{"type":"object"}')
            specs = [{"toolSpec": {"name": name, "inputSchema": {"json": empty}}} for name in used]
        if not specs:
            if kind in ("any", "tool"):
                self.dropped.add("tool_choice")
            return
        config: dict[str, Any] = {"tools": specs}
        if kind == "tool" and choice["name"] in others:
            # What is no function cannot be chosen.
            self.dropped.add("tool_choice")
        elif kind in ("any", "auto"):
            config["toolChoice"] = {kind: {}}
        elif kind == "tool":
            config["toolChoice"] = {"tool": {"name": choice["name"]}}
        self.out["toolConfig"] = config

    def _reason(self, effort: str, thoughtless: bool) -> None:
        path, name = self.family.effort, self.family.name
        if path is None:
            if effort != "none":
                self.dropped.add("reasoning_effort")
        elif name == "anthropic":
            self._think(effort, thoughtless)
        elif name == "nova":
            # It does not reason unless asked to.
            if effort != "none":
                self._nova(effort)
        elif effort == "none" and name == "qwen":
            self.dropped.add("reasoning_effort")
        else:
            self.more[path[0]] = effort

    def _nova(self, effort: str) -> None:
        """Nova 2 knows three words; beside `high` it takes no limit of tokens and no sampling.

        https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html
        """
        level = effort if effort in ("low", "medium", "high") else "low" if effort == "minimal" else "high"
        if level == "high" and "maxTokens" in self.config:
            level = "medium"
        if level != effort:
            self.dropped.add("reasoning_effort")
        if level == "high":
            for theirs, name in _SAMPLING.items():
                if self.config.pop(theirs, None) is not None:
                    self.dropped.add(name)
            if self.more.pop("inferenceConfig", None) is not None:
                self.dropped.add("top_k")
        self.more["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": level}

    def _think(self, effort: str, thoughtless: bool) -> None:
        more, limit = self.more, self.config.get("maxTokens")
        barred = thoughtless or self.tool_choice.forced
        own = more.get("thinking")
        level, thinking, whole = reasoning(self.traits, effort, own, limit, barred, self.shown)
        if level is not None:
            config = more.get("output_config", {})
            whole = whole and config.get("effort", NULL) in (NULL, Raw(_encode(level)))
            more["output_config"] = {"effort": level, **config}
        if thinking is not None:
            more["thinking"] = thinking
        if not whole:
            self.dropped.add("reasoning_effort")

    def _sample(self) -> None:
        given = {name: self.config[theirs] for theirs, name in _SAMPLING.items() if theirs in self.config}
        if "top_k" in self.more:
            given["top_k"] = self.more["top_k"]
        left, lost = refused(self.traits, thinks(self.more.get("thinking")), given)
        for theirs, name in _SAMPLING.items():
            if name in left:
                del self.config[theirs]
        if "top_k" in left:
            del self.more["top_k"]
        for name in lost:
            self.dropped.add(name)


def _spec(given: dict[str, Raw], blocks: Blocks) -> list[dict[str, Any]]:
    spec: dict[str, Any] = {"name": given["name"], "inputSchema": {"json": given["input_schema"]}}
    if "description" in given:
        spec["description"] = given["description"]
    if given.get("strict", NULL) == _TRUE:
        spec["strict"] = True
    for name in given.keys() - {"name", "input_schema", "description", "strict", "cache_control", "type"}:
        blocks.dropped.add(f"tools[].{name}")
    if "cache_control" not in given:
        return [{"toolSpec": spec}]
    return [{"toolSpec": spec}, *blocks.cache_point(given["cache_control"], "tools[].cache_control", "tools")]


def _used(messages: list[dict[str, Any]]) -> list[str]:
    """The names of tools that the history has called."""
    return list(
        dict.fromkeys(block["toolUse"]["name"] for turn in messages for block in turn["content"] if "toolUse" in block)
    )


def translate(call: Call) -> Outbound:
    """The Converse request for `call`. Raises InvalidRequest with the path of the field at fault."""
    build = _Build(call)
    read_all(build, text_fields(call.body), _FIELDS, HARMLESS)
    return Outbound(build.finish(), (), build.dropped.names())


def _messages(build: _Build, name: str, raw: Raw) -> None:
    build.conversation = MESSAGES.tell(raw, Turns(build.dropped))


def _max_tokens(build: _Build, name: str, raw: Raw) -> None:
    limit = read(_decode_int, raw, name)
    if build.config.get("maxTokens", limit) != limit:
        build.dropped.add("max_tokens")
    if name == "max_completion_tokens" or "maxTokens" not in build.config:
        build.config["maxTokens"] = limit


def _config(key: str) -> Callable[[_Build, str, Raw], None]:
    def put(build: _Build, name: str, raw: Raw) -> None:
        read(_decode_float, raw, name)
        build.config[key] = raw

    return put


def _stop(build: _Build, name: str, raw: Raw) -> None:
    stops = stops_of(raw, name)
    stops = visible(stops, name, build.dropped) if build.family.name == "anthropic" else stops
    add_stops(build.config.setdefault("stopSequences", []), stops)


def _top_k(build: _Build, name: str, raw: Raw) -> None:
    read(_decode_int, raw, name)
    path = build.family.top_k
    if path is None:
        build.dropped.add(name)
    elif len(path) == 1:
        build.more[path[0]] = raw
    else:
        build.more[path[0]] = {path[1]: raw}


def _user(build: _Build, name: str, raw: Raw) -> None:
    user = read(_decode_str, raw, name)
    if build.family.name != "anthropic" or build.more.setdefault("metadata", {"user_id": user})["user_id"] != user:
        build.dropped.add(name)


def _metadata(build: _Build, name: str, raw: Raw) -> None:
    """Labels for the service's own log of invocations; Anthropic's user id among them is for the model."""
    labels: dict[str, str] = {}
    for key, value in read(_decode_object, raw, name).items():
        text = read(_decode_any, value, f"{name}.{key}")
        if key == "user_id" and build.family.name == "anthropic":
            if build.more.get("metadata", {}).get("user_id", text) != text:
                build.dropped.add("user")
            build.more["metadata"] = {"user_id": text}
        elif isinstance(text, str) and len(labels) < 16 and key and _fits(key) and _fits(text):
            labels[key] = text
        else:
            build.dropped.add(f"metadata.{key}")
    if labels:
        _put(build, "requestMetadata", labels, name)


def _fits(text: str) -> bool:
    return _LABEL.fullmatch(text) is not None


def _tools(build: _Build, name: str, raw: Raw) -> None:
    build.tools += tools.translate(raw, build.family.strict, build.dropped)


def _functions(build: _Build, name: str, raw: Raw) -> None:
    build.tools += tools.legacy(raw, build.dropped)


def _tier(build: _Build, name: str, raw: Raw) -> None:
    tier = _TIERS.get(read(_decode_str, raw, name))
    if tier is None:
        build.dropped.add(name)
    elif tier != "default":
        build.out["serviceTier"] = {"type": tier}


def _betas(build: _Build, name: str, raw: Raw) -> None:
    betas = read(_decode_betas, raw, name)
    found = betas.split(",") if isinstance(betas, str) else betas
    build.more[name] = [beta.strip() for beta in found if beta.strip()]


def _of_model(build: _Build, name: str, raw: Raw) -> None:
    """A field of Anthropic's own, for its models and no other."""
    if build.family.name != "anthropic":
        build.dropped.add(name)
    elif name == "output_config":
        build.more[name] = read(_decode_object, raw, name)
    else:
        build.more[name] = raw


def _put(build: _Build, key: str, value: Any, name: str) -> None:
    """Two fields may be one there: then the first counts."""
    if build.out.setdefault(key, value) != value:
        build.dropped.add(name)


def _own(key: str) -> Callable[[_Build, str, Raw], None]:
    def put(build: _Build, name: str, raw: Raw) -> None:
        _put(build, key, raw, name)

    return put


def _more(build: _Build, name: str, raw: Raw) -> None:
    build.more.update(read(_decode_object, raw, name))


_FIELDS: dict[str, Callable[[_Build, str, Raw], None]] = {
    **fields.READERS,
    "messages": _messages,
    "max_tokens": _max_tokens,
    "max_completion_tokens": _max_tokens,
    "temperature": _config("temperature"),
    "top_p": _config("topP"),
    "top_k": _top_k,
    "stop": _stop,
    "stop_sequences": _stop,
    "user": _user,
    "safety_identifier": _user,
    "metadata": _metadata,
    "tools": _tools,
    "functions": _functions,
    "reasoning_effort": fields.effort(BUDGETS),
    "service_tier": _tier,
    # Anthropic's own, for its models.
    "system": own_system,
    "thinking": _of_model,
    "output_config": _of_model,
    "context_management": _of_model,
    "anthropic_version": _of_model,
    "anthropic_beta": _betas,
    # Bedrock's own, in the spelling of either side.
    **{
        spelling: _own(key)
        for key, *spellings in (
            ("guardrailConfig", "guardrail_config", "guardrailConfig"),
            ("performanceConfig", "performance_config", "performanceConfig"),
            ("requestMetadata", "request_metadata", "requestMetadata"),
            ("promptVariables", "prompt_variables", "promptVariables"),
            (
                "additionalModelResponseFieldPaths",
                "additional_model_response_field_paths",
                "additionalModelResponseFieldPaths",
            ),
        )
        for spelling in spellings
    },
    "additional_model_request_fields": _more,
    "additionalModelRequestFields": _more,
}
"""Every field with a meaning upstream; the others are dropped by name."""
