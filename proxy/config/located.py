"""Where a target's requests go: its address, checked, and its identity."""

from __future__ import annotations

import re
from hashlib import blake2b
from urllib.parse import urlsplit

from adapters.errors import Kind
from proxy.address import check_host
from proxy.config import templates
from proxy.config.access import Access
from proxy.errors import Refused
from proxy.seams import Origin

_OPENAI = re.compile(r"https://([a-z]{2})\.api\.openai\.com(?:[:/]|\Z)", re.IGNORECASE)


def address(access: Access) -> tuple[Origin, str]:
    """Origin and base path of a target. Raises Refused (400) for an address that cannot or may not be used."""
    provider, fields, custom_host, guarded = access.provider, access.fields, access.custom_host, access.guarded
    if guarded and not custom_host:
        raise _bad_host("it is empty")
    url = custom_host or templates.filled(provider.base_url, provider, fields)
    if not url:
        raise Refused(
            Kind.INVALID_REQUEST,
            f"{provider.homeless} Set {provider.url_field or 'custom_host'} to one.",
        )
    if len(url) > 2048 or not url.isascii() or any(c <= " " or c in '<>{}|\\^`"' for c in url):
        raise _bad_host("it contains characters that no URL may have")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _bad_host("it is not a URL") from error
    if parts.scheme not in ("http", "https"):
        raise _bad_host("it must begin with http:// or https://")
    if parts.username is not None or "@" in parts.netloc or "%" in parts.netloc or not host or port == 0:
        raise _bad_host("credentials, escapes and empty hosts are not allowed in it")
    if ("[" in parts.netloc) != (":" in host):
        raise _bad_host("only an IPv6 address stands in brackets")
    if parts.query or parts.fragment:
        raise _bad_host("it must end with its path")
    if guarded:
        listed = host in access.trusted or parts.netloc.lower() in access.trusted
        check_host(host, trusted=listed)
        guarded = not listed
    path = parts.path.rstrip("/") or templates.path_of(provider.base_url, provider, fields)
    if not parts.path.strip("/") and not provider.base_url and provider.url_field is None:
        path = "/v1"
    origin = Origin(parts.scheme, host, port or {"http": 80, "https": 443}[parts.scheme], guarded=guarded)
    return origin, path


def region(access: Access) -> str | None:
    """Where a target's answers are made, in the words of `proxy.prices.Entry.regions`, if that is known and may make
    them dearer: a host of OpenAI's for one part of the world, or any place of Vertex AI's but the global one."""
    place = _OPENAI.match(access.custom_host or "")
    if access.provider.name == "openai" and place is not None:
        return place[1].lower()
    if access.provider.name == "vertex-ai" and access.fields.get("vertex_region", "global") != "global":
        return "regional"
    return None


def identity(access: Access, origin: Origin, path: str) -> str:
    """Provider, address, credential and fields in one word that tells none of them."""
    named = sorted((name, str(value)) for name, value in access.fields.items())
    text = repr((access.provider.name, origin.scheme, origin.authority, path, access.credential, named))
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _bad_host(why: str) -> Refused:
    return Refused(
        Kind.INVALID_REQUEST, f"Invalid custom host: {why}.", param="custom_host", code="invalid_custom_host"
    )
