"""Chat request → generateContent request.

The top level of the body is cut into fields without decoding their values, and each known field has its function in
one table. What has no counterpart is named in `Outbound.dropped`; values are never clamped. The model and whether to
stream are not in the body: Google has them in the path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from adapters.chat import fields
from adapters.chat.request import described, read_all, stops_of
from adapters.chat.wire import JsonSchema
from adapters.effort import beside, implied
from adapters.errors import InvalidRequest
from adapters.gemini.models import traits
from adapters.gemini.schema import normalized
from adapters.gemini.tools import Choice, Tools
from adapters.gemini.turns import MESSAGES, Conversation
from adapters.gemini.wire import AudioWish, ImageConfig, Thinking
from adapters.known import Reader
from adapters.peek import text_fields
from adapters.reading import Dropped, read
from adapters.types import Call, Outbound
from adapters.values import NULL, first

_encode = msgspec.json.Encoder().encode
_decode_str = msgspec.json.Decoder(str).decode
_decode_int = msgspec.json.Decoder(int).decode
_decode_float = msgspec.json.Decoder(float).decode
_decode_bool = msgspec.json.Decoder(bool).decode
_decode_strings = msgspec.json.Decoder(list[str]).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_thinking = msgspec.json.Decoder(Thinking).decode
_IMAGE_CONFIG = Reader(msgspec.json.Decoder(ImageConfig).decode, ImageConfig)
_AUDIO = Reader(msgspec.json.Decoder(AudioWish).decode, AudioWish)


_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576, "max": 24_576}
"""Thinking tokens for each `reasoning_effort`, as Google's own OpenAI-compatible endpoint has them."""
_TIED = ("minimal", "xhigh", "max")
"""Efforts that get no other budget than the one beside them."""
_LEVELS = {
    "minimal": ("minimal", "low"),
    "low": ("low",),
    "medium": ("medium", "high"),
    "high": ("high",),
    "xhigh": ("high",),
    "max": ("high",),
}
"""The thinking levels for each `reasoning_effort`: the first that the model knows."""

_TIERS = {"auto": None, "default": None, "standard": "standard", "flex": "flex", "priority": "priority"}
"""OpenAI's service tiers in Google's words; None is what Google does anyway."""

_OMITTED = Raw(b'"omitted"')
_DISPLAYS = (_OMITTED, Raw(b'"summarized"'))
"""What Anthropic's `thinking` may say of how thoughts are shown: Google's are summaries, or not told."""

_JSON = "application/json"
_JSON_LINE = "Answer with one valid JSON value and nothing else: no prose around it and no code fence."


