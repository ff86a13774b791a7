"""Every field that a provider's answer can have, whole or streamed, reaches a client or is named to it.

The SDKs' own types say which fields there are, so a new version of one that brings more is walked as well. One field at
a time has a value that nobody would say by chance; every client's answer is searched for it.
"""

from __future__ import annotations

import base64
import json
import re
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import botocore.session  # type: ignore[import-untyped]
import msgspec
import pytest
from anthropic.types import beta as anthropic
from cohere import V2ChatResponse, V2ChatStreamResponse
from google.genai import types as google
from mistralai.client.models import ChatCompletionResponse, CompletionChunk
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response

from adapters.errors import BadAnswer
from adapters.registry import codec, unsaid
from adapters.types import Call, Codec, Dialect
from tests.adapters.bedrock.streams import event as frame
from tests.adapters.sdk_types import Case, Walk, members

CLIENTS: dict[str, tuple[Dialect, bool, dict[str, Any]]] = {
    "strict": (Dialect.OPENAI_CHAT, True, {"messages": [{"role": "user", "content": "a"}]}),
    "chat": (Dialect.OPENAI_CHAT, False, {"messages": [{"role": "user", "content": "a"}]}),
    "completions": (Dialect.OPENAI_COMPLETIONS, True, {"prompt": "a"}),
    "responses": (Dialect.OPENAI_RESPONSES, True, {"input": "a"}),
    "messages": (Dialect.ANTHROPIC_MESSAGES, True, {"max_tokens": 9, "messages": [{"role": "user", "content": "a"}]}),
    "gemini": (Dialect.GEMINI_GENERATE, True, {"contents": [{"role": "user", "parts": [{"text": "a"}]}]}),
}

NOBODY_MISSES = re.compile(
    "|".join(
        (
            # What an object is, and whose; where it stood; when it was made.
            r"\.(object|role|id|responseId|index|contentBlockIndex|created(_at)?|createTime)(=[\w.]+)?$",
            r"(?<!reason)\.type(=[\w-]+)?$|\.(status|phase)=(?!commentary)\w+$",
            # What says that nothing is out of the usual.
            r"=(standard|default|auto|False|ON_DEMAND|\w*_?UNSPECIFIED)$|\.thought=",
            # Why an answer ended that would end so anyway; and in a stream's first event, where it is null.
            r"_?[rR]eason=(end_turn|tool_use|tool_calls|function_call|stop|STOP|COMPLETE|TOOL_CALL)$",
            r"^\.message\.stop_reason=",
            # What others of its fields come to: sums, the rest of a sum, a token's bytes and number, a place's text.
            r"\.(total_?[tT]okens?(Count)?|text_tokens|ephemeral_5m_input_tokens|estimated_tokens)$",
            r"\[\]\.tokenCount$|\.(bytes|token_ids)\[\]$|\.tokenId$|\.segment\.text$|\.citations(\[\])?\.text$|\.domain$",
            r"\.partialArgs\b|functionCall\.willContinue=|\.modality=TEXT$|\.ttl=5m$|\.cacheDetails\[\]\.inputTokens$",
            # Who served it and how long that took, what was asked, padding, what the provider bills of the tokens.
            r"^\.(system_fingerprint|metadata|obfuscation|prompt|metrics\.latencyMs)$|\.billed_units\.\w+put_tokens$",
        )
    )
)
"""What no client is told and none would ask for."""

_MARK = re.compile(rb"Mark\d{4,}")
_PACKED = re.compile(rb"loopway\.1\.([A-Za-z0-9_=-]+)")
_SEALED = re.compile(rb'"thoughtSignature":"([A-Za-z0-9+/=]+)"')
_DATA = re.compile(rb'"data":"([A-Za-z0-9+/]{12,}=*)"')


