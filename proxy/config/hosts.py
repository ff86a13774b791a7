"""What a custom host may look like as text. Whether its address may be reached is decided when connecting.

A host from the file, a virtual key or a saved config may be private; metadata services of clouds may never be named,
and neither may any spelling whose meaning depends on who parses it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from proxy.address import AddressPolicy, check_host
from proxy.errors import Refused

MAX_LENGTH = 2048
TRUSTED = r"\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?|[A-Za-z0-9._-]+(:[0-9]{1,5})?|[0-9A-Fa-f:]+(\.[0-9.]+)?"
"""What may stand in a list of trusted hosts: a name or an address, maybe with a port."""

_UNSAFE = re.compile(r"[\x00-\x20\x7f<>{}|\\^`\"]")


def fault(url: str) -> str | None:
    """What is wrong with a custom host as a URL, or None. The text never repeats the URL."""
    if not url:
        return "it is empty"
    if len(url) > MAX_LENGTH:
        return f"it is longer than {MAX_LENGTH} characters"
    if _UNSAFE.search(url) or not url.isascii():
        return "it contains characters that no URL may have"
    if not url.lower().startswith(("http://", "https://")):
        return "it must begin with http:// or https://"
    if "#" in url or "?" in url:
        return "it must end with its path"
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        return "its host or port cannot be read"
    if "@" in url or "%" in parts.netloc or not host or port == 0:
        return "credentials, escapes, empty hosts and port 0 are not allowed in it"
    if _is_address(host):
        # Operators may name private addresses; what is left are metadata services, multicast and the like.
        return None if AddressPolicy(private=True).allows(host) else "this address is never allowed"
    try:
        check_host(host, trusted=True)
    except Refused as refusal:
        return refusal.message.removeprefix("Invalid custom host: ").removesuffix(".")
    return None


def trusted(names: Iterable[str]) -> frozenset[str]:
    """A list of trusted hosts as `located.address` looks in it: lower case, and no brackets but before a port."""
    lower = (name.lower() for name in names)
    return frozenset(name[1:-1] if name.endswith("]") else name for name in lower)


def in_url(host: str) -> str:
    """A host as it stands before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
