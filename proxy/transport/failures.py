"""Why nothing came, or not what should have: connection errors and limits in our words."""

from __future__ import annotations

import errno

import aiohttp

from adapters.errors import Kind
from proxy.address import BLOCKED
from proxy.errors import UpstreamFailure

_WHY = {
    errno.ECONNREFUSED: "nothing listens at its address and port",
    errno.EHOSTUNREACH: "there is no way to its host",
    errno.ENETUNREACH: "there is no way to its host",
}


def too_large(limit: int) -> UpstreamFailure:
    """An answer has more bytes than may be held."""
    return UpstreamFailure(Kind.BAD_UPSTREAM, f"The provider's answer is larger than {limit} bytes.", sent=True)


def unreachable(error: Exception) -> UpstreamFailure:
    """What a failure to connect comes to: whether the address is forbidden, or what stands in the way."""
    blocked = _blocked(error)
    if blocked is not None:
        return blocked
    what = "connection failed"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        what = "its host name does not resolve"
    elif isinstance(error, aiohttp.ClientSSLError):
        what = "its certificate or TLS handshake was refused"
    elif isinstance(error, aiohttp.ClientConnectorError):
        what = _WHY.get(error.os_error.errno or 0, what)
    return UpstreamFailure(Kind.UNREACHABLE, f"The provider could not be reached: {what}.", sent=False)


def _blocked(error: BaseException | None) -> UpstreamFailure | None:
    for _ in range(8):
        if isinstance(error, PermissionError) and error.filename == BLOCKED:
            return UpstreamFailure(Kind.FORBIDDEN, "Invalid custom host: its address is not allowed.", sent=False)
        if error is None:
            break
        error = error.__cause__ or error.__context__
    return None
