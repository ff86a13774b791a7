"""Anthropic's clients on Anthropic's models: InvokeModel takes Messages requests as they are, and answers so.

Of the request only `model` and `stream` go (they are in the path) and `anthropic_version` comes; betas that the client
named in its header go into the body, where Bedrock wants them, if it knows them, behind those that are there. Answers
pass byte for byte; of a streamed one every event does, out of the base64 that Bedrock wraps it in.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html and
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping

import msgspec

from adapters import counting, peek
from adapters.anthropic.native import NativeStream
from adapters.anthropic.thoughts import own_alone
from adapters.anthropic.wire import Typed
from adapters.bedrock import response
from adapters.betas import BEDROCK, sift
from adapters.chain import Verbatim
from adapters.errors import BadAnswer, UpstreamError, no_thread
from adapters.framing.eventstream import FAILED, Frames
from adapters.framing.sse import Event
from adapters.reading import read
from adapters.types import Call, Outbound, Reply, StreamDecoder
from adapters.values import UNREADABLE

VERSION = "bedrock-2023-05-31"
_COUNTED_LIMIT = 1024
"""`max_tokens` of a request that is only counted, which Bedrock wants as well; it counts for nothing."""

_encode = msgspec.json.Encoder().encode
_decode_betas = msgspec.json.Decoder(list[str]).decode
_decode_type = msgspec.json.Decoder(Typed).decode


class _Chunk(msgspec.Struct, gc=False):
    bytes: str


class _Count(msgspec.Struct, rename="camel", gc=False):
    input_tokens: int


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_count = msgspec.json.Decoder(_Count).decode


def _bare(call: Call) -> tuple[bytes, tuple[str, ...]]:
    """The request without what is in the path, with what Bedrock wants in the body; and what could not come along."""
    body, lost = own_alone(call.body)
    body = peek.without(body, ("model", "stream"))
    present = peek.fields(body)
    if "thread" in present:
        raise no_thread()
    added: dict[str, object] = {}
    betas, dropped = sift(call.betas, BEDROCK)
    if betas and "anthropic_beta" in present:
        own = read(_decode_betas, present["anthropic_beta"], "anthropic_beta")
        betas = () if set(betas) <= set(own) else tuple(dict.fromkeys((*own, *betas)))
    if "anthropic_version" not in present:
        added["anthropic_version"] = VERSION
    if betas:
        added["anthropic_beta"] = list(betas)
    return (peek.with_params(body, added) if added else body), lost + dropped


class MessagesToInvoke:
    """See `adapters.types.Codec`."""

    identity = False

    def request(self, call: Call) -> Outbound:
        """The same request, but for the model, the stream flag, the version and betas. Raises InvalidRequest."""
        body, dropped = _bare(call)
        return Outbound(body, dropped=dropped)

    def response(self, call: Call, body: bytes) -> Reply:
        """The body as it is. Raises BadAnswer when it is no message."""
        try:
            typed = _decode_type(body)
        except UNREADABLE as error:
            raise BadAnswer("The answer is not an Anthropic message.") from error
        if typed.type != "message":
            raise BadAnswer("The answer is not an Anthropic message.")
        return Reply(body, counting.usage_of(body))

    def stream(self, call: Call) -> StreamDecoder:
        """The machine that unwraps events."""
        return InvokeStream()

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Reads AWS's error."""
        return response.error(status, headers, body)


class InvokeStream(NativeStream):
    """Event stream of wrapped events → Anthropic's server-sent events. See `adapters.types.StreamDecoder`."""

    __slots__ = ()

    framing = Frames

    def _take(self, events: list[Event], out: list[bytes]) -> None:
        for name, data in events:
            if name == b"chunk":
                try:
                    self._pass(a2b_base64(_decode_chunk(data).bytes), out)
                except ValueError as error:
                    raise msgspec.DecodeError("not base64") from error
            elif name[:1] == FAILED:
                self._end(response.event_error(name[1:], data))
            if self._over:
                return


class CountTokens:
    """Anthropic's count of tokens on Bedrock's CountTokens. See `adapters.types.Codec`."""

    identity = False

    def request(self, call: Call) -> Outbound:
        """The request to count, wrapped. Raises InvalidRequest."""
        body, dropped = _bare(call)
        if "max_tokens" not in peek.fields(body):
            body = peek.with_params(body, {"max_tokens": _COUNTED_LIMIT})
        wrapped = b2a_base64(body, newline=False).decode()
        return Outbound(_encode({"input": {"invokeModel": {"body": wrapped}}}), dropped=dropped)

    def response(self, call: Call, body: bytes) -> Reply:
        """The count. Raises BadAnswer."""
        try:
            return Reply(b'{"input_tokens":%d}' % _decode_count(body).input_tokens)
        except UNREADABLE as error:
            raise BadAnswer("The provider's answer holds no count of tokens.") from error

    def stream(self, call: Call) -> StreamDecoder:
        """Counts do not stream."""
        return Verbatim()

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Reads AWS's error."""
        return response.error(status, headers, body)
