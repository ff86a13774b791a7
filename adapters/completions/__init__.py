"""Text completion clients on chat upstreams: the bridge that lets any chat model serve `/v1/completions`.

The prompt becomes one user message and the answer's text the completion. What only text models can do (echo, log
probabilities, a suffix, several prompts, token arrays, best_of) is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping

from adapters import openai_errors
from adapters.completions.request import to_chat
from adapters.completions.response import to_completion
from adapters.completions.stream import CompletionStream
from adapters.errors import UpstreamError
from adapters.types import Call, Outbound, Reply, StreamDecoder


class CompletionsToChat:
    """The codec; see `adapters.types.Codec`."""

    identity = False

    def request(self, call: Call) -> Outbound:
        """Raises InvalidRequest naming the parameter that a chat model cannot serve."""
        return to_chat(call)

    def response(self, call: Call, body: bytes) -> Reply:
        """Raises BadAnswer when `body` is no chat completion."""
        return to_completion(call, body)

    def stream(self, call: Call) -> StreamDecoder:
        """A machine from chat completion chunks to text completion chunks."""
        return CompletionStream(call)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Reads an OpenAI-dialect error."""
        return openai_errors.read(status, headers, body)


COMPLETIONS_TO_CHAT = CompletionsToChat()
