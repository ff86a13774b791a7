"""The nouns of translation. See the package's docstring for how they connect."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Protocol, runtime_checkable

import msgspec
from msgspec import Meta

from adapters.errors import UpstreamError


class Dialect(StrEnum):
    """A wire format, named vendor.endpoint."""

    OPENAI_CHAT = "openai.chat"
    OPENAI_COMPLETIONS = "openai.completions"
    OPENAI_RESPONSES = "openai.responses"
    OPENAI_EMBEDDINGS = "openai.embeddings"
    OPENAI_EMBEDDINGS_AS_FLOATS = "openai.embeddings_as_floats"
    OPENAI_MODELS = "openai.models"
    COHERE_CHAT = "cohere.chat"
    COHERE_EMBED = "cohere.embed"
    COHERE_RERANK = "cohere.rerank"
    MISTRAL_CHAT = "mistral.chat"
    MISTRAL_FIM = "mistral.fim"
    NOMIC_EMBED = "nomic.embed"
    RERANK = "common.rerank"
    VOYAGE_RERANK = "voyage.rerank"
    ANTHROPIC_MESSAGES = "anthropic.messages"
    ANTHROPIC_COUNT_TOKENS = "anthropic.count_tokens"
    ANTHROPIC_COMPLETE = "anthropic.complete"
    BEDROCK_CONVERSE = "bedrock.converse"
    BEDROCK_ANTHROPIC = "bedrock.anthropic"
    BEDROCK_COUNT_TOKENS = "bedrock.count_tokens"
    BEDROCK_TITAN_EMBEDDINGS = "bedrock.titan_embeddings"
    BEDROCK_COHERE_EMBEDDINGS = "bedrock.cohere_embeddings"
    GEMINI_GENERATE = "gemini.generate"
    GEMINI_STREAM_ARRAY = "gemini.stream_array"
    GEMINI_COUNT_TOKENS = "gemini.count_tokens"
    GEMINI_EMBED = "gemini.embed"
    GEMINI_BATCH_EMBED = "gemini.batch_embed"
    GEMINI_MODELS = "gemini.models"
    VERTEX_ANTHROPIC = "vertex.anthropic"
    VERTEX_COUNT_TOKENS = "vertex.count_tokens"
    VERTEX_ENDPOINT = "vertex.endpoint"
    VERTEX_OPENAPI = "vertex.openapi"
    VERTEX_PREDICT = "vertex.predict"
    PASSTHROUGH = "passthrough"

    @property
    def family(self) -> str:
        """Whose error shape and model list this dialect's clients expect: `openai`, `anthropic`, `gemini`, or
        a variant that has only its errors within a stream to itself: `responses`, `gemini_array`."""
        return _FAMILIES.get(self.value, "openai")


_FAMILIES = {
    **dict.fromkeys((each.value for each in Dialect if each.value.startswith("anthropic")), "anthropic"),
    **dict.fromkeys((each.value for each in Dialect if each.value.startswith("gemini")), "gemini"),
    Dialect.OPENAI_RESPONSES.value: "responses",
    Dialect.GEMINI_STREAM_ARRAY.value: "gemini_array",
}


_MOST = 2**32
Count = Annotated[int, Meta(ge=0, le=_MOST)]
"""Tokens as a provider tells them. Providers can be anybody's, and what they tell is added to sums that others share:
what no answer can have is not decoded."""
CountAsFloat = Annotated[float, Meta(ge=0, le=_MOST)]
"""The same from those who write them as any other number."""
TierName = Annotated[str, Meta(max_length=64)]
"""The name of a service tier as a provider tells it."""


class Rare(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What few answers have, and most is charged by the piece.

    `video_input` and `video_output` are tokens, parts of the usage's `input` and `output`. `searches` are searches of
    the web, or units of a ranking; `sources` pages that a provider charges in their place; `maps` answers that rest on
    a map; `files` searches of stored files; `sessions` containers for code; `images` pictures that were drawn;
    `seconds` of sound that was heard, `characters` of text that was read aloud, `pages` that were read. `size` is how
    much context a search was to bring: `low`, `medium`, `high`. `region` is where it was computed, where a provider
    tells that and charges more for it. `uncounted`: there is more that is charged, and nobody tells how much.
    """

    video_input: int = 0
    video_output: int = 0
    searches: int = 0
    sources: int = 0
    maps: int = 0
    files: int = 0
    sessions: int = 0
    images: int = 0
    characters: int = 0
    pages: int = 0
    seconds: float = 0.0
    size: str | None = None
    region: str | None = None
    uncounted: bool = False


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one answer in OpenAI's meaning: `input` counts cached tokens too, `output` counts reasoning too.

    So all others are parts of those two: `cached`, `cache_write`, `audio_input` and `image_input` of `input`,
    `cache_write_1h` (written to a cache that lasts an hour) of `cache_write`, the rest of `output`. `tier` is the
    service tier that the provider names (`priority`, `flex`, `batch`, `fast` …). `estimated`: nobody counted, it was
    guessed from text. `rare` is None where there is nothing of it, as nearly always.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cache_write_1h: int = 0
    audio_input: int = 0
    audio_output: int = 0
    image_input: int = 0
    image_output: int = 0
    tier: str | None = None
    estimated: bool = False
    rare: Rare | None = None


