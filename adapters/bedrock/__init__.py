"""AWS Bedrock upstream: OpenAI chat client → Converse, Anthropic client → Anthropic's models without loss, embeddings.

`request` turns a chat request into a Converse request (its blocks in `blocks`), `response` a whole answer or an error
back, `stream` an event stream; `wire` holds the types of the answers and the tables, `models` what each family takes.
The messages are first read into Anthropic's blocks, of which Converse's are another spelling.

`invoke` is for Anthropic's clients: Bedrock takes Messages requests as they are, but for the model and the version.
`embeddings` speaks to Titan and Cohere.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

from collections.abc import Mapping

from adapters.bedrock import embeddings, invoke, request, response, stream
from adapters.errors import UpstreamError
from adapters.types import Call, Outbound, Reply


class ChatToConverse:
    """See `adapters.types.Codec`."""

    identity = False

    def request(self, call: Call) -> Outbound:
        """The Converse request for a chat request. Raises InvalidRequest with the path of the field at fault."""
        return request.translate(call)

    def response(self, call: Call, body: bytes) -> Reply:
        """The chat completion for a Converse answer. Raises BadAnswer when the body is not one."""
        return response.translate(call, body)

    def stream(self, call: Call) -> stream.ConverseStream:
        """The machine that turns Converse events into chat completion chunks."""
        return stream.ConverseStream(call)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Reads AWS's error: its type from a header, its message from the body."""
        return response.error(status, headers, body)


CHAT_TO_CONVERSE = ChatToConverse()
MESSAGES_TO_INVOKE = invoke.MessagesToInvoke()
COUNT_TO_COUNT = invoke.CountTokens()
EMBEDDINGS_TO_TITAN = embeddings.Titan()
EMBEDDINGS_TO_COHERE = embeddings.Cohere()
