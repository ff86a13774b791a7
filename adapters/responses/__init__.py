"""OpenAI chat client → OpenAI Responses upstream, for models that are served there alone.

`request` turns a chat request into a Responses request (its messages in `items`, its tools in `tools`), `response` a
whole answer back, `stream` a streamed one event by event; `wire` holds the types of both sides and the tables. Nothing
is stored: every request says `store: false` and asks for what the model thought in a form that only OpenAI can read.
That travels as the signature of `thinking` blocks, so that a client of any dialect which carries those brings it back.

The other direction, clients that speak Responses, is `adapters.responses_client`.
"""

from __future__ import annotations

from collections.abc import Mapping

from adapters import openai_errors
from adapters.errors import UpstreamError
from adapters.responses import request, response, stream
from adapters.types import Call, Outbound, Reply


class ChatToResponses:
    """See `adapters.types.Codec`."""

    identity = False

    def request(self, call: Call) -> Outbound:
        """The Responses request for a chat request. Raises InvalidRequest with the path of the field at fault."""
        return request.translate(call)

    def response(self, call: Call, body: bytes) -> Reply:
        """The chat completion for a response. Raises BadAnswer when the body is not one, or tells of a failure."""
        return response.translate(call, body)

    def stream(self, call: Call) -> stream.ResponsesStream:
        """The machine that turns Responses events into chat completion chunks."""
        return stream.ResponsesStream(call)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Reads an error answer of OpenAI's shape. Never raises."""
        return openai_errors.read(status, headers, body)


CHAT_TO_RESPONSES = ChatToResponses()