class Marking(Walk):
    """Marks the field that a case is about, and nothing else."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._rest = 0

    def mark(self) -> str:
        mark = super().mark()
        return mark.replace("Mark", "Rest") if self._rest else mark

    def least(self, hint: Any, name: str = "", inside: tuple[Any, ...] = ()) -> Any:
        self._rest += 1
        try:
            return super().least(hint, name, inside)
        finally:
            self._rest -= 1


class Place(NamedTuple):
    """Answers of one shape: `put` makes the bytes of a value of the type `hint`."""

    upstream: Dialect
    hint: Any
    put: Callable[[Any], bytes] = msgspec.json.encode
    walk: Walk = Marking()
    whole: bool = True
    model: str = "m"
    of: str = ""
    """Begins the names of what covers everything here."""
    once: str = ""
    """A pattern of paths: of each thing that it finds, one case is enough, for codecs do not look into those."""


def asked(name: str, place: Place) -> tuple[Codec, Call] | None:
    dialect, strict, body = CLIENTS[name]
    made = codec(dialect, place.upstream)
    if made.identity:
        return None
    raw = msgspec.json.encode({"model": place.model, **body, "stream_options": {"include_usage": True}})
    call = Call(dialect, place.model, not place.whole, raw, "id", 1, strict=strict)
    return made, msgspec.structs.replace(call, middle=made.request(call).middle)


class Got(NamedTuple):
    """A client's answer, opened where it is packed, and the names of what it lacks."""

    answer: bytes
    named: frozenset[str]


def got(made: Codec, call: Call, place: Place, body: bytes) -> Got | None:
    """None for an answer that is refused aloud."""
    if place.whole:
        try:
            return Got(opened(made.response(call, body).body), frozenset(unsaid(place.upstream, call, body)))
        except BadAnswer:
            return None
    machine = made.stream(call)
    out = machine.feed(body) + machine.close()
    return None if machine.error is not None else Got(opened(out), frozenset(machine.unsaid))


def opened(out: bytes) -> bytes:
    more = [base64.urlsafe_b64decode(text + b"==") for text in _PACKED.findall(out)]
    more += [base64.b64decode(text + b"==") for text in _SEALED.findall(out)]
    return out + b"".join(map(opened, more)) if more else out


def _says_nothing(case: Case) -> bool:
    """Whether the field is an empty object, as one SDK has it for what is absent."""
    return case.bare is not None and str(case.value).count("{}") > str(case.bare).count("{}")


def cases(place: Place) -> Iterator[Case]:
    seen = set()
    for case in place.walk.cases(place.hint, ""):
        if NOBODY_MISSES.search(case.path) or _says_nothing(case):
            continue
        found = re.match(place.once, case.path) if place.once else None
        if found is not None:
            if found[0] in seen:
                continue
            seen.add(found[0])
        yield case


def covers(name: str, path: str) -> bool:
    """Whether a name is that of the field at a path, or of something that it is part of: kinds may stand in a name."""
    field, _, word = path.removeprefix(".").partition("=")
    paths = [field, f"{field.rpartition('.')[0]}.{word}"] if word else [field]
    name = name.removeprefix("response.")
    for each in paths:
        pattern = re.sub(r"<(\w+)>", r"(?:\\.\1)?", each.replace(".", r"\.").replace("[]", r"\[\]"))
        ends = [at for at, letter in enumerate(pattern) if letter == "\\" and not pattern.startswith(r"\]", at)]
        if any(re.fullmatch(head, name) for at in (*ends, len(pattern)) if (head := _whole(pattern[:at]))):
            return True
    return False


def _whole(pattern: str) -> str:
    """A pattern that is cut, if it is one still."""
    return pattern if pattern.count("(") == pattern.count(")") and not pattern.endswith("\\[") else ""


