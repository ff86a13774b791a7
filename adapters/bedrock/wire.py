"""The types and tables of Bedrock's answers. `Raw` values keep the JSON text they came in; an empty `Raw`: absent."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64

from msgspec import Raw, Struct

from adapters.bedrock.citations import Citation
from adapters.errors import Kind
from adapters.types import Count, TierName, Usage
from adapters.values import ABSENT


class CacheDetail(Struct, rename="camel", gc=False):
    ttl: str | None = None
    input_tokens: Count = 0


class Tokens(Struct, rename="camel", gc=False):
    input_tokens: Count = 0
    output_tokens: Count = 0
    cache_read_input_tokens: Count = 0
    cache_write_input_tokens: Count = 0
    cache_details: list[CacheDetail] | None = None


class ReasoningText(Struct, gc=False):
    text: str = ""
    signature: str | None = None


class Reasoning(Struct, rename="camel", gc=False):
    reasoning_text: ReasoningText | None = None
    redacted_content: str | None = None


class ToolUse(Struct, rename="camel", gc=False):
    name: str = ""
    tool_use_id: str = ""
    input: Raw = ABSENT


class Bytes(Struct, frozen=True, gc=False):
    bytes: str = ""


class Image(Struct, gc=False):
    format: str = "png"
    source: Bytes = Bytes()


class CitedText(Struct, gc=False):
    text: str = ""


class Citations(Struct, gc=False):
    content: list[CitedText] | None = None
    citations: list[Citation] | None = None

    def texts(self) -> list[str]:
        """The cited text, in its pieces."""
        return [each.text for each in self.content or ()]


class Block(Struct, rename="camel", gc=False):
    text: str | None = None
    tool_use: ToolUse | None = None
    reasoning_content: Reasoning | None = None
    image: Image | None = None
    citations_content: Citations | None = None


class Message(Struct):
    content: list[Block]


class Output(Struct):
    message: Message


class Tier(Struct, gc=False):
    type: TierName | None = None


class Answer(Struct, rename="camel"):
    output: Output
    stop_reason: str | None = None
    usage: Tokens | None = None
    service_tier: Tier | None = None


# The events of a streamed answer.


class Start(Struct, rename="camel", frozen=True, gc=False):
    tool_use: ToolUse | None = None


class BlockStart(Struct, rename="camel", gc=False):
    content_block_index: int
    start: Start = Start()


class ToolDelta(Struct, gc=False):
    input: str = ""


class ReasoningDelta(Struct, rename="camel", gc=False):
    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class Delta(Struct, rename="camel", gc=False):
    text: str | None = None
    tool_use: ToolDelta | None = None
    reasoning_content: ReasoningDelta | None = None
    citation: Citation | None = None


class BlockDelta(Struct, rename="camel", gc=False):
    content_block_index: int
    delta: Delta


class BlockStop(Struct, rename="camel", gc=False):
    content_block_index: int


class Stop(Struct, rename="camel", gc=False):
    stop_reason: str | None = None


class Metadata(Struct, rename="camel", gc=False):
    usage: Tokens | None = None
    service_tier: Tier | None = None


class Nothing(Struct, gc=False):
    """An event whose fields do not matter."""


class Told(Struct, gc=False):
    """An error's body; services spell its one field both ways."""

    message: str | None = None
    Message: str | None = None


def counted(tokens: Tokens, tier: Tier | None = None) -> Usage:
    """Bedrock's token counts in OpenAI's meaning: it counts what a cache gave or took beside the rest."""
    read, written = tokens.cache_read_input_tokens, tokens.cache_write_input_tokens
    name = None if tier is None or tier.type == "default" else tier.type
    lasting = sum(each.input_tokens for each in tokens.cache_details or () if each.ttl == _AN_HOUR)
    return Usage(
        tokens.input_tokens + read + written, tokens.output_tokens, read, written, cache_write_1h=lasting, tier=name
    )


_AN_HOUR = "1h"
_OPAQUE = "bedrock:"


def opened(redacted: str) -> str:
    """The `data` of a redacted thought. Anthropic's is text, which Bedrock wraps in base64 once more; other models'
    stays wrapped, with a mark."""
    try:
        text = a2b_base64(redacted).decode("ascii")
    except ValueError:
        return _OPAQUE + redacted
    return text if text.isprintable() else _OPAQUE + redacted


def closed(data: str) -> str:
    """The same in Bedrock's form."""
    if data.startswith(_OPAQUE):
        return data.removeprefix(_OPAQUE)
    return b2a_base64(data.encode(), newline=False).decode()


ERRORS: dict[str, tuple[Kind, int]] = {
    "ValidationException": (Kind.INVALID_REQUEST, 400),
    "SerializationException": (Kind.INVALID_REQUEST, 400),
    "AccessDeniedException": (Kind.FORBIDDEN, 403),
    "UnrecognizedClientException": (Kind.UNAUTHENTICATED, 403),
    "InvalidSignatureException": (Kind.UNAUTHENTICATED, 403),
    "ExpiredTokenException": (Kind.UNAUTHENTICATED, 403),
    "MissingAuthenticationTokenException": (Kind.UNAUTHENTICATED, 403),
    "ResourceNotFoundException": (Kind.NOT_FOUND, 404),
    "ConflictException": (Kind.CONFLICT, 409),
    "ThrottlingException": (Kind.RATE_LIMITED, 429),
    "ServiceQuotaExceededException": (Kind.QUOTA_EXCEEDED, 400),
    "ModelNotReadyException": (Kind.OVERLOADED, 429),
    "ModelTimeoutException": (Kind.TIMEOUT, 408),
    "ModelErrorException": (Kind.BAD_UPSTREAM, 424),
    "ModelStreamErrorException": (Kind.BAD_UPSTREAM, 424),
    "InternalServerException": (Kind.BAD_UPSTREAM, 500),
    "ServiceUnavailableException": (Kind.OVERLOADED, 503),
}
"""AWS's error types, with the status each has when it comes inside a stream."""
