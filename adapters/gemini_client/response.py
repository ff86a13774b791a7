"""Chat completion → generateContent answer, and what the stream machine shares with it."""

from __future__ import annotations

from itertools import chain
from typing import Any

import msgspec
from msgspec import Raw, Struct

from adapters import counting
from adapters.errors import BadAnswer
from adapters.gemini_client import signatures
from adapters.gemini_client.wire import FINISH, Answer, OutCandidate, OutContent, OutModality, OutPart, OutUsage
from adapters.packing import FINAL_ANSWER, OPENAI_ITEM, SAID
from adapters.pivot import (
    FOREIGN,
    FOREIGN_INPUT,
    PHASE,
    REDACTED,
    REFUSAL,
    SIGNATURE,
    TEXT,
    THINKING,
    Annotation,
    CallPart,
    Choice,
    FunctionPart,
    Piece,
    bad_answer,
    calls_of,
    pieces,
    read_completion,
)
from adapters.types import Call, Reply, Usage
from adapters.values import BRACE, BRACKET, QUOTE, UNREADABLE, first, joined

_encode = msgspec.json.Encoder().encode
_str = msgspec.json.Decoder(str).decode
_object = msgspec.json.Decoder(dict[str, Raw]).decode
_annotations = msgspec.json.Decoder(list[Annotation]).decode

EMPTY = Raw(b'""')


class _Url(Struct, gc=False):
    url: str = ""


class _Image(Struct, gc=False):
    type: str = ""
    image_url: _Url | None = None
    part: Raw = Raw(b"")


class _Token(Struct, gc=False):
    token: str
    logprob: float
    top_logprobs: list[_Token] | None = None


class _Logprobs(Struct, gc=False):
    content: list[_Token] | None = None


_image = msgspec.json.Decoder(_Image).decode
_logprobs = msgspec.json.Decoder(_Logprobs).decode


class Thoughts:
    """The thinking of an answer that its next call, or else its end, carries back: see `signatures`. What is said
    between is noted with it, so that it comes back in its place."""

    __slots__ = ("_input", "_open", "kept", "phase")

    def __init__(self) -> None:
        self.kept: list[dict[str, Any] | Raw] = []
        self._input: list[Raw] = []
        self.phase = FINAL_ANSWER
        self._open: list[Raw] = []

    def take(self, kind: int, value: Raw) -> str:
        """Takes one piece of thinking. Returns the signature where it is Google's own, which is told as it is."""
        if kind == THINKING:
            self._open.append(value.copy())
        elif kind == REDACTED:
            self.kept.append({"type": "redacted_thinking", "data": value.copy()})
        elif kind == SIGNATURE:
            text = "".join(map(_str, self._open))
            self._open = []
            signature = _str(value)
            own = signatures.googles(signature)
            if own is not None:
                return own
            self.kept.append({"type": "thinking", "thinking": text, "signature": signature})
        return ""

    def said(self, text: Raw) -> None:
        """Takes note of a text (a JSON string) that comes after what is `kept`."""
        self._settle()
        last, length = self.kept[-1], len(_str(text))
        if isinstance(last, dict) and last["type"] == SAID:
            last["length"] += length
        else:
            self.kept.append({"type": SAID, "length": length})

    def keep(self, block: Raw) -> None:
        """Takes a block that Gemini has no word for: a tool that ran at the provider, or what it gave."""
        self._settle()
        self.kept.append(block.copy())

    def go_on(self, fragment: Raw) -> None:
        """Takes more of the input of the last such block."""
        self._input.append(fragment.copy())

    def _settle(self) -> None:
        written, self._input = self._input, []
        if written and self.kept and isinstance(self.kept[-1], Raw):
            self.kept[-1] = {**_object(self.kept[-1]), "input": args(joined(written))}

    def told(self, signature: str | None = None) -> str:
        """The `thoughtSignature` that carries all taken so far, and `signature`; empty where there is none."""
        self._settle()
        kept, self.kept = self.kept, []
        return signatures.told(kept, signature)


def to_answer(call: Call, body: bytes) -> Reply:
    """Builds the answer. Raises BadAnswer when `body` is no chat completion."""
    completion = read_completion(body)
    usage = counting.usage_of(body)
    try:
        candidates = [_candidate(call, choice) for choice in completion.choices or ()]
    except UNREADABLE as error:
        raise bad_answer(error) from error
    answer = Answer(
        candidates, usage_metadata(usage), completion.model or call.model, completion.id or f"chatcmpl-{call.id}"
    )
    return Reply(_encode(answer), usage)


def usage_metadata(usage: Usage | None) -> OutUsage | None:
    """OpenAI's counts in Gemini's words, where thoughts are counted beside the answer and not in it."""
    if usage is None:
        return None
    said = usage.output - usage.reasoning
    made = OutUsage(usage.input, said, usage.input + usage.output, usage.reasoning, usage.cached)
    if usage.audio_input or usage.image_input:
        made.prompt_tokens_details = _modalities(usage.input, usage.audio_input, usage.image_input)
    if usage.audio_output or usage.image_output:
        made.candidates_tokens_details = _modalities(said, usage.audio_output, usage.image_output)
    if usage.tier in ("priority", "flex"):
        made.service_tier = usage.tier
    return made


def _modalities(total: int, audio: int, image: int) -> list[OutModality]:
    counts = {"TEXT": max(0, total - audio - image), "AUDIO": audio, "IMAGE": image}
    return [OutModality(modality, count) for modality, count in counts.items() if count]


def finish_reason(reason: str | None) -> str:
    """The word for why an answer ended."""
    return FINISH.get(reason or "stop", "STOP")


