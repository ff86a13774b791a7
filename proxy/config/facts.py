"""What strategies may look at of one request, worked out when first asked for and then kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from adapters.values import UNREADABLE

if TYPE_CHECKING:
    from proxy.exchange import Exchange

_decode = msgspec.json.Decoder().decode


class Facts(msgspec.Struct, eq=False):
    """One request as strategies see it. Reading it changes nothing, so an explanation may ask the same questions.

    `now` is the monotonic clock, in seconds. `guarded`: whether circuit breakers count; not where there is none, nor
    where every target is out, so that none is. What begins with `_` is for the properties alone to fill.
    """

    x: Exchange
    now: float
    guarded: bool = False
    _headers: dict[str, str] | None = None
    _params: dict[str, Any] | None = None

    @property
    def path(self) -> str:
        """The path of the request's URL."""
        return self.x.path

    @property
    def wall(self) -> float:
        """Unix time of the request, in seconds."""
        return self.x.at

    @property
    def tenant(self) -> str:
        """The id of the API key that asks."""
        key = self.x.key
        return "" if key is None else key.id

    @property
    def headers(self) -> dict[str, str]:
        """All header fields of the request, names in lower case; of one that came twice, the first."""
        found = self._headers
        if found is None:
            found = {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in self.x.headers.items()}
            for name, value in self.x.raw_headers:
                found.setdefault(name.lower().decode("latin-1"), value.decode("utf-8", "replace"))
            self._headers = found
        return found

    @property
    def params(self) -> dict[str, Any]:
        """The request's body, decoded; empty where it is no JSON object."""
        found = self._params
        if found is None:
            try:
                decoded = _decode(self.x.body) if self.x.body else None
            except UNREADABLE:
                decoded = None
            found = self._params = decoded if isinstance(decoded, dict) else {}
        return found

    @property
    def metadata(self) -> dict[str, str]:
        """The request's metadata: baggage, its header and the key's own, in one."""
        return self.x.metadata