def lost(place: Place) -> tuple[int, dict[str, list[str]], dict[str, list[str]]]:
    """How many cases there were, what is lost without a word, and what is named though it arrived."""
    silent: dict[str, list[str]] = {}
    overstated: dict[str, list[str]] = {}
    asks = {name: found for name in CLIENTS if (found := asked(name, place)) is not None}
    least = place.walk.least(place.hint)
    body = place.put(least)
    usual = {name: got(*ask, place, body) for name, ask in asks.items()}
    count = 0
    for case in cases(place):
        count += 1
        body = place.put(case.value)
        bare = least if case.bare is None else case.bare
        without, marks = place.put(bare), set(_MARK.findall(body))
        for name, ask in asks.items():
            told, before = got(*ask, place, body), usual[name]
            if told is None or before is None:
                continue
            named = [name for name in told.named if place.of and name.startswith(place.of)]
            named += [name for name in told.named - before.named if covers(name, case.path)]
            if marks:
                arrives = all(mark in told.answer or mark.lower() in told.answer for mark in marks)
            elif case.value == least:
                arrives = True
            else:
                missing = before if bare is least else got(*ask, place, without)
                arrives = missing is None or missing.answer != told.answer
            if not arrives and not named:
                silent.setdefault(case.path, []).append(name)
            if arrives and marks and named:
                overstated.setdefault(case.path, []).append(name)
    return count, silent, overstated


# -- streams


def sse(*events: Any, named: bool = False, end: bytes = b"") -> bytes:
    out = []
    for each in events:
        head = b"event: %b\n" % each["type"].encode() if named else b""
        out.append(b"%bdata: %b\n\n" % (head, msgspec.json.encode(each)))
    return b"".join(out) + end


# -- Anthropic


def anthropic_events(kind: str, value: Any) -> bytes:
    message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": {}}
    start = {"type": "message_start", "message": message}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    said = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}
    stop = {"type": "content_block_stop", "index": 0}
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}
    middle = [block, said, stop]
    if kind == "message_start":
        start = value
    elif kind == "message_delta":
        delta = value
    elif kind == "content_block_start":
        middle = [value, stop]
    elif kind == "content_block_delta":
        of = value["delta"]["type"].partition("_")[0]
        opening = {
            "thinking": {"type": "thinking", "thinking": "", "signature": ""},
            "signature": {"type": "thinking", "thinking": "", "signature": ""},
            "input": {"type": "tool_use", "id": "t", "name": "f", "input": {}},
            "compaction": {"type": "compaction", "content": None},
        }.get(of)
        middle = [block if opening is None else {**block, "content_block": opening}, value, stop]
        if opening is None:
            middle.insert(1, said)
    return sse(start, *middle, delta, {"type": "message_stop"}, named=True)


def anthropic_places() -> Iterator[Place]:
    upstream, model = Dialect.ANTHROPIC_MESSAGES, "claude-sonnet-4-5"
    once = r".*?<(?!text|thinking|redacted_thinking|tool_use|\w+_location|\w+_delta|direct)\w+>"
    yield Place(upstream, anthropic.BetaMessage, model=model, once=once)
    walk = Marking({"index": 0}, skipped={"BetaMessage": frozenset(("content",))})
    for event in members(anthropic.BetaRawMessageStreamEvent):
        kind = event.model_fields["type"].annotation.__args__[0]
        put = lambda value, kind=kind: anthropic_events(kind, value)  # noqa: E731
        of = "content_block." if kind == "content_block_delta" else ""
        yield Place(upstream, event, put, walk, False, model, of, once)


# -- chat


def chat_places() -> Iterator[Place]:
    musts = {
        "ChatCompletion": ("usage",),
        "ChatCompletionChunk": ("usage",),
        "ChatCompletionMessage": ("content",),
        "ChoiceDelta": ("content",),
        "DeltaMessage": ("content",),
        "UsageInfo": ("prompt_tokens", "completion_tokens"),
        "CompletionChunk": ("usage",),
    }
    walk = Marking({"index": 0, "content": "Said", "finish_reason": "stop"}, musts)
    yield Place(Dialect.OPENAI_CHAT, ChatCompletion, walk=walk)
    yield Place(Dialect.OPENAI_CHAT, ChatCompletionChunk, chat_events, walk, False)
    yield Place(Dialect.MISTRAL_CHAT, ChatCompletionResponse, walk=walk)
    yield Place(Dialect.MISTRAL_CHAT, CompletionChunk, chat_events, walk, False)


