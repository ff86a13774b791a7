"""OpenAI chat client → Anthropic Messages upstream.

`request` turns a chat request into a Messages request (its messages in `turns`), `response` a whole answer or an error
back, `stream` a streamed answer event by event; `wire` holds the types of both sides and the tables: stop reasons,
error types; `models` says what each generation of models takes; `native` passes a cloud's events on. Prompts,
schemas and tool inputs cross as the JSON text they came in.
"""

from __future__ import annotations

from collections.abc import Mapping

from adapters.anthropic import request, response, stream
from adapters.errors import UpstreamError
from adapters.types import Call, Outbound, Reply


class ChatToMessages:
    """See `adapters.types.Codec`."""

    identity = False

    def request(self, call: Call) -> Outbound:
        """The Messages request for a chat request. Raises InvalidRequest with the path of the field at fault."""
        return request.translate(call)

    def response(self, call: Call, body: bytes) -> Reply:
        """The chat completion for a Messages answer. Raises BadAnswer when the body is not one."""
        return response.translate(call, body)

    def stream(self, call: Call) -> stream.MessagesStream:
        """The machine that turns Messages events into chat completion chunks."""
        return stream.MessagesStream(call)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Reads Anthropic's error body; a body that is none still gives an error of the status's kind."""
        return response.error(status, body)


CHAT_TO_MESSAGES = ChatToMessages()
