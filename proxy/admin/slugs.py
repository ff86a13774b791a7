"""Slugs, ids and tokens: the names that rows are known by, and the secrets that keys are."""

from __future__ import annotations

import re
import secrets
import unicodedata
import zlib
from base64 import urlsafe_b64encode
from hashlib import sha256
from uuid import uuid4

from adapters.errors import Kind
from proxy.errors import Refused

_VALID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_OTHER = re.compile(r"[^a-z0-9]+")
_LONGEST = 48
# `@cf/…` and `@hf/…` are names of models, never of stored providers.
_RESERVED = frozenset({"cf", "hf"})
_SHORTEST_TOKEN = 8


def slugify(name: str) -> str:
    """A name in lower-case ASCII letters, digits and dashes; `key` when nothing is left of it."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return _OTHER.sub("-", plain).strip("-")[:_LONGEST].rstrip("-") or "key"


def make(name: str, prefix: str = "") -> str:
    """A new slug: the name and six random hexadecimal digits."""
    return f"{prefix}{slugify(name)}-{secrets.token_hex(3)}"


def checked(slug: str) -> str:
    """A slug that somebody chose. Raises `Refused` (400) when it could not be written in requests."""
    if not _VALID.fullmatch(slug) or slug in _RESERVED:
        message = "slug: must be 1 to 100 letters, digits, '.', '_' or '-', beginning with a letter or digit"
        raise Refused(Kind.INVALID_REQUEST, f"{message}; 'cf' and 'hf' are taken by model names", param="slug")
    return slug


def new_id() -> str:
    """A random id for rows whose name may change."""
    return str(uuid4())


def new_token() -> str:
    """A new key of this gateway: `lw-`, 256 random bits, and a checksum by which scanners of leaked keys know it."""
    body = secrets.token_urlsafe(32)
    check = urlsafe_b64encode(zlib.crc32(body.encode()).to_bytes(4)).decode()[:6]
    return f"lw-{body}{check}"


def checked_token(token: str) -> str:
    """A key text that an administrator chose. Raises `Refused` (400) when no header could carry it."""
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or token != token.strip():
        message = f"key: must be at least {_SHORTEST_TOKEN} printable ASCII characters, without spaces around them"
        raise Refused(Kind.INVALID_REQUEST, message, param="key")
    if token[:7].lower() == "bearer ":
        raise Refused(Kind.INVALID_REQUEST, "key: give the key itself, without 'Bearer'", param="key")
    return token


def digest(token: str) -> str:
    """What is kept of a token. Tokens are long and random, so a fast hash without salt is enough."""
    return sha256(token.encode()).hexdigest()