def chat_events(value: Any) -> bytes:
    return sse(value, end=b"data: [DONE]\n\n")


# -- Gemini

GOOGLES = {
    "GenerateContentResponse": ("candidates",), "Candidate": ("content", "finishReason"), "Content": ("parts", "role"),
    "Blob": ("mimeType", "data"), "FileData": ("fileUri",), "FunctionCall": ("name",), "FunctionResponse": ("name",),
    "ExecutableCode": ("code",), "CodeExecutionResult": ("output",), "GroundingSupport": ("groundingChunkIndices",),
    "GroundingMetadata": ("groundingChunks",), "GroundingChunkWeb": ("uri",), "GroundingChunkMaps": ("uri",),
    "GroundingChunkRetrievedContext": ("uri",),
    "Citation": ("uri",), "LogprobsResult": ("chosenCandidates",),
    "LogprobsResultCandidate": ("token", "logProbability"), "ModalityTokenCount": ("modality", "tokenCount"),
}  # fmt: skip
"""The fields that Google's objects need to say something."""
DATA = frozenset(
    ("text", "functionCall", "inlineData", "executableCode", "codeExecutionResult", "fileData", "functionResponse",
     "toolCall", "toolResponse")
)  # fmt: skip
"""The fields of a part of which it has one."""
ITS_SDKS = frozenset(("sdkHttpResponse", "automaticFunctionCallingHistory", "parsed"))
"""What only Google's SDK puts there."""


def aliases(model: Any) -> frozenset[str]:
    return frozenset(field.alias for field in model.model_fields.values())


def gemini_places() -> Iterator[Place]:
    fixed = {"index": 0, "role": "model", "finishReason": "STOP", "groundingChunkIndices": [0]}
    fixed["groundingChunks"] = [{"web": {"uri": "https://a.cz"}}]
    once = r".*?\.(?:functionResponse|toolCall|toolResponse|videoMetadata|urlContextMetadata|retrievalMetadata)\b"
    upstream, answer = Dialect.GEMINI_GENERATE, google.GenerateContentResponse
    beside = aliases(google.Candidate) - {"content"}
    top = aliases(answer) - {"candidates"}
    for part in sorted(DATA):
        skipped = {"GenerateContentResponse": ITS_SDKS | {"promptFeedback"}, "Part": DATA - {part}}
        if part != "text":
            others = aliases(google.Part) - {part}
            skipped = {"Candidate": beside, "GenerateContentResponse": top, "Part": others}
        walk = Marking(fixed, {**GOOGLES, "Part": (part,)}, skipped)
        for whole in (True, False):
            put, of = (
                msgspec.json.encode if whole else sse,
                "" if part == "text" else f"candidates[].content.parts[].{part}",
            )
            yield Place(upstream, answer, put, walk, whole, of=of, once=once)
    musts = {"GenerateContentResponse": ("promptFeedback",), "GenerateContentResponsePromptFeedback": ("blockReason",)}
    rest = (top | {"candidates"}) - {"promptFeedback"}
    refused = Marking({"blockReason": "SAFETY"}, musts, {"GenerateContentResponse": rest})
    yield Place(upstream, answer, walk=refused)
    yield Place(upstream, answer, sse, refused, False)


# -- Bedrock


