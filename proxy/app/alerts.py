"""Alerts go to the address that an operator gave: one POST, whose answer says only whether it came."""

from __future__ import annotations

from urllib.parse import urlsplit

from proxy import __version__
from proxy.seams import Origin, Timeouts
from proxy.transport import HttpTransport

_TIMEOUTS = Timeouts(5.0, 10.0, 10.0)
_ENOUGH = 1 << 16  # bytes of the answer that are read, so that its connection can be used again
_PORTS = {"http": 80, "https": 443}


async def post(transport: HttpTransport, url: str, message: bytes) -> int:
    """Sends a message, JSON, and gives the answer's status. Raises UpstreamFailure."""
    parts = urlsplit(url)
    origin = Origin(parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme])
    head = f"POST {parts.path or '/'} HTTP/1.1\r\nhost: {origin.authority}\r\ncontent-type: application/json\r\n"
    head += f"user-agent: loopway/{__version__}\r\ncontent-length: {len(message)}\r\n\r\n"
    reply = await transport.send(origin, head.encode("latin-1"), message, _TIMEOUTS)
    try:
        await reply.gather(_ENOUGH)
        return reply.status
    finally:
        reply.finish()
