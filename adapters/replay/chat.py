"""OpenAI chat: chunks ⇄ completion."""

from __future__ import annotations

from typing import Any

import msgspec

from adapters.pivot import BROKEN
from adapters.replay.form import (
    Assembled,
    Form,
    Json,
    cut,
    encode,
    grow,
    grown,
    guessed_input,
    guessed_output,
    read,
    told,
)
from adapters.types import Usage
from adapters.values import UNREADABLE

_CALLS = ("tool_calls", "function_call")


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: Json | None = None
    message: Json | None = None
    logprobs: Json | None = None
    finish_reason: str | None = None


_CHOICE = frozenset(_Choice.__struct_fields__)
_decode_chunk = msgspec.json.Decoder(Json).decode


class _Grown:
    """One choice under way."""

    __slots__ = ("finish", "logprobs", "message", "rest")

    def __init__(self) -> None:
        self.rest: Json = {}
        self.message: Json = {"role": "assistant", "content": None}
        self.logprobs: Json | None = None
        self.finish: str | None = None

    def take(self, choice: _Choice, rest: Json) -> None:
        self.rest.update(rest)
        delta = choice.delta or {}
        blocks = delta.pop("content_blocks", None)
        grow(self.message, delta)
        if isinstance(blocks, list):
            _grow_blocks(self.message.setdefault("content_blocks", []), blocks)
        if choice.logprobs:
            self.logprobs = self.logprobs or {}
            grow(self.logprobs, choice.logprobs)
        self.finish = choice.finish_reason or self.finish


def _read(choices: Any) -> list[tuple[_Choice, Json]]:
    """The choices of an answer or a chunk, each with what else it has, such as Google's `groundingMetadata`."""
    found = msgspec.convert(choices or [], list[Json])
    return [
        (
            msgspec.convert(each, _Choice),
            {name: value for name, value in each.items() if value is not None and name not in _CHOICE},
        )
        for each in found
    ]


def _grow_blocks(blocks: list[Json], deltas: list[Any]) -> None:
    for part in msgspec.convert(deltas, list[Json]):
        index, delta = part.get("index"), part.get("delta")
        if not isinstance(index, int) or not isinstance(delta, dict) or not 0 <= index < 4096:
            raise msgspec.ValidationError("not a block")
        while len(blocks) <= index:
            blocks.append({})
        grow(blocks[index], delta)


class ChatForm:
    """See `adapters.replay.form.Form`."""

    def whole(self, stream: bytes, request: bytes, usage: Usage | None) -> Assembled | None:
        """The completion that the chunks tell."""
        try:
            return self._whole(stream, request, None if usage is None else told(usage))
        except UNREADABLE:
            return None

    def _whole(self, stream: bytes, request: bytes, usage: Json | None) -> Assembled | None:
        top: Json = {}
        under_way: dict[int, _Grown] = {}
        for _, data in cut(stream):
            if data.strip() == b"[DONE]":
                break
            chunk = _decode_chunk(data)
            if chunk.get("error") is not None:
                return None
            for choice, rest in _read(chunk.pop("choices", None)):
                if choice.delta is not None and any(choice.delta.get(name) for name in _CALLS):
                    return None
                under_way.setdefault(choice.index, _Grown()).take(choice, rest)
            counted = chunk.pop("usage", None)
            usage = counted if isinstance(counted, dict) else usage
            top.update((name, value) for name, value in chunk.items() if value is not None or name not in top)
        if not under_way or any(one.finish is None or one.finish in BROKEN for one in under_way.values()):
            return None
        top["object"] = "chat.completion"
        for hidden in ("obfuscation", "hook_results"):
            top.pop(hidden, None)
        choices: list[Json] = [
            {
                **one.rest,
                "index": index,
                "message": _tidy(one.message),
                "logprobs": one.logprobs,
                "finish_reason": one.finish,
            }
            for index, one in sorted(under_way.items())
        ]
        top["choices"] = choices = grown(choices)
        top["usage"] = usage or _guessed(request, [choice["message"] for choice in choices])
        return Assembled(encode(top), usage is None)

    def keeps(self, body: bytes) -> bool:
        """Whether it has choices, and none calls a tool."""
        answer = read(body)
        if answer is None or answer.get("error") is not None:
            return False
        try:
            choices = msgspec.convert(answer.get("choices"), list[_Choice])
        except UNREADABLE:
            return False
        if any(choice.finish_reason in BROKEN for choice in choices):
            return False
        messages = [choice.message for choice in choices if choice.message is not None]
        return bool(messages) and not any(message.get(name) for message in messages for name in _CALLS)

    def events(self, body: bytes, request: bytes) -> bytes:
        """The chunks of a completion: each choice's text in one, its end in another."""
        answer = read(body) or {}
        usage = answer.pop("usage", None)
        choices = _read(answer.pop("choices", None))
        wanted = wants_usage(request)
        base = {**answer, "object": "chat.completion.chunk"}
        silent = {"usage": None} if wanted else {}
        out: list[bytes] = []
        for choice, rest in choices:
            told = {"index": choice.index, "delta": _delta(choice.message or {}), "logprobs": choice.logprobs}
            ended = {
                "index": choice.index,
                "delta": {},
                "logprobs": None,
                "finish_reason": choice.finish_reason,
                **rest,
            }
            out.append(event({**base, "choices": [{**told, "finish_reason": None}], **silent}))
            out.append(event({**base, "choices": [ended], **silent}))
        if wanted and usage is not None:
            out.append(event({**base, "choices": [], "usage": usage}))
        return b"".join((*out, b"data: [DONE]\n\n"))


def _tidy(message: Json) -> Json:
    return {"role": message.pop("role"), "content": message.pop("content"), "refusal": None, **message}


def _delta(message: Json) -> Json:
    delta = {name: value for name, value in message.items() if value is not None}
    delta.setdefault("content", "")
    blocks = delta.pop("content_blocks", None)
    if isinstance(blocks, list):
        delta["content_blocks"] = [{"index": index, "delta": block} for index, block in enumerate(blocks)]
    return delta


def _guessed(request: bytes, messages: list[Json]) -> Json:
    sent = guessed_input(request)
    said = sum(guessed_output(str(message.get("content") or "")) for message in messages)
    return {"prompt_tokens": sent, "completion_tokens": said, "total_tokens": sent + said}


def wants_usage(request: bytes) -> bool:
    """Whether a streamed request asks for the chunk that counts its tokens."""
    options = (read(request) or {}).get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def event(value: object) -> bytes:
    """One event without a name."""
    return b"data: %b\n\n" % encode(value)


FORM: Form = ChatForm()