def typed(shape: Any, inside: tuple[str, ...] = ()) -> Any:
    """The Python type of one of botocore's shapes."""
    kind = shape.type_name
    if kind == "structure" and not getattr(shape, "is_document_type", False):
        if shape.name in inside:
            return None
        below = (*inside, shape.name)
        fields = {name: typed(member, below) for name, member in shape.members.items()}
        musts = shape.required_members
        hints = {
            name: typing.Required[hint] if name in musts else hint for name, hint in fields.items() if hint is not None
        }
        return typing.TypedDict(shape.name, hints, total=False)  # type: ignore[operator]
    if kind == "list":
        item = typed(shape.member, inside)
        return None if item is None else types.GenericAlias(list, (item,))
    if kind == "string" and shape.enum:
        return typing.Literal[tuple(shape.enum)]
    return {"string": str, "blob": bytes, "boolean": bool, "integer": int, "long": int, "float": float,
            "double": float, "timestamp": str}.get(kind, Any)  # fmt: skip


def bedrock_events(name: str, value: Any) -> bytes:
    events: dict[str, Any] = {
        "messageStart": {"role": "assistant"},
        "contentBlockStart": None,
        "contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "Said"}},
        "contentBlockStop": {"contentBlockIndex": 0},
        "messageStop": {"stopReason": "end_turn"},
        "metadata": {"usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}},
    }
    if name == "contentBlockDelta" and "toolUse" in value["delta"]:
        events["contentBlockStart"] = {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}}
    if name == "contentBlockStart":
        events["contentBlockDelta"] = None
    said = events["contentBlockDelta"] if name == "contentBlockDelta" and "citation" in value["delta"] else None
    events[name] = value
    told = [(each, given) for each, given in events.items() if given is not None]
    if said is not None:
        told.insert(1, (name, said))
    return b"".join(frame(each, given) for each, given in told)


def bedrock_places() -> Iterator[Place]:
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    upstream, name = Dialect.BEDROCK_CONVERSE, "anthropic.claude-sonnet-4-5"
    musts = {"TokenUsage": ("cacheWriteInputTokens",), "CacheDetail": ("ttl", "inputTokens")}
    musts |= {"ConverseResponse": ("output",), "ConverseOutput": ("message",), "ToolUseBlock": ("name", "toolUseId")}
    # Which the service always says of a source, and of what it is the source.
    musts |= {"Citation": ("location",), "CitationsDelta": ("location",), "CitationLocation": ("web",)}
    musts |= {"WebLocation": ("url",), "CitationsContentBlock": ("content",), "CitationGeneratedContent": ("text",)}
    fixed = {"contentBlockIndex": 0}
    answer = typed(model.operation_model("Converse").output_shape)
    yield Place(upstream, answer, walk=Marking(fixed, musts), model=name)
    stream = model.operation_model("ConverseStream").output_shape.members["stream"]
    for each, shape in stream.members.items():
        if not each.endswith("Exception"):
            put = lambda value, each=each: bedrock_events(each, value)  # noqa: E731
            of = "start." if each == "contentBlockDelta" else ""
            yield Place(upstream, typed(shape), put, Marking(fixed, musts), False, name, of)


# -- Cohere


def cohere_events(kind: str, value: Any) -> bytes:
    start = {"type": "message-start", "id": "1", "delta": {"message": {"role": "assistant"}}}
    said = {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Said"}}}}
    end = {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": {"tokens": {"input_tokens": 1}}}}
    call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": ""}}
    before = []
    if kind == "tool-call-delta":
        before = [{"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": call}}}]
    if kind == "message-start":
        return sse(value, said, end)
    if kind == "message-end":
        return sse(start, said, value)
    return sse(start, said, *before, value, end)


def cohere_json(value: Any) -> bytes:
    """Cohere's counts are floats, but whole ones."""
    return msgspec.json.encode(value).replace(b"0.377", b"1337.0")


