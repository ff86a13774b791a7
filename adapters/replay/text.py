"""OpenAI text completions: chunks ⇄ completion."""

from __future__ import annotations

import msgspec

from adapters.replay.chat import event, wants_usage
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


class _Choice(msgspec.Struct, gc=False):
    text: str
    index: int = 0
    logprobs: Json | None = None
    finish_reason: str | None = None


_decode_chunk = msgspec.json.Decoder(Json).decode


class TextForm:
    """See `adapters.replay.form.Form`."""

    def whole(self, stream: bytes, request: bytes, usage: Usage | None) -> Assembled | None:
        """The completion that the chunks tell."""
        try:
            return self._whole(stream, request, None if usage is None else told(usage))
        except UNREADABLE:
            return None

    def _whole(self, stream: bytes, request: bytes, usage: Json | None) -> Assembled | None:
        top: Json = {}
        texts: dict[int, list[str]] = {}
        choices: dict[int, _Choice] = {}
        for _, data in cut(stream):
            if data.strip() == b"[DONE]":
                break
            chunk = _decode_chunk(data)
            if chunk.get("error") is not None:
                return None
            for part in msgspec.convert(chunk.pop("choices", None) or [], list[_Choice]):
                choice = choices.setdefault(part.index, _Choice("", part.index))
                texts.setdefault(part.index, []).append(part.text)
                choice.finish_reason = part.finish_reason or choice.finish_reason
                if part.logprobs:
                    choice.logprobs = choice.logprobs or {}
                    grow(choice.logprobs, part.logprobs)
            counted = chunk.pop("usage", None)
            usage = counted if isinstance(counted, dict) else usage
            top.update((name, value) for name, value in chunk.items() if value is not None or name not in top)
        if not choices or any(choice.finish_reason is None for choice in choices.values()):
            return None
        for index, choice in choices.items():
            choice.text = "".join(texts[index])
            choice.logprobs = grown(choice.logprobs)
        top["choices"] = [choices[index] for index in sorted(choices)]
        top["usage"] = usage or _guessed(request, list(choices.values()))
        return Assembled(encode(top), usage is None)

    def keeps(self, body: bytes) -> bool:
        """Whether it has choices."""
        answer = read(body)
        if answer is None or answer.get("error") is not None:
            return False
        try:
            return bool(msgspec.convert(answer.get("choices"), list[_Choice]))
        except UNREADABLE:
            return False

    def events(self, body: bytes, request: bytes) -> bytes:
        """The chunks of a completion: one for each choice, its text and its end."""
        answer = read(body) or {}
        usage = answer.pop("usage", None)
        choices = answer.pop("choices", [])
        wanted = wants_usage(request)
        silent = {"usage": None} if wanted else {}
        out = [event({**answer, "choices": [choice], **silent}) for choice in choices]
        if wanted and usage is not None:
            out.append(event({**answer, "choices": [], "usage": usage}))
        return b"".join((*out, b"data: [DONE]\n\n"))


def _guessed(request: bytes, choices: list[_Choice]) -> Json:
    prompt = (read(request) or {}).get("prompt")
    sent = guessed_output(prompt) if isinstance(prompt, str) else guessed_input(request)
    said = sum(guessed_output(choice.text) for choice in choices)
    return {"prompt_tokens": sent, "completion_tokens": said, "total_tokens": sent + said}


FORM: Form = TextForm()
