"""Which header fields pass, both ways. What is not listed does not pass.

Requests: the few fields the gateway reads, by canonical name. Answers: the few a provider's may keep. Neither way
does a hop-by-hop field, a cookie or a credential get through.
"""

from __future__ import annotations

from adapters.errors import Kind
from proxy.errors import Refused
from proxy.seams import Lines

_READ = frozenset(
    (
        b"accept", b"anthropic-beta", b"anthropic-version", b"api-key", b"authorization", b"baggage", b"cache-control",
        b"connection", b"content-encoding", b"content-length", b"content-type", b"expect", b"host",
        b"idempotency-key", b"openai-beta", b"openai-organization", b"openai-project", b"te", b"traceparent",
        b"tracestate", b"transfer-encoding", b"upgrade", b"x-api-key", b"x-goog-api-key",
    )
)  # fmt: skip
_LISTS = frozenset((b"accept", b"anthropic-beta", b"baggage", b"cache-control", b"connection", b"te", b"tracestate"))
"""Fields that may stand in a request more than once. Any other one that we read and that does, is refused."""

_NAMES: dict[bytes, bytes | None] = {}
_NAMES_KEPT = 4096


def canonical(name: bytes) -> bytes | None:
    """The name under which the gateway reads this field, or None if it does not.

    `x-loopway-…` reads as `x-portkey-…`. An underscore makes a name that other programs may take for the one with a
    dash, so those that would be read are refused instead of ignored.
    """
    lower = name.lower()
    if b"_" in lower and _read_as(lower.replace(b"_", b"-")) is not None:
        raise Refused(Kind.INVALID_REQUEST, "Header names are written with dashes, not underscores.", close=True)
    return _read_as(lower)


def _read_as(lower: bytes) -> bytes | None:
    if lower[:10] == b"x-portkey-":
        return lower
    if lower[:10] == b"x-loopway-":
        return b"x-portkey-" + lower[10:]
    return lower if lower in _READ else None


def read(raw: Lines) -> dict[bytes, bytes]:
    """The fields of a request that the gateway reads. Raises Refused (400) for one given twice."""
    found: dict[bytes, bytes] = {}
    names = _NAMES
    for name, value in raw:
        try:
            known = names[name]
        except KeyError:
            known = canonical(name)
            # The spellings of a few clients repeat without end; a hostile one fills the table once and no further.
            if len(names) < _NAMES_KEPT:
                names[name] = known
        if known is None:
            continue
        if known in found:
            if known not in _LISTS:
                text = known.decode("ascii", "replace")
                raise Refused(Kind.INVALID_REQUEST, f"The header {text} was sent twice.", param=text, close=True)
            value = found[known] + b", " + value
        found[known] = value
    return found


# -- towards the provider

_CLIENT_TO_PROVIDER: dict[bytes, bytes] = {
    b"x-portkey-openai-organization": b"openai-organization",
    b"x-portkey-openai-project": b"openai-project",
    b"x-portkey-openai-beta": b"openai-beta",
    b"openai-beta": b"openai-beta",
    b"x-portkey-anthropic-beta": b"anthropic-beta",
    b"anthropic-beta": b"anthropic-beta",
    b"x-portkey-anthropic-version": b"anthropic-version",
    b"anthropic-version": b"anthropic-version",
    b"idempotency-key": b"idempotency-key",
}
_NEVER_FORWARDED = frozenset(
    (
        b"host", b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"te", b"trailer", b"upgrade",
        b"proxy-authorization", b"proxy-authenticate", b"proxy-connection", b"expect", b"cookie", b"authorization",
        b"x-api-key", b"api-key", b"x-goog-api-key", b"content-type", b"content-encoding", b"accept-encoding",
        b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip",
        b"metadata-flavor", b"x-aws-ec2-metadata-token", b"x-google-metadata-request", b"x-portkey-forward-headers",
    )
)  # fmt: skip


def for_provider(headers: dict[bytes, bytes], vendor: str) -> dict[bytes, bytes]:
    """The client's own protocol fields that its provider understands (`vendor`: openai or anthropic)."""
    sent: dict[bytes, bytes] = {}
    prefix = vendor.encode()
    for name, value in headers.items():
        upstream = _CLIENT_TO_PROVIDER.get(name)
        if upstream is not None and (upstream.startswith(prefix) or upstream == b"idempotency-key"):
            sent[upstream] = value
    return sent


def forwarded(names: tuple[str, ...], raw: Lines) -> bytes:
    """Header lines for the fields a config or request asks to pass on unchanged. Raises Refused (400) for those that
    may never pass. A name H without a field H falls back to `x-portkey-H`, where the SDKs put unknown options."""
    lines = []
    for name in names:
        lower = name.strip().lower().encode("latin-1", "replace")
        if not lower:
            continue
        if lower in _NEVER_FORWARDED:
            raise Refused(
                Kind.INVALID_REQUEST, f"The header {name.strip()!r} cannot be forwarded.", param="forward_headers"
            )
        values = [value for other, value in raw if other.lower() == lower]
        if not values:
            values = [value for other, value in raw if other.lower() == b"x-portkey-" + lower]
        lines += [b"%b: %b\r\n" % (lower, value) for value in values]
    return b"".join(lines)


# -- towards the client

_ANSWER = frozenset(
    (
        b"content-type", b"content-disposition", b"retry-after", b"retry-after-ms", b"x-should-retry", b"request-id",
        b"x-request-id", b"openai-processing-ms", b"openai-version",
    )
)  # fmt: skip
_ANSWER_PREFIXES = (b"x-ratelimit-", b"anthropic-ratelimit-")
_ANSWER_NAMES: dict[bytes, bool] = {}


def for_client(raw: Lines, *, content_type: bool) -> bytes:
    """The lines of a provider's answer that its client gets; without its content type where the body is ours."""
    lines = []
    names = _ANSWER_NAMES
    for name, value in raw:
        passes = names.get(name)
        if passes is None:
            lower = name.lower()
            passes = lower in _ANSWER or lower.startswith(_ANSWER_PREFIXES)
            if len(names) < _NAMES_KEPT:
                names[name] = passes
        if not passes or (not content_type and name.lower() == b"content-type"):
            continue
        if b"\r" in value or b"\n" in value or b"\0" in value:
            continue
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines)


def value_of(raw: Lines, name: bytes) -> bytes | None:
    """The first value of a field of an answer; `name` in lower case."""
    for other, value in raw:
        if other == name or other.lower() == name:
            return value
    return None