def cohere_places() -> Iterator[Place]:
    musts = {
        "AssistantMessageResponse": ("content",),
        "ToolCallV2": ("function",),
        "ToolCallV2Function": ("name",),
        "LogprobItem": ("text", "logprobs"),
        "ContentDeltaV2ChatStreamResponse": ("delta",),
        "ChatContentDeltaEventDelta": ("message",),
        "ChatContentDeltaEventDeltaMessage": ("content",),
        "ChatContentDeltaEventDeltaMessageContent": ("text",),
        "Citation": ("sources", "start", "end"),
        "Usage": ("tokens",),
        "UsageTokens": ("input_tokens", "output_tokens"),
    }
    sources = [{"type": "document", "document": {"url": "https://a.cz", "title": "A"}}]
    walk = Marking({"index": 0, "arguments": "{}", "sources": sources}, musts)
    yield Place(Dialect.COHERE_CHAT, V2ChatResponse, cohere_json, walk)
    for event in members(V2ChatStreamResponse):
        kind = event.model_fields["type"].annotation.__args__[0]
        put = lambda value, kind=kind: cohere_events(kind, json.loads(cohere_json({**value, "type": kind})))  # noqa: E731
        of = "delta.message.tool_calls" if kind == "tool-call-delta" else ""
        yield Place(Dialect.COHERE_CHAT, event, put, walk, False, of=of)


# -- Responses

ECHO = frozenset(
    ("background", "error", "instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls",
     "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
     "reasoning", "safety_identifier", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p",
     "truncation", "user", "object", "created_at", "completed_at", "status")
)  # fmt: skip
"""What repeats the request, and what is said before anything else."""


def responses_events(value: Any) -> bytes:
    opened_as = {**value, "output": [], "status": "in_progress"}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": opened_as}]
    for at, item in enumerate(value["output"]):
        events.append({"type": "response.output_item.added", "output_index": at, "item": item})
        place = {"output_index": at, "content_index": 0}
        for part in item.get("content") or () if item["type"] == "message" else ():
            if part["type"] == "refusal":
                events.append({"type": "response.refusal.delta", **place, "delta": part["refusal"]})
                continue
            chances = part.get("logprobs") or []
            events.append({"type": "response.output_text.delta", **place, "delta": part["text"], "logprobs": chances})
            for each in part["annotations"]:
                events.append({"type": "response.output_text.annotation.added", **place, "annotation": each})
        for number, part in enumerate(item.get("summary") or () if item["type"] == "reasoning" else ()):
            delta = {"output_index": at, "summary_index": number, "delta": part["text"]}
            events.append({"type": "response.reasoning_summary_text.delta", **delta})
        for number, part in enumerate(item.get("content") or () if item["type"] == "reasoning" else ()):
            delta = {"output_index": at, "content_index": number, "delta": part["text"]}
            events.append({"type": "response.reasoning_text.delta", **delta})
        events.append({"type": "response.output_item.done", "output_index": at, "item": item})
    events.append({"type": "response.completed", "response": value})
    return sse(*events, named=True)


def responses_places() -> Iterator[Place]:
    once = r".*?\.output\[\]<(?!message|reasoning|function_call>|custom_tool_call>)\w+>"
    musts = {"Response": ("usage",)}
    walk = Marking({"status": "completed", "annotations": []}, musts, {"Response": ECHO})
    yield Place(Dialect.OPENAI_RESPONSES, Response, walk=walk, once=once)
    yield Place(Dialect.OPENAI_RESPONSES, Response, responses_events, walk, False, once=once)


PLACES: dict[str, Callable[[], Iterator[Place]]] = {
    "anthropic": anthropic_places,
    "openai chat and mistral": chat_places,
    "google-genai": gemini_places,
    "bedrock": bedrock_places,
    "cohere": cohere_places,
    "openai responses": responses_places,
}


@pytest.mark.parametrize("sdk", PLACES)
def test_every_field_of_an_answer_arrives_or_is_named(sdk: str) -> None:
    found = [lost(place) for place in PLACES[sdk]()]
    assert [silent for _, silent, _ in found if silent] == []
    assert [overstated for _, _, overstated in found if overstated] == []
    assert sum(count for count, _, _ in found) > 40
