"""OpenAI chat client → Gemini upstream, on Google's Gemini API and on Vertex AI alike.

`request` turns a chat request into a generateContent request (its messages in `turns`, their parts in `parts`, tools in
`tools`, JSON schemas in `schema`), `response` a whole answer back and `stream` a streamed one; `blocks` says what
OpenAI's shape cannot, `grounding` what an answer rests on. `wire` holds the types of both sides and the table of finish
reasons, `models` what each generation of models takes. Text, arguments and schemas cross as the JSON they came in.
"""

from __future__ import annotations

from collections.abc import Mapping

from adapters import google_errors
from adapters.errors import UpstreamError
from adapters.gemini import request, response, stream
from adapters.types import Call, Outbound, Reply, StreamDecoder


class ChatToGemini:
    """See `adapters.types.Codec`."""

    identity = False

    def request(self, call: Call) -> Outbound:
        """The generateContent request for a chat request. Raises InvalidRequest with the path of the field at fault."""
        return request.translate(call)

    def response(self, call: Call, body: bytes) -> Reply:
        """The chat completion for an answer. Raises BadAnswer when the body is not one."""
        return response.translate(call, body)

    def stream(self, call: Call) -> StreamDecoder:
        """The machine that turns Gemini's events into chat completion chunks."""
        return stream.GeminiStream(call)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Reads Google's error body; a body that is none still gives an error of the status's kind."""
        return google_errors.read(status, headers, body)


CHAT_TO_GEMINI = ChatToGemini()
