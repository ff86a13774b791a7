"""Anthropic Messages clients on OpenAI chat upstreams.

`request` turns a Messages request into a chat request, `response` a chat completion into a message, and `stream` chat
chunks into message events. Text, tool arguments and schemas are moved as the JSON they came in, never decoded.
"""

from __future__ import annotations

from collections.abc import Mapping

from adapters import openai_errors
from adapters.anthropic_client.request import to_chat
from adapters.anthropic_client.response import to_message
from adapters.anthropic_client.stream import MessageStream
from adapters.errors import UpstreamError
from adapters.types import Call, Outbound, Reply, StreamDecoder


class MessagesToChat:
    """The codec; see `adapters.types.Codec`."""

    identity = False

    def request(self, call: Call) -> Outbound:
        """Raises InvalidRequest with the field's path where the request cannot be said in OpenAI's words."""
        return to_chat(call)

    def response(self, call: Call, body: bytes) -> Reply:
        """Raises BadAnswer when `body` is no chat completion."""
        return to_message(call, body)

    def stream(self, call: Call) -> StreamDecoder:
        """A machine from chat completion chunks to message events."""
        return MessageStream(call)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Reads an OpenAI-dialect error."""
        return openai_errors.read(status, headers, body)


MESSAGES_TO_CHAT = MessagesToChat()
