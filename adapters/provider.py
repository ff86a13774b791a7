"""What the table of providers is made of: a row, and what a key's fields make of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from adapters import auth
from adapters.errors import InvalidRequest
from adapters.quirks import Quirks
from adapters.types import Dialect

Paths = Mapping[Dialect, str]
Fields = Mapping[str, Any]
"""Provider fields by name, as a virtual key or a config object's leaf has them."""

Variant = Callable[["Provider", Fields], "Provider"]


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One provider. `paths` says which dialects it speaks, and where below `base_url`.

    `chat_only` and `text_only` are model patterns that decide where a text completion goes when both endpoints exist:
    to chat through the prompt bridge, or to the legacy endpoint and nowhere else. `responses_only` are those of models
    that have no chat endpoint: every client's conversation with them goes to `openai.responses`, if there is a path.

    `stream_paths` are the paths of streamed calls where they differ. `only` restricts a dialect to models that fit one
    of its patterns. `defaults` are values of provider fields that nobody gave. `signer` names how a request is
    authenticated where a fixed header line cannot do it (`proxy.config.signing` has the table). `variant` gives the row
    that is meant by the fields: another address for another kind of deployment, say. It raises InvalidRequest.
    `url_field` is a provider field that holds the whole address, as `custom_host` would. `query` is added to paths that
    are only passed through and bring none; `passed` gives the beginnings of such paths that are elsewhere here.
    `naming` gives the name that a model has in the paths of a dialect, where that is not its name. `prefixes` are what
    stands before the paths of models that fit the patterns.
    `quirks` says, for a dialect, what this provider wants otherwise. A row without `paths` is for passing through only.
    `ended` says what became of the address that a provider had, and what to do instead; then one must be given.
    """

    name: str
    base_url: str
    key_env: str
    docs: str
    auth: auth.Auth = auth.bearer
    paths: Paths
    headers: tuple[tuple[str, str], ...] = ()
    host_required: bool = False
    ended: str = ""
    key_required: bool = True
    chat_only: tuple[str, ...] = ()
    text_only: tuple[str, ...] = ()
    responses_only: tuple[str, ...] = ()
    stream_paths: Paths = {}
    only: Mapping[Dialect, tuple[str, ...]] = {}
    defaults: tuple[tuple[str, str], ...] = ()
    signer: str | None = None
    variant: Variant | None = None
    url_field: str | None = None
    query: str = ""
    passed: Mapping[str, str] = {}
    naming: Mapping[Dialect, Callable[[str], str]] = {}
    prefixes: Mapping[str, tuple[str, ...]] = {}
    quirks: Mapping[Dialect, Quirks] = {}

    @property
    def takes_fields(self) -> bool:
        """Whether provider fields say where requests go or how they are signed."""
        return self.signer is not None or self.variant is not None or "{" in self.base_url

    @property
    def homeless(self) -> str:
        """What is wrong with a key that gives no address where its provider has none."""
        return f"The provider {self.name!r} has no address of its own.{self.ended and ' '}{self.ended}"

    @property
    def by_model(self) -> bool:
        """Whether the address or the dialect depends on the model, or on whether the answer is streamed."""
        return bool(self.stream_paths or self.only or self.prefixes) or any(
            "{model}" in path for path in self.paths.values()
        )


def matches(model: str, patterns: tuple[str, ...]) -> bool:
    """Whether a model name fits one of the shell patterns (`gpt-5*`), case-sensitively."""
    return any(fnmatchcase(model, pattern) for pattern in patterns)


def over_responses(row: Provider, asked: str) -> Provider:
    """The row where the operator says which models only Responses serve: `asked` are patterns, separated by commas.

    A host that has chat in OpenAI's place has Responses beside it; those of a row without are for these models alone.
    Raises InvalidRequest where there is no such place.
    """
    patterns = tuple(each.strip() for each in asked.split(",") if each.strip())
    if Dialect.OPENAI_RESPONSES in row.paths or not patterns:
        return msgspec.structs.replace(row, responses_only=patterns)
    chat, end = row.paths.get(Dialect.OPENAI_CHAT, ""), "/chat/completions"
    if end not in chat or "{model}" in chat:
        raise InvalidRequest(f"The provider {row.name!r} has no Responses here.", "responses_models")
    paths = {**row.paths, Dialect.OPENAI_RESPONSES: chat.replace(end, "/responses")}
    only = {**row.only, Dialect.OPENAI_RESPONSES: patterns}
    return msgspec.structs.replace(row, paths=paths, only=only, responses_only=patterns)
