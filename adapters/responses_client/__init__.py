"""OpenAI Responses clients on chat upstreams, without any stored state.

`request` turns a Responses request into a chat request (its items in `items`, its tools in `tools`), `response` a chat
completion into a response, and `stream` chat chunks into Responses events; both make their items with `output`. What
OpenAI's items cannot say (thinking with its signature, tools that ran at the provider) travels as `encrypted_content`
of reasoning items, see `adapters.packing`, so that a client which sends them back, as it must, loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from adapters import openai_errors
from adapters.errors import UpstreamError
from adapters.responses_client.request import to_chat
from adapters.responses_client.response import to_response
from adapters.responses_client.stream import ResponseStream
from adapters.types import Call, Outbound, Reply, StreamDecoder


class ResponsesToChat:
    """The codec; see `adapters.types.Codec`."""

    identity = False

    def request(self, call: Call) -> Outbound:
        """Raises InvalidRequest with the field's path where the request cannot be said in a chat."""
        return to_chat(call)

    def response(self, call: Call, body: bytes) -> Reply:
        """Raises BadAnswer when `body` is no chat completion."""
        return to_response(call, body)

    def stream(self, call: Call) -> StreamDecoder:
        """A machine from chat completion chunks to Responses events."""
        return ResponseStream(call)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Reads an OpenAI-dialect error."""
        return openai_errors.read(status, headers, body)


RESPONSES_TO_CHAT = ResponsesToChat()
