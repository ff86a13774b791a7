"""One kept answer."""

from __future__ import annotations

import msgspec

from adapters.types import Usage


class Entry(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A whole answer in the client's dialect.

    `usage` is what it had cost, `lines` are those header lines that say something about the answer itself. `at` and
    `until` are Unix seconds. `estimated`: it came as a stream without counted tokens, so the usage in it is a guess.
    """

    status: int
    body: bytes
    usage: Usage | None
    lines: bytes
    at: int
    until: int
    estimated: bool = False

    def fresh(self, now: float, max_age: int) -> bool:
        """Whether it is neither over nor older than `max_age` seconds."""
        return self.until > now and self.at + max_age > now

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        return len(self.body) + len(self.lines) + 400
