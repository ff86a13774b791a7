"""Mistral's answers as OpenAI's clients read them. Only what has one of a few marks in it is looked into."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from adapters import observe, openai_errors
from adapters.errors import BadAnswer
from adapters.framing.machine import Machine
from adapters.framing.sse import Event
from adapters.pivot import UNREADABLE
from adapters.types import Call, Usage, bodiless

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_marked = re.compile(rb'"content"\s*:\s*\[|"tool_calls"\s*:\s*\[|"model_length"').search
_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"')


class _Tokens(msgspec.Struct, gc=False):
    num_cached_tokens: int | None = None


class _Counted(msgspec.Struct, gc=False):
    usage: _Tokens


_CACHED = b'"num_cached_tokens"'
_counted = msgspec.json.Decoder(_Counted).decode


def usage_of(body: bytes) -> Usage | None:
    """What an answer or a chunk counted. Mistral tells cached tokens in a field of its own too, or there alone."""
    usage = observe.usage_of(body)
    if usage is None or usage.cached or _CACHED not in body:
        return usage
    return msgspec.structs.replace(usage, cached=_counted(body).usage.num_cached_tokens or 0)


def mended(call: Call, body: bytes) -> bytes:
    """The whole answer. Raises BadAnswer when the body is no chat completion."""
    try:
        answer = _decode(body)
        choices = answer["choices"]
        if not choices or any(not isinstance(each.get("message"), dict) for each in choices):
            raise BadAnswer("The provider's answer has no choices with a message.")
        if _marked(body) is None:
            return body
        for choice in choices:
            _mend(choice, choice["message"], call, True)
    except (*UNREADABLE, KeyError, TypeError, AttributeError) as error:
        raise BadAnswer("The provider's answer is not a chat completion.") from error
    return _encode(answer)


def _mend(choice: dict[str, Any], said: dict[str, Any], call: Call, first: bool) -> None:
    if choice.get("finish_reason") == "model_length" and call.strict:
        choice["finish_reason"] = "length"
    for each in said.get("tool_calls") or ():
        each.setdefault("type", "function")
    content = said.get("content")
    if not isinstance(content, list):
        return
    texts = [part.get("text", "") for part in content if part.get("type") == "text"]
    thoughts = [
        "".join(word.get("text", "") for word in part["thinking"]) for part in content if part.get("type") == "thinking"
    ]
    said["content"] = "".join(texts)
    if call.shows_blocks and thoughts:
        thought = {"type": "thinking", "thinking": "".join(thoughts)}
        said["content_blocks"] = [thought] if first else [{"index": 0, "delta": thought}]


class MistralStream(Machine):
    """Mends one streamed answer. See `adapters.types.StreamDecoder`."""

    __slots__ = ("_call", "_thinking")

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = bodiless(call)
        self._thinking = False

    def _take(self, events: list[Event], out: list[bytes]) -> None:
        for _, data in events:
            if data.startswith(b"[DONE]"):
                out.append(b"data: [DONE]\n\n")
                self._end()
            else:
                self._chunk(data, out)
            if self._over:
                return

    def _chunk(self, data: bytes, out: list[bytes]) -> None:
        if b'"choices"' not in data:
            error = openai_errors.read_event(data)
            if error is not None:
                self._end(error)
                return
        if b'"usage"' in data:
            self.usage = usage_of(data) or self.usage
        if _marked(data) is not None:
            data = self._mended(data)
        else:
            msgspec.json.decode(data, type=msgspec.Raw)
            data.decode()
        out += (b"data: ", data, b"\n\n")

    def _mended(self, data: bytes) -> bytes:
        chunk = _decode(data)
        try:
            for choice in chunk["choices"]:
                said = choice["delta"]
                _mend(choice, said, self._call, False)
                if "content_blocks" in said:
                    if self._thinking:
                        del said["content_blocks"][0]["delta"]["type"]
                    self._thinking = True
        except (KeyError, TypeError, AttributeError) as error:
            raise msgspec.ValidationError("a chunk without its fields") from error
        return _encode(chunk)
