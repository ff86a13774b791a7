"""OpenAI completions client → Anthropic's legacy text API (`/v1/complete`), which claude-2-era models speak.

`request` wraps the prompt in the turn markers those models were trained on, `response` and `stream` turn completions
back; `wire` holds the types of both sides. Error bodies are those of Anthropic's Messages API.
"""

from __future__ import annotations

from collections.abc import Mapping

from adapters.anthropic_text import request, response, stream
from adapters.errors import UpstreamError
from adapters.types import Call, Outbound, Reply


class CompletionsToComplete:
    """See `adapters.types.Codec`."""

    identity = False

    def request(self, call: Call) -> Outbound:
        """The text request for a completions request. Raises InvalidRequest with the path of the field at fault."""
        return request.translate(call)

    def response(self, call: Call, body: bytes) -> Reply:
        """The text completion for Anthropic's answer. Raises BadAnswer when the body is not one."""
        return response.translate(call, body)

    def stream(self, call: Call) -> stream.CompleteStream:
        """The machine that turns completion events into text completion chunks."""
        return stream.CompleteStream(call)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Reads Anthropic's error body; a body that is none still gives an error of the status's kind."""
        return response.error(status, body)


COMPLETIONS_TO_COMPLETE = CompletionsToComplete()
