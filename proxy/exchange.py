"""Everything about one request in flight, in slots."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from adapters import estimate
from adapters.errors import InvalidRequest, Kind
from adapters.types import Dialect, Usage
from proxy import metadata
from proxy.seams import Client, Lines
from proxy.trace import Span

if TYPE_CHECKING:
    from proxy.config.leaf import Leaf
    from proxy.config.snapshot import Key, Snapshot
    from proxy.limits import Permit
    from proxy.limits.need import Need

NO_HEADERS: dict[bytes, bytes] = {}
"""Those of a request that needs them no more: one for all, which nobody writes to."""
_SMALL_PROMPT = 1 << 15  # bytes of a prompt that a stream may hold on to as long as it lasts


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One try at one target and how it ended. `duration` is in seconds, until its answer began, or broke off.

    `reason` is why it was made: `first`, `retry`, `fallback`, `hedge` or `continued`; `wait` are the seconds that were
    waited before it. A target that the gateway refused (not allowed, limit reached) counts with the refusal's status.
    `began` is the monotonic clock. `provider` and `model` are what its price is found by, `usage` what the provider
    counted before the attempt failed. `cost` (US dollars, an estimate) is what a try that was given up for another's
    answer may have cost.
    """

    target: str
    where: str
    status: int
    kind: Kind | None
    duration: float
    reason: str = "first"
    wait: float = 0.0
    provider: str = "none"
    model: str = ""
    began: float = 0.0
    cost: float | None = None
    usage: Usage | None = None


GAPS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Edges (seconds) of the gaps that are told apart: shorter ones than the first are counted and no more."""


class Gaps(msgspec.Struct, gc=False):
    """The gaps between a stream's events: how many, their sum (seconds), and how many of them lie in each of the
    intervals that `GAPS` begins."""

    count: int
    sum: float
    long: list[int]

    def add(self, other: Gaps) -> None:
        """Counts those of another stream as well."""
        self.count += other.count
        self.sum += other.sum
        self.long = [one + another for one, another in zip(self.long, other.long, strict=True)]


class Proof(msgspec.Struct, gc=False):
    """The token that the last request on a connection showed, and its SHA-256. The next one shows the same, as a rule;
    it is kept no longer than the connection, whose buffers have it anyway."""

    token: bytes = b""
    digest: bytes = b""


def family_of(dialect: Dialect, path: str, found: Mapping[bytes, bytes]) -> str:
    """Whose error shape the client of a route expects, see `Dialect.family`. Where the path belongs to no dialect,
    Google's clients are known by its beginning or their key's header, and Anthropic's by theirs."""
    if dialect is not Dialect.PASSTHROUGH:
        return dialect.family
    if path.startswith(("/v1beta/", "/v1beta1/")):
        return "gemini"
    if b"anthropic-version" in found:
        return "anthropic"
    return "gemini" if b"x-goog-api-key" in found else "openai"