class Call(msgspec.Struct, frozen=True, gc=False):
    """One request as a codec sees it.

    `model` is the name the provider shall get (slug prefix and aliases already resolved). `body` is the request as
    received, or with `model` and parameters already replaced. `id` (no prefix) and `created` (Unix seconds) name
    answers whose upstream gives no such thing. `strict` asks for OpenAI's shape and nothing beside it, its words for
    finish reasons among them. `blocks` asks for `content_blocks` (thinking with signatures, images …) all the same: the
    middle of a chain always does, so that what OpenAI's shape cannot say reaches a client whose dialect can. `betas`
    are the words of the client's `anthropic-beta` header, for clouds that want them in the body. `thoughts` is
    `adapters.quirks.Quirks.thoughts` of an upstream that speaks chat, `file_names` that of one which knows names of
    files, `details` one that takes `reasoning_details` back, `prefill` the mark that one wants on an assistant's
    message that it shall go on from (empty: none; None: it does not, or nobody knows). `counted` are the tokens of
    input that an answer's head tells of, for codecs that are `Headed`. `middle` is what `Outbound.middle` gave, for the
    answer's way back; in it, `origin` is the client's dialect, and `names` are the client's names of tools by those
    that were made for the upstream (see `adapters.tool_names`), both as in JSON; None: nobody
    has looked.
    """

    dialect: Dialect
    model: str
    stream: bool
    body: bytes
    id: str
    created: int
    strict: bool = True
    blocks: bool = False
    betas: tuple[str, ...] = ()
    thoughts: str = ""
    file_names: bool = False
    details: bool = False
    prefill: str | None = None
    counted: int | None = None
    middle: Call | None = None
    origin: Dialect | None = None
    names: Mapping[bytes, bytes] | None = None

    @property
    def shows_blocks(self) -> bool:
        """Whether the answer may carry `content_blocks` beside OpenAI's own fields."""
        return self.blocks or not self.strict


def bodiless(call: Call) -> Call:
    """The call for a stream's life, which may be long, without the request's body, which may be large."""
    return msgspec.structs.replace(call, body=b"", middle=None)


class Outbound(msgspec.Struct, frozen=True, gc=False):
    """What goes to the provider: the body, extra header lines, and the names of parameters that could not survive.

    `more` are the bodies of further calls, where the provider takes one input for each and the client gave several. A
    codec that makes them has `combined`, which takes the answers to all of them (see `Several`). `words` are the
    client's names for the fields of a body that speaks chat, for those who cannot pass on all of it (see `in_words`).
    `middle` is what was made of the call on the way, as far as the answer depends on it: a caller that gives it back
    with the call (`Call.middle`) spares translating the request anew when the answer comes, and it alone has the
    client's names for tools whose names had to change. `plain` says of a chat that every name of a tool in it is one
    that any provider takes, so that nobody need look (see `adapters.tool_names`).
    """

    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()
    more: tuple[bytes, ...] = ()
    words: tuple[Mapping[str, str], ...] = ()
    middle: Call | None = None
    plain: bool = False


def in_words(words: tuple[Mapping[str, str], ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of a chat request's fields as its client knows them. The tables are asked in their order, first for the
    name and then for ever shorter beginnings of it; a name that none of them has is the same on both sides."""
    return tuple(dict.fromkeys([_worded(words, name) for name in names]))


def _worded(words: tuple[Mapping[str, str], ...], name: str) -> str:
    head = name
    while head:
        for table in words:
            if head in table:
                return table[head] + name[len(head) :]
        head = head[: max(head.rfind("."), head.rfind("["), 0)]
    return name


class Reply(msgspec.Struct, frozen=True, gc=False):
    """A whole answer in the client's dialect."""

    body: bytes
    usage: Usage | None = None


class StreamDecoder(Protocol):
    """Translates one streamed answer. Any split of the same bytes gives the same output."""

    usage: Usage | None
    error: UpstreamError | None

    @property
    def unsaid(self) -> tuple[str, ...]:
        """What the client is not told of what came so far, as far as was looked: see `adapters.unsaid`."""

    def feed(self, data: bytes) -> bytes:
        """Takes the next bytes from upstream and returns what the client gets for them, maybe nothing.

        Never raises: junk and error events set `error`, after which everything returns b"". What was translated
        before the error is still returned.
        """

    def close(self) -> bytes:
        """Called once when the upstream ended cleanly; returns the rest.

        Sets `error` if the dialect's own end marker never came: a stream cut short is never made to look complete.
        """


@runtime_checkable
class Numbered(Protocol):
    """A machine whose client's events have numbers, so that an error event after them needs the next one."""

    @property
    def sequence(self) -> int:
        """The number of the next event."""


def next_number(machine: object) -> int:
    """The number of a machine's next event; 0 where its events have none."""
    return machine.sequence if isinstance(machine, Numbered) else 0


class Codec(Protocol):
    """Translates one client dialect to one upstream dialect and back. Pure, shared, without state."""

    identity: bool
    """True: bodies are the same bytes on both sides, and nobody need call the other methods but `error`."""

    def request(self, call: Call) -> Outbound:
        """Raises `adapters.errors.InvalidRequest` with the field's path when the request cannot be translated."""

    def response(self, call: Call, body: bytes) -> Reply:
        """Raises `adapters.errors.BadAnswer` when the provider's 2xx body is not of its dialect."""

    def stream(self, call: Call) -> StreamDecoder:
        """Gives the machine for one streamed answer to `call`."""

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Reads a non-2xx answer of the upstream dialect. Never raises."""


@runtime_checkable
class Headed(Protocol):
    """A codec whose provider counts tokens in the answer's head alone: its calls get `counted` from there."""

    usage_header: bytes
    """The field's name in lower case."""


@runtime_checkable
class Several(Protocol):
    """A codec that may make several calls of one request."""

    def combined(self, call: Call, bodies: list[bytes]) -> Reply:
        """One answer of the answers to all calls, in their order. Raises `adapters.errors.BadAnswer`."""
