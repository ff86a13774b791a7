"""Gemini clients on OpenAI chat upstreams.

`request` turns a generateContent request into a chat request (its contents in `content`, Google's own schemas in
`schema`, both spellings of field names in `names`), `response` a chat completion into an answer, and `stream` chat
chunks into events. `signatures` says what becomes of other makers' thoughts. Text, arguments and schemas are moved as
the JSON they came in, never decoded.
"""

from __future__ import annotations

from collections.abc import Mapping

from adapters import openai_errors
from adapters.errors import UpstreamError
from adapters.gemini_client.request import to_chat
from adapters.gemini_client.response import to_answer
from adapters.gemini_client.stream import GenerateStream
from adapters.types import Call, Outbound, Reply, StreamDecoder


class GenerateToChat:
    """The codec; see `adapters.types.Codec`. `array`: streams are one JSON array instead of server-sent events."""

    identity = False

    def __init__(self, *, array: bool = False) -> None:
        self._array = array

    def request(self, call: Call) -> Outbound:
        """Raises InvalidRequest with the field's path where the request cannot be said in OpenAI's words."""
        return to_chat(call)

    def response(self, call: Call, body: bytes) -> Reply:
        """Raises BadAnswer when `body` is no chat completion."""
        return to_answer(call, body)

    def stream(self, call: Call) -> StreamDecoder:
        """A machine from chat completion chunks to events of streamGenerateContent."""
        return GenerateStream(call, array=self._array)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Reads an OpenAI-dialect error."""
        return openai_errors.read(status, headers, body)


GENERATE_TO_CHAT = GenerateToChat()
ARRAY_TO_CHAT = GenerateToChat(array=True)
