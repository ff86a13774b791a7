"""Mistral's chunks as OpenAI's clients read them. Only what has one of a few marks in it is looked into."""

from __future__ import annotations

from typing import Any

import msgspec

from adapters import openai_errors
from adapters.chat.said import ANSWERS
from adapters.framing.machine import Machine
from adapters.framing.sse import Event
from adapters.mistral.response import marked, mend, usage_of
from adapters.types import Call, bodiless
from adapters.unsaid import client_of

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class MistralStream(Machine):
    """Mends one streamed answer. See `adapters.types.StreamDecoder`."""

    __slots__ = ("_call", "_look", "_thinking")

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = bodiless(call)
        self._look = ANSWERS.by(client_of(call)).get(b"")
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
            self._heed(self._look, data)
        if marked(data) is not None:
            self._heed(self._look, data)
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
                mend(choice, said, self._call, False)
                if "content_blocks" in said:
                    for block in said["content_blocks"]:
                        if self._thinking:
                            del block["delta"]["type"]
                        self._thinking = True
        except (KeyError, TypeError, AttributeError) as error:
            raise msgspec.ValidationError("a chunk without its fields") from error
        return _encode(chunk)
