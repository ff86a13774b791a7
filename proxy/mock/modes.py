"""Modes: how a test tells the mock to misbehave, or to shape its answers.

A mode is a comma list of `name=value` (a bare `name` means 1). It arrives as a path prefix (`/__mode/status=429/v1/…`,
values percent-encoded), as a suffix of the model (`gpt-4o::gap=20,chunks=5`, stripped before use) or as the header
`x-mock-mode`. Where several name the same field the header wins over the model, and the model over the path.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

import msgspec

PATH_PREFIX = "/__mode/"
HEADER = "x-mock-mode"
BEFORE_HEAD = -1
"""Where a cut stands that comes before the status line; 0 is after the headers, n after n bytes of the body."""


class Cut(Enum):
    """How a connection ends early: with RST, with FIN, or not at all (silence)."""

    RESET = "reset_after"
    FIN = "fin_after"
    STALL = "stall_after"


class CutPoint(NamedTuple):
    how: Cut
    at: int


class Mode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one answer shall be like. Times are milliseconds, sizes bytes; the defaults are a healthy provider.

    Pace: `latency` before the headers, `ttft` between headers and first body byte, `gap` between later writes.
    Shape: `chunks` content chunks of a stream, `size` bytes of answer text (both win over `max_tokens`), `preface`
    text before tool calls, `echo` the received request as the content, `headers` further header fields, `set_cookie`,
    `gzip`, `framing` of the body, `split` the body into writes of that many bytes, `close` the connection afterwards.
    Faults: `status` (with `retry_after` seconds, `retry_after_ms`), `redirect` (307 to that URL), `junk` (no JSON),
    `wrong` (other JSON), `bomb` (100 MiB of blanks, gzipped), `reset_after|fin_after|stall_after` (bytes of the body;
    0 is before the headers, `head` right after them), `short` (half of the declared Content-Length),
    `truncate_events` (so many events, then a clean end), `error_after` (so many, then the dialect's error event).
    `early` answers before the body is read (path and header only; the mode must say the whole answer, say `status`).
    `fail_first` confines the faults to the first N requests with the same `key`; without a fault of its own it is
    status 500. Afterwards: `idle_408` sends an unsolicited 408 on the idle connection, `late` a second response
    right behind the first, `idle_close` closes the connection when it has been idle for that many milliseconds.
    """

    latency: float = 0
    ttft: float = 0
    gap: float = 0
    chunks: int = 0
    size: int | None = None
    preface: bool = False
    echo: bool = False
    headers: int = 0
    set_cookie: bool = False
    gzip: bool = False
    framing: Literal["close", "chunked", "length"] | None = None
    split: int = 0
    close: bool = False
    status: int | None = None
    retry_after: str | None = None
    retry_after_ms: int | None = None
    redirect: str | None = None
    junk: bool = False
    wrong: bool = False
    bomb: bool = False
    reset_after: int | None = None
    fin_after: int | None = None
    stall_after: int | None = None
    short: bool = False
    truncate_events: int | None = None
    error_after: int | None = None
    early: bool = False
    fail_first: int = 0
    key: str = ""
    idle_408: bool = False
    late: bool = False
    idle_close: float | None = None

    @property
    def cut(self) -> CutPoint | None:
        """Where the connection breaks, or None."""
        for how in Cut:
            at: int | None = getattr(self, how.value)
            if at is not None:
                return CutPoint(how, at)
        return None

    @property
    def faulty(self) -> bool:
        """Whether any fault is asked for."""
        return any(getattr(self, name) != default for name, default in _HEALTHY.items())

    def failing(self) -> Mode:
        """This mode while `fail_first` still counts: its own faults, or else status 500."""
        return self if self.faulty else msgspec.structs.replace(self, status=500)

    def healthy(self) -> Mode:
        """This mode without its faults."""
        return msgspec.structs.replace(self, **_HEALTHY) if self.faulty else self


_FAULTS = (
    *("status", "redirect", "junk", "wrong", "bomb", "short", "truncate_events", "error_after"),
    *(how.value for how in Cut),
)
_HEALTHY: dict[str, Any] = {f.name: f.default for f in msgspec.structs.fields(Mode) if f.name in _FAULTS}
_CUTS = {how.value for how in Cut}
_CUT_WORDS = {"0": str(BEFORE_HEAD), "head": "0"}


@lru_cache(maxsize=1024)
def parse(*texts: str) -> Mode:
    """The mode that these comma lists describe, later ones winning. Raises ValueError naming the field at fault."""
    values = dict(pair for text in texts for pair in _pairs(text))
    try:
        return msgspec.convert(values, Mode, strict=False)
    except msgspec.ValidationError as exc:
        raise ValueError(f"mock mode: {exc}") from None


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for item in text.split(","):
        name, equals, value = item.strip().partition("=")
        if not name:
            continue
        value = value if equals else "1"
        yield name, _CUT_WORDS.get(value, value) if name in _CUTS else value


def split_path(path: str) -> tuple[str, str]:
    """A raw path as (mode text, path without the mode prefix)."""
    if not path.startswith(PATH_PREFIX):
        return "", path
    text, _, rest = path[len(PATH_PREFIX) :].partition("/")
    return unquote(text), "/" + rest


def split_model(model: str) -> tuple[str, str]:
    """A model as (mode text, model without the mode suffix). `::` without a `=` behind it belongs to the name."""
    name, separator, text = model.partition("::")
    return (text, name) if separator and "=" in text else ("", model)
