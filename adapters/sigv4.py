"""AWS Signature Version 4, as pure functions.

https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html. The path is signed as it is sent and
encoded once more, which all services but S3 want; the body's hash is of the very bytes that are sent.
"""

from __future__ import annotations

import hmac
import re
from hashlib import sha256

_ESCAPED = re.compile(r"[^A-Za-z0-9_.~/-]")
_TERMINATOR = "aws4_request"


def signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    """The key that signs a day's requests (`day` is YYYYMMDD), for whoever wants to keep it."""
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, _TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def sign(
    key: bytes,
    access_key_id: str,
    scope: tuple[str, str],
    when: str,
    method: str,
    host: str,
    path: str,
    content_type: str,
    body: bytes,
    session_token: str = "",
) -> tuple[tuple[str, str], ...]:
    """The header lines that sign one request. `scope` is region and service, `when` YYYYMMDDTHHMMSSZ in UTC, `path`
    with its query, percent-encoded as it is sent; `content_type` may be empty, and is then not signed."""
    path, _, query = path.partition("?")
    digest = sha256(body).hexdigest()
    signed = {"content-type": content_type, "host": host, "x-amz-content-sha256": digest, "x-amz-date": when}
    if session_token:
        signed["x-amz-security-token"] = session_token
    if not content_type:
        del signed["content-type"]
    names = ";".join(signed)
    canonical = "\n".join(
        (
            method,
            _ESCAPED.sub(_escape, path) or "/",
            "&".join(sorted(pair if "=" in pair else f"{pair}=" for pair in query.split("&") if pair)),
            *(f"{name}:{' '.join(value.split())}" for name, value in signed.items()),
            "",
            names,
            digest,
        )
    )
    within = f"{when[:8]}/{scope[0]}/{scope[1]}/{_TERMINATOR}"
    text = f"AWS4-HMAC-SHA256\n{when}\n{within}\n{sha256(canonical.encode()).hexdigest()}"
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={access_key_id}/{within}, SignedHeaders={names}, Signature={signature}"
    )
    lines = [(name, value) for name, value in signed.items() if name.startswith("x-amz-")]
    return (*lines, ("authorization", authorization))


def _escape(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())
