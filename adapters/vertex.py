"""Vertex AI, where several makers' models are, each in its maker's dialect: what is different from there.

A model's prefix says whose it is: `google.` (which may be left out), `anthropic.`, `meta.`, `mistralai.`, and
`endpoints.` for an endpoint of one's own. Anthropic's models take Messages with the version in the body and the model
in the path, so Anthropic's clients lose nothing on the way. The others speak OpenAI's dialect.

https://docs.anthropic.com/en/api/claude-on-vertex-ai and
https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/use-partner-models
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from adapters import counting, google_errors, peek
from adapters.anthropic import CHAT_TO_MESSAGES
from adapters.anthropic.native import NativeStream
from adapters.anthropic.thoughts import own_alone
from adapters.anthropic.wire import Typed
from adapters.betas import VERTEX, sift
from adapters.chain import Verbatim
from adapters.errors import BadAnswer, UpstreamError, no_thread
from adapters.framing.sse import Event
from adapters.quirks import Fields, Quirks
from adapters.types import Call, Outbound, Reply, StreamDecoder
from adapters.values import UNREADABLE

VERSION = "vertex-2023-10-16"

_encode = msgspec.json.Encoder().encode
_decode_type = msgspec.json.Decoder(Typed).decode
_decode_str = msgspec.json.Decoder(str).decode

_PUBLISHERS = ("google", "anthropic", "meta", "mistralai", "endpoints")

GOOGLES = ("google.*", "gemini*", "gemma*", "medlm*", "learnlm*")
EMBEDDINGS = (
    *("google.*embedding*", "text-embedding*", "text-multilingual-embedding*", "textembedding*"),
    *("gemini-embedding*", "multimodalembedding*"),
)
ANTHROPICS = ("anthropic.*", "claude-*")
MISTRALS = ("mistralai.*", "mistral-*", "codestral-*", "ministral-*")
ENDPOINTS = ("endpoints.*",)
OPENAPI = ("meta.*", "*/*")
"""Models of other makers that Vertex AI serves in OpenAI's dialect go by `maker/model` there."""


def bare(model: str) -> str:
    """The model's name without the prefix that says whose it is."""
    publisher, dot, rest = model.partition(".")
    return rest if dot and publisher in _PUBLISHERS else model


OTHER_HOSTS = {
    "global": "aiplatform.googleapis.com",
    "us": "aiplatform.us.rep.googleapis.com",
    "eu": "aiplatform.eu.rep.googleapis.com",
}
"""The hosts of places that are no single region."""


def _named(fields: Fields) -> tuple[str, ...]:
    fields["model"] = Raw(_encode(bare(_decode_str(fields["model"]))))
    return ()


def _published(fields: Fields) -> tuple[str, ...]:
    model = _decode_str(fields["model"])
    if model.startswith("meta."):
        fields["model"] = Raw(_encode(f"meta/{model[5:]}"))
    return ()


NAMED = Quirks(developers=False, patch=_named, touches=("model",))
PUBLISHED = Quirks(developers=False, patch=_published, touches=("model",))


def _wrapped(call: Call, body: bytes, *, model: bool = False) -> Outbound:
    """A Messages request as Vertex AI takes it: the version comes, the model goes unless it is asked for."""
    fields: dict[str, Any] = dict(peek.fields(body))
    if "thread" in fields:
        raise no_thread()
    fields.pop("model", None)
    if model:
        fields["model"] = bare(call.model)
    fields.setdefault("anthropic_version", VERSION)
    betas, dropped = sift(call.betas, VERTEX)
    return Outbound(_encode(fields), (("anthropic-beta", ",".join(betas)),) if betas else (), dropped)


class _OnVertex:
    """What all of these have alike; see `adapters.types.Codec`."""

    identity = False

    def stream(self, call: Call) -> StreamDecoder:
        """Events pass as they are."""
        return RawStream()

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Reads Google's error, or Anthropic's from behind it."""
        return google_errors.read(status, headers, body)


class MessagesToRaw(_OnVertex):
    """Anthropic's clients on Anthropic's models: every field and every answer passes."""

    def request(self, call: Call) -> Outbound:
        """The same request, but for the model and the version. Raises InvalidRequest."""
        body, lost = own_alone(call.body)
        made = _wrapped(call, body)
        return msgspec.structs.replace(made, dropped=lost + made.dropped) if lost else made

    def response(self, call: Call, body: bytes) -> Reply:
        """The body as it is. Raises BadAnswer when it is no message."""
        try:
            kind = _decode_type(body).type
        except UNREADABLE as error:
            raise BadAnswer("The answer is not an Anthropic message.") from error
        if kind != "message":
            raise BadAnswer("The answer is not an Anthropic message.")
        return Reply(body, counting.usage_of(body))


class CountToRaw(_OnVertex):
    """Anthropic's count of tokens, which has a model of its own in the path."""

    def request(self, call: Call) -> Outbound:
        """The same request with the version. Raises InvalidRequest."""
        body, lost = own_alone(call.body)
        made = _wrapped(call, body, model=True)
        return msgspec.structs.replace(made, dropped=lost + made.dropped) if lost else made

    def response(self, call: Call, body: bytes) -> Reply:
        """The body as it is."""
        return Reply(body)

    def stream(self, call: Call) -> StreamDecoder:
        """Counts do not stream."""
        return Verbatim()


class ChatToRaw(_OnVertex):
    """OpenAI's clients on Anthropic's models: as on Anthropic's own API, wrapped."""

    def request(self, call: Call) -> Outbound:
        """Raises InvalidRequest with the path of the field at fault."""
        inner = CHAT_TO_MESSAGES.request(_renamed(call))
        outer = _wrapped(call, inner.body)
        return Outbound(outer.body, (*inner.headers, *outer.headers), (*inner.dropped, *outer.dropped))

    def response(self, call: Call, body: bytes) -> Reply:
        """Raises BadAnswer when the body is no message."""
        return CHAT_TO_MESSAGES.response(_renamed(call), body)

    def stream(self, call: Call) -> StreamDecoder:
        """The machine of Anthropic's own API, which skips events that it does not know."""
        return CHAT_TO_MESSAGES.stream(_renamed(call))


def _renamed(call: Call) -> Call:
    return msgspec.structs.replace(call, model=bare(call.model))


class RawStream(NativeStream):
    """Anthropic's events as they are, without those of Vertex AI's own. See `adapters.types.StreamDecoder`."""

    __slots__ = ()

    def _take(self, events: list[Event], out: list[bytes]) -> None:
        for name, data in events:
            if name != b"vertex_event":
                self._pass(data, out)
            if self._over:
                return


MESSAGES_TO_RAW = MessagesToRaw()
COUNT_TO_RAW = CountToRaw()
CHAT_TO_RAW = ChatToRaw()