class Exchange(msgspec.Struct, eq=False):
    """One request from its head to its settlement.

    `headers` are the few header fields the gateway reads, by lower-case name with `x-loopway-` written as
    `x-portkey-`; `raw_headers` are all of them. `started` and `first_byte` are seconds of the monotonic clock, `at` is
    Unix time. `body_model` is the model as the body has it, `path_model` as the path does in dialects that have it
    there, `model` the one to route by. Once `committed`, bytes of an answer have gone to the client; once `consumed`,
    the request's body has streamed to a provider and is not here any more: nothing can be tried again.

    `read` is when the request's body was here (monotonic clock; 0: it streamed), `upstream` the seconds that were
    waited for providers until the answer began, `queued` those for permits: what else it took, the gateway took itself.

    `cache` is what the cache did for this request, in the words of `x-portkey-cache-status`, None where it was not
    asked. For one that it answered, `usage` stays None, because nothing was used, and `saved` is what the kept answer
    had cost. `user` is the body's field of that name, as JSON text; `tags` is for `metadata` alone to fill. `config` is
    the slug of the saved config that decided. `prompt` (`prompt_tokens` in its place, if it is large) is the body of a
    request whose answer may end without anybody having counted its tokens. `ended` is set when the request has settled;
    `reserved` says that the ledger knows it already. `span` is the place in a trace, where traces are exported.
    `dropped` are the parameters that did not survive translation. `prefilled`: the body's last message is what was
    delivered of an answer that broke off, to be gone on from. `gaps` are those of a stream that came to its end.
    `need` is what the request may use, as limits guess it once. `proof` is what its connection has shown before.

    A Struct, because one is made for every request: filling its slots costs a tenth of what `__init__` would.
    """

    client: Client
    snapshot: Snapshot
    method: str
    path: str
    query: str
    headers: dict[bytes, bytes]
    raw_headers: Lines
    request_id: str
    trace_id: str
    started: float
    at: float = 0.0
    body: bytes = b""
    dialect: Dialect = Dialect.PASSTHROUGH
    key: Key | None = None
    leaf: Leaf | None = None
    model: str | None = None
    body_model: str | None = None
    path_model: str | None = None
    status: int = 0
    kind: Kind | None = None
    attempts: list[Attempt] = []
    retries: int = 0
    committed: bool = False
    consumed: bool = False
    streamed: bool = False
    first_byte: float = 0.0
    usage: Usage | None = None
    cache: str | None = None
    saved: Usage | None = None
    user: bytes = b""
    tags: dict[str, str] | None = None
    permit: Permit | None = None
    need: Need | None = None
    read: float = 0.0
    upstream: float = 0.0
    queued: float = 0.0
    config: str | None = None
    prompt: bytes = b""
    prompt_tokens: int = 0
    ended: float = 0.0
    reserved: bool = False
    span: Span | None = None
    dropped: tuple[str, ...] = ()
    prefilled: bool = False
    gaps: Gaps | None = None
    proof: Proof | None = None

    def __repr__(self) -> str:
        return f"Exchange({self.method} {self.path} → {self.status or '…'})"

    def let_go(self) -> None:
        """Once an answer has begun the request will not be sent again: a stream may last for an hour, and need not
        hold a prompt of a megabyte all that time."""
        if b"x-portkey-metadata" in self.headers or b"baggage" in self.headers:
            self.metadata  # noqa: B018 - read now, because it is kept and the headers are not
        if self.streamed:
            self._keep_prompt()
        self.body = b""
        self.headers = NO_HEADERS
        self.raw_headers = ()

    async def queue(self, waiting: Awaitable[Permit]) -> Permit:
        """Waits for a permit, and knows how long."""
        began = monotonic()
        try:
            return await waiting
        finally:
            self.queued += monotonic() - began

    def _keep_prompt(self) -> None:
        """Keeps what is needed to guess at the prompt's tokens, if nobody counts them: a small prompt itself, else its
        tokens (but for Anthropic's, who counts them first of all)."""
        if len(self.body) <= _SMALL_PROMPT:
            self.prompt = self.body
        elif self.leaf is not None and self.leaf.target.vendor != "anthropic":
            self._count_prompt(self.body)

    def _count_prompt(self, body: bytes) -> None:
        try:
            self.prompt_tokens = estimate.input_tokens(body)
        except InvalidRequest:
            pass  # then it was no chat, and nobody will ask

    def lighten(self) -> int:
        """Called while an answer lasts: a prompt that was kept becomes the number of its tokens. Most streams end
        before that, or with the provider's own count. Returns the prompt's bytes."""
        prompt, self.prompt = self.prompt, b""
        if prompt:
            self._count_prompt(prompt)
        return len(prompt)

    @property
    def family(self) -> str:
        """Whose error shape the client expects."""
        return family_of(self.dialect, self.path, self.headers)

    @property
    def metadata(self) -> dict[str, str]:
        """The request's metadata, read when first asked for: see `proxy.metadata`. Not to be changed."""
        if self.tags is None:
            self.tags = metadata.read(self.headers, {} if self.key is None else self.key.metadata, self.user)
        return self.tags

    def header(self, name: bytes) -> str | None:
        """A header's value as text, or None. Not for security: bytes that are no UTF-8 become U+FFFD."""
        value = self.headers.get(name)
        return None if value is None else value.decode("utf-8", "replace")
