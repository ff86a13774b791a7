"""OpenAI clients on Mistral: nearly the same dialect, and the rest of it.

`request` renames what Mistral calls otherwise and leaves out what it refuses (`wire` has the tables); `response` and
`stream` mend what OpenAI's clients would trip over: thinking as lists of parts, calls without a type, `model_length`.
What needs no mending passes as it came. Text completions of code models go to the fill-in-the-middle endpoint, which
answers like a chat.
"""

from __future__ import annotations

from collections.abc import Mapping

from adapters import openai_errors
from adapters.completions.response import to_completion
from adapters.completions.stream import CompletionStream
from adapters.errors import UpstreamError
from adapters.mistral import request, response, stream
from adapters.types import Call, Outbound, Reply, StreamDecoder


class _Mistral:
    identity = False

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Reads an error answer, `{message, type, …}` or `{detail: […]}`. Never raises."""
        return openai_errors.read(status, headers, body)


class ChatToMistral(_Mistral):
    """See `adapters.types.Codec`."""

    def request(self, call: Call) -> Outbound:
        """Raises InvalidRequest with the path of the field at fault."""
        return request.chat(call)

    def response(self, call: Call, body: bytes) -> Reply:
        """Raises BadAnswer when the body is no chat completion."""
        return Reply(response.mended(call, body), response.usage_of(body))

    def stream(self, call: Call) -> StreamDecoder:
        """A machine that mends chunks."""
        return stream.MistralStream(call)


class CompletionsToFim(_Mistral):
    """See `adapters.types.Codec`."""

    def request(self, call: Call) -> Outbound:
        """Raises InvalidRequest naming the parameter that the endpoint cannot serve."""
        return request.fim(call)

    def response(self, call: Call, body: bytes) -> Reply:
        """Raises BadAnswer when the body is no chat completion."""
        return to_completion(call, body)

    def stream(self, call: Call) -> StreamDecoder:
        """A machine from chat completion chunks to text completion chunks."""
        return CompletionStream(call)


CHAT_TO_MISTRAL = ChatToMistral()
COMPLETIONS_TO_FIM = CompletionsToFim()