class Build:
    """A request in the making. `out` is the body, `config` its generationConfig; the rest waits for `finish`."""

    __slots__ = (
        "call",
        "config",
        "conversation",
        "dropped",
        "effort",
        "format",
        "implied",
        "json_mode",
        "max_completion_tokens",
        "max_tokens",
        "out",
        "thinking",
        "tool_choice",
        "tools",
        "traits",
    )

    def __init__(self, call: Call) -> None:
        self.call = call
        self.traits = traits(call.model)
        self.out: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.dropped = Dropped()
        self.tools = Tools(self.dropped)
        self.conversation: Conversation | None = None
        self.tool_choice = Choice()
        self.max_tokens: Raw | None = None
        self.max_completion_tokens: Raw | None = None
        self.effort: str | None = None
        self.implied: str | None = None
        self.thinking: Any = None
        self.json_mode = False
        self.format: JsonSchema | None = None

    def finish(self) -> bytes:
        """Settles what depends on several fields; returns the body."""
        conversation, out, config = self.conversation, self.out, self.config
        if conversation is None:
            raise InvalidRequest("The request needs `messages`.", "messages")
        limit = self.max_completion_tokens or self.max_tokens
        if self.max_tokens not in (None, limit):
            self.dropped.add("max_tokens")
        if limit is not None:
            config["maxOutputTokens"] = limit
        self._think()
        system = conversation.system + self._json()
        body: dict[str, Any] = {"contents": conversation.contents()}
        if system:
            body["systemInstruction"] = {"parts": system}
        self.tools.settle(body, self.tool_choice, mixed=self.traits.signed)
        if config:
            body["generationConfig"] = config
        body.update(out)
        return _encode(body)

    def _think(self) -> None:
        if "thinkingConfig" in self.config:
            # Google's own words, beside which no others count.
            said = {"thinking": self.thinking, "reasoning_effort": self.effort}
            for name in (name for name, value in said.items() if value is not None):
                self.dropped.add(name)
            return
        if self.thinking is False:
            if self.effort not in (None, "none"):
                self.dropped.add("reasoning_effort")
            self.thinking, self.effort = None, "none"
        if self.traits.reasoning is None and isinstance(self.thinking, dict):
            # `Thinking is not enabled for models/…`
            self.thinking = None
            self.dropped.add("thinking")
        adaptive = isinstance(self.thinking, dict) and "thinkingBudget" not in self.thinking
        if adaptive and self.effort not in (None, "none"):
            # How much is the effort's to say.
            shown = self.thinking["includeThoughts"]
            self._by_effort()
            self.config["thinkingConfig"]["includeThoughts"] = shown
        elif self.thinking is not None:
            if self.effort not in (None, self.implied):
                self.dropped.add("reasoning_effort")
            self.config["thinkingConfig"] = self.thinking
        else:
            self._by_effort()

    def _by_effort(self) -> None:
        effort, how = self.effort, self.traits.reasoning
        if effort is None:
            return
        if how is None:
            if effort != "none":
                self.dropped.add("reasoning_effort")
            return
        made: dict[str, Any] = {}
        if effort == "none":
            least = self.traits.unthinking
            if least is None:
                self.dropped.add("reasoning_effort")
                return
            made["thinkingLevel" if how == "level" else "thinkingBudget"] = least
            if least != 0:
                # As far down as it goes.
                self.dropped.add("reasoning_effort")
        elif how == "budget":
            made["thinkingBudget"] = _BUDGETS[effort]
            if effort in _TIED:
                self.dropped.add("reasoning_effort")
        else:
            level = next(word for word in _LEVELS[effort] if word in self.traits.levels)
            made["thinkingLevel"] = level
            if level != effort:
                self.dropped.add("reasoning_effort")
        if self.call.shows_blocks and effort != "none":
            made["includeThoughts"] = True
        self.config["thinkingConfig"] = made

    def _json(self) -> list[Any]:
        """Asks for JSON: in the request's own words, or, where the model takes those beside no tools, in a prompt."""
        wanted, schema = self.format, None
        if wanted is not None:
            schema = normalized(described(wanted, self.dropped), "response_format.json_schema.schema")
        elif not self.json_mode:
            return []
        if self.traits.json_with_tools or not (self.tools.declarations or self.tools.native):
            self.config["responseMimeType"] = _JSON
            if schema is not None:
                self.config["responseJsonSchema"] = schema
            return []
        self.dropped.add("response_format")
        if schema is None:
            return [{"text": _JSON_LINE}]
        return [{"text": f"{_JSON_LINE} It must fit this JSON schema:\n{bytes(schema).decode()}"}]


def translate(call: Call) -> Outbound:
    """The generateContent request for `call`. Raises InvalidRequest with the path of the field at fault."""
    build = Build(call)
    read_all(build, text_fields(call.body), _FIELDS, _HARMLESS)
    return Outbound(build.finish(), (), build.dropped.names())


def _messages(build: Build, name: str, raw: Raw) -> None:
    build.conversation = MESSAGES.tell(raw, Conversation(build.traits, build.dropped, build.call.file_names))


def _max_tokens(build: Build, name: str, raw: Raw) -> None:
    read(_decode_int, raw, name)
    setattr(build, name, raw)


def _configured(google: str, decode: Callable[[Raw], Any]) -> Callable[[Build, str, Raw], None]:
    """A field that goes to generationConfig under another name, checked by `decode` and otherwise as it is."""

    def put(build: Build, name: str, raw: Raw) -> None:
        read(decode, raw, name)
        build.config[google] = raw

    return put


def _stream_arguments(build: Build, name: str, raw: Raw) -> None:
    # An answer that comes whole needs none of it, and Vertex AI refuses it there.
    build.tools.streamed = read(_decode_bool, raw, name) and build.call.stream


def _forwarded(google: str) -> Callable[[Build, str, Raw], None]:
    """A field of Google's own."""

    def put(build: Build, name: str, raw: Raw) -> None:
        build.out[google] = raw

    return put


def _stop(build: Build, name: str, raw: Raw) -> None:
    build.config["stopSequences"] = stops_of(raw, name)


def _choices(build: Build, name: str, raw: Raw) -> None:
    if read(_decode_int, raw, name) != 1:
        build.config["candidateCount"] = raw


