"""Which addresses may be connected to (server-side request forgery), checked on the final address of every socket.

Names are not enough: a name may resolve to anything, and differently the second time. So the check stands where the
socket is made. Names and forms of custom hosts are checked before that as well, for a clear error (`check_host`).
"""

from __future__ import annotations

import errno
import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from adapters.errors import Kind
from proxy.errors import Refused

BLOCKED = "blocked address"
"""The `filename` of the PermissionError that `AddressPolicy.check` raises: how the transport knows it."""

_METADATA = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "169.254.0.23",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
    )
)
_METADATA_NET = (ip_network("169.254.169.0/24"), ip_network("fd00:ec2::/32"))
_METADATA_NAMES = frozenset(
    (
        "metadata", "metadata.google.internal", "metadata.goog", "metadata.azure.com", "metadata.azure.internal",
        "metadata.tencentyun.com", "metadata.platformequinix.com", "instance-data", "instance-data.ec2.internal",
    )
)  # fmt: skip
# is_global alone calls some of these global: translation and transition prefixes that lead back to private addresses.
_NEVER_PUBLIC = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/3", "::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23",
        "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_PRIVATE_NAMES = (
    ".local", ".localdomain", ".internal", ".intranet", ".lan", ".home", ".corp", ".test", ".invalid", ".onion",
    ".localhost",
)  # fmt: skip
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")  # containers have names that no DNS host would
_NUMBERS = re.compile(r"(?:0x[0-9a-f]+|[0-9]+)(?:\.(?:0x[0-9a-f]+|[0-9]+))*", re.ASCII)


def _metadata(address: IPv4Address | IPv6Address) -> bool:
    return address in _METADATA or any(address in net for net in _METADATA_NET if net.version == address.version)


# Prefixes behind which an IPv4 address stands in the last 32 bits: mapped, compatible, and translated ones.
_WITH_IPV4 = tuple(map(IPv6Network, ("::ffff:0:0/96", "::ffff:0:0:0/96", "::/96", "64:ff9b::/96", "64:ff9b:1::/48")))
_6TO4 = IPv6Network("2002::/16")


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one leads to, if it does; else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    number = int(address)
    if number > 0xFFFF and any(address in net for net in _WITH_IPV4):
        return IPv4Address(number & 0xFFFFFFFF)
    return IPv4Address(number >> 80 & 0xFFFFFFFF) if address in _6TO4 else address


class AddressPolicy:
    """Decides on one address. `private` allows private and loopback ones. Cloud metadata services never are, but for
    `metadata`, with which the gateway asks for its own machine's identity and nobody's request goes anywhere."""

    __slots__ = ("_metadata", "_private")

    def __init__(self, *, private: bool, metadata: bool = False) -> None:
        self._private = private
        self._metadata = metadata

    def allows(self, text: str) -> bool:
        """Whether a socket may be opened to this numeric address (a zone id is ignored)."""
        try:
            raw = ip_address(text.partition("%")[0])
        except ValueError:
            return False
        address = _plain(raw)
        if _metadata(address) or _metadata(raw):
            return self._metadata
        if self._private:
            return not (address.is_multicast or address.is_unspecified)
        if isinstance(raw, IPv6Address) and raw not in _GLOBAL_UNICAST:
            return False
        if any(raw in net for net in _NEVER_PUBLIC if net.version == raw.version):
            return False
        return address.is_global and not any(address in net for net in _NEVER_PUBLIC if net.version == address.version)

    def check(self, text: str) -> None:
        """Raises PermissionError, which the transport turns into a 400, when the address is not allowed."""
        if not self.allows(text):
            raise PermissionError(errno.EPERM, "address not allowed", BLOCKED)


def check_host(host: str, *, trusted: bool) -> None:
    """Refuses (400) the forms of a client-supplied host that can never be right, without asking DNS.

    `host` is without port and brackets. Whether its address is public is decided when the socket is made.
    """
    lower = host.lower()
    if lower.rstrip(".") in _METADATA_NAMES:
        raise _invalid("cloud metadata services are never allowed")
    literal = _literal(lower)
    if literal is not None:
        if _metadata(_plain(literal)) or _metadata(literal):
            raise _invalid("cloud metadata services are never allowed")
        if not AddressPolicy(private=trusted).allows(str(literal)):
            raise _invalid("its address is private or reserved; the operator can list it in TRUSTED_CUSTOM_HOSTS")
        return
    form = _NAME if trusted else _HOST
    if len(lower) > 253 or lower.count(".") > 9 or not form.fullmatch(lower) or ".." in lower:
        raise _invalid("the host name is malformed")
    if _NUMBERS.fullmatch(lower):
        raise _invalid("write an IPv4 address as four decimal numbers")
    if not trusted and (lower == "localhost" or "." not in lower or lower.endswith(_PRIVATE_NAMES)):
        raise _invalid("private names are not allowed; the operator can list it in TRUSTED_CUSTOM_HOSTS")


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _invalid(why: str) -> Refused:
    return Refused(
        Kind.INVALID_REQUEST, f"Invalid custom host: {why}.", param="custom_host", code="invalid_custom_host"
    )