def call_part(call: Call, part: CallPart, arguments: Raw, number: int, thoughts: Thoughts) -> OutPart:
    """The part for a whole tool call. Raises BadAnswer where it has no name."""
    function = part.function or FunctionPart()
    if not function.name:
        raise BadAnswer("The provider's answer has a tool call without a function name.")
    called = {"id": part.id or f"call_{call.id[-24:]}_{number}", "name": function.name, "args": args(arguments)}
    return OutPart(function_call=called, thought_signature=thoughts.told(function.thought_signature))


def args(arguments: Raw) -> Raw:
    """The arguments of a whole call as a JSON object; what a model cut short or garbled is kept as a text in one."""
    if first(arguments) == BRACE:
        return arguments
    text = _str(arguments) if first(arguments) == QUOTE else ""
    if not text.strip():
        return Raw(b"{}")
    encoded = text.encode()
    try:
        _object(encoded)
    except UNREADABLE:
        return Raw(_encode({"INVALID_JSON": text}))
    return Raw(encoded)


def part_of(piece: Piece, thoughts: Thoughts) -> OutPart | None:
    """The part that one piece of an answer is; None for what waits for a later one, or has no word in Gemini."""
    kind, value = piece
    if kind in (TEXT, REFUSAL):
        if thoughts.kept:
            thoughts.said(value)
        return OutPart(text=value)
    if kind == FOREIGN:
        part = _foreign(value)
        if part is None and _image(value).type != "gemini_part":
            thoughts.keep(value)
        return part
    if kind == FOREIGN_INPUT:
        thoughts.go_on(value)
        return None
    if kind == PHASE:
        if value == thoughts.phase:
            return None
        thoughts.phase = value.copy()
        return OutPart(text=EMPTY, thought_signature=signatures.told([{"type": OPENAI_ITEM, "phase": value}], None))
    own = thoughts.take(kind, value)
    if own:
        return OutPart(text=EMPTY, thought_signature=own)
    return OutPart(text=value, thought=True) if kind == THINKING else None


def _foreign(value: Raw) -> OutPart | None:
    block = _image(value)
    url = block.image_url.url if block.image_url is not None else ""
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None
    return OutPart(inline_data={"mimeType": head[5:-7], "data": data})


def grounding(annotations: list[Raw], said: Raw | None) -> dict[str, Any] | None:
    """OpenAI's URL citations as Gemini's grounding, of all the text that was `said` (a JSON string; None: it is not
    known). Raises one of `UNREADABLE`."""
    lists = [_annotations(each) for each in annotations if first(each) == BRACKET]
    cited = [each.url_citation for each in chain.from_iterable(lists) if each.url_citation is not None]
    if not cited:
        return None
    chunks: dict[str, tuple[int, str]] = {}
    for each in cited:
        chunks.setdefault(each.url, (len(chunks), each.title or each.url))
    text = None if said is None else _str(said)
    supports: dict[tuple[int, int], list[int]] = {}
    for each in cited:
        if each.end_index:
            supports.setdefault((each.start_index, each.end_index), []).append(chunks[each.url][0])
    return {
        "groundingChunks": [{"web": {"uri": url, "title": title}} for url, (_, title) in chunks.items()],
        "groundingSupports": [
            {"segment": _segment(text, start, end), "groundingChunkIndices": indices}
            for (start, end), indices in supports.items()
        ],
    }


def _segment(text: str | None, start: int, end: int) -> dict[str, Any]:
    """A place in a text: Gemini counts bytes of UTF-8, OpenAI characters."""
    if text is None or not 0 <= start <= end <= len(text):
        return {"startIndex": start, "endIndex": end}
    before, part = text[:start].encode("utf-8", "replace"), text[start:end]
    return {"startIndex": len(before), "endIndex": len(before) + len(part.encode("utf-8", "replace")), "text": part}


def logprobs_result(raw: Raw) -> dict[str, Any] | None:
    """OpenAI's log probabilities as Gemini's. Raises one of `UNREADABLE`."""
    if first(raw) != BRACE:
        return None
    tokens = _logprobs(raw).content
    if not tokens:
        return None
    return {
        "chosenCandidates": [_token(each) for each in tokens],
        "topCandidates": [{"candidates": [_token(top) for top in each.top_logprobs or ()]} for each in tokens],
    }


def _token(token: _Token) -> dict[str, Any]:
    return {"token": token.token, "logProbability": token.logprob}


def _candidate(call: Call, choice: Choice) -> OutCandidate:
    said = choice.message
    assert said is not None
    thoughts = Thoughts()
    found = pieces(said)
    texts = [value for kind, value in found if kind == TEXT]
    made = [part_of(piece, thoughts) for piece in found]
    parts = _merged([part for part in made if part is not None])
    for number, part in enumerate(calls_of(said)):
        function = part.function or FunctionPart()
        parts.append(call_part(call, part, function.arguments, choice.index * 100 + number, thoughts))
    rest = thoughts.told()
    if rest:
        parts.append(OutPart(text=EMPTY, thought_signature=rest))
    return OutCandidate(
        OutContent(parts or [OutPart(text=EMPTY)]),
        finish_reason(choice.finish_reason),
        grounding([said.annotations], joined(texts) if texts else None),
        logprobs_result(choice.logprobs),
        choice.index,
    )


def _merged(parts: list[OutPart]) -> list[OutPart]:
    """Google's own signatures are read as parts of their own: the next text is what they came with."""
    made: list[OutPart] = []
    for part in parts:
        last = made[-1] if made else None
        if last is not None and last.thought_signature and last.text == EMPTY and part.text and not part.thought:
            last.text = part.text
        else:
            made.append(part)
    return made