def _logprobs(build: Build, name: str, raw: Raw) -> None:
    if read(_decode_bool, raw, name):
        build.config["responseLogprobs"] = True


def _top_logprobs(build: Build, name: str, raw: Raw) -> None:
    if read(_decode_int, raw, name):
        build.config["logprobs"] = raw


def _tools(build: Build, name: str, raw: Raw) -> None:
    build.tools.add_all(raw)


def _functions(build: Build, name: str, raw: Raw) -> None:
    build.tools.add_functions(raw)


def _web_search(build: Build, name: str, raw: Raw) -> None:
    build.dropped.strangers(read(_decode_object, raw, name), frozenset(), name)
    build.tools.search()


def _thinking(build: Build, name: str, raw: Raw) -> None:
    thinking = read(_decode_thinking, raw, name)
    more = beside(raw)
    if thinking.type == "disabled":
        build.thinking = False
        for other in more:
            build.dropped.add(f"{name}.{other}")
        return
    build.implied = implied(raw)
    build.thinking = {"includeThoughts": more.get("display") != _OMITTED}
    for other, value in more.items():
        if other != "display" or value not in _DISPLAYS:
            build.dropped.add(f"{name}.{other}")
    if thinking.budget_tokens is not None:
        build.thinking["thinkingBudget"] = thinking.budget_tokens


def _thinking_config(build: Build, name: str, raw: Raw) -> None:
    build.config["thinkingConfig"] = raw


def _modalities(build: Build, name: str, raw: Raw) -> None:
    build.config["responseModalities"] = [word.upper() for word in read(_decode_strings, raw, name)]


def _image_config(build: Build, name: str, raw: Raw) -> None:
    wanted = _IMAGE_CONFIG.read(raw, build.dropped, name)
    made = {"aspectRatio": wanted.aspect_ratio, "imageSize": wanted.image_size}
    build.config["imageConfig"] = {name: value for name, value in made.items() if first(value) != NULL}


def _audio(build: Build, name: str, raw: Raw) -> None:
    wanted = _AUDIO.read(raw, build.dropped, name)
    if wanted.voice is not None:
        voice = {"prebuiltVoiceConfig": {"voiceName": wanted.voice}}
        build.config["speechConfig"] = {"voiceConfig": voice}
    if wanted.format not in (None, "pcm16"):
        build.dropped.add("audio.format")


def _service_tier(build: Build, name: str, raw: Raw) -> None:
    tier = read(_decode_str, raw, name)
    if tier not in _TIERS:
        build.dropped.add(name)
    elif _TIERS[tier] is not None:
        build.out["serviceTier"] = _TIERS[tier]


_FIELDS: dict[str, Callable[[Build, str, Raw], None]] = {
    **fields.READERS,
    "messages": _messages,
    "max_tokens": _max_tokens,
    "max_completion_tokens": _max_tokens,
    "temperature": _configured("temperature", _decode_float),
    "top_p": _configured("topP", _decode_float),
    "top_k": _configured("topK", _decode_float),
    "seed": _configured("seed", _decode_int),
    "n": _choices,
    "presence_penalty": _configured("presencePenalty", _decode_float),
    "frequency_penalty": _configured("frequencyPenalty", _decode_float),
    "stop": _stop,
    "logprobs": _logprobs,
    "top_logprobs": _top_logprobs,
    "tools": _tools,
    "functions": _functions,
    "web_search_options": _web_search,
    "reasoning_effort": fields.effort(_BUDGETS),
    "thinking": _thinking,
    "modalities": _modalities,
    "image_config": _image_config,
    "audio": _audio,
    "service_tier": _service_tier,
    # Google's own.
    "stream_function_call_arguments": _stream_arguments,
    "thinking_config": _thinking_config,
    "thinkingConfig": _thinking_config,
    "safety_settings": _forwarded("safetySettings"),
    "safetySettings": _forwarded("safetySettings"),
    "cached_content": _forwarded("cachedContent"),
    "cachedContent": _forwarded("cachedContent"),
    "labels": _forwarded("labels"),
}
"""Every field with a meaning upstream; the others are dropped by name."""

_HARMLESS: dict[str, tuple[Raw, ...]] = {
    "logit_bias": (Raw(b"{}"),),
    "store": (Raw(b"false"),),
    "verbosity": (fields.MEDIUM,),
    "reasoning": (fields.SUMMARY,),
    "metadata": (Raw(b"{}"),),
}
"""Values that ask for nothing: leaving them out loses nothing, so they are not reported."""
