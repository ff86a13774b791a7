"""What a request looks like on its way to a target: how its body is translated, and its header lines."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.auth import Headers
from adapters.errors import Kind
from adapters.quirks import Quirks
from adapters.types import Codec, Dialect, Headed
from proxy.config.access import Access
from proxy.errors import Refused

# A leaf's settings that are header lines for the provider.
_FIELD_HEADERS: dict[str, str] = {
    "openai_organization": "openai-organization",
    "openai_project": "openai-project",
    "openai_beta": "openai-beta",
    "anthropic_beta": "anthropic-beta",
    "anthropic_version": "anthropic-version",
    **{
        f"amzn_sagemaker_{name}": f"x-amzn-sagemaker-{name.replace('_', '-')}"
        for name in (
            "custom_attributes",
            "target_model",
            "target_variant",
            "target_container_hostname",
            "inference_id",
            "enable_explanations",
            "inference_component",
            "session_id",
        )
    },
}


class Wire:
    """How requests of one client dialect go to one target.

    `head` lacks its last lines: what the request adds, `content-length`, and the blank line. `defaults` are header
    lines sent unless the client's own value takes their place. `path` is the head's, for those who sign it. `quirks`
    are what the provider wants otherwise than the dialect has it. `usage_header` is the field of an answer's head that
    counts its tokens, where the body does not.
    """

    __slots__ = ("codec", "defaults", "dialect", "head", "path", "quirks", "usage_header")

    def __init__(
        self,
        codec: Codec,
        dialect: Dialect,
        path: str,
        head: bytes,
        defaults: tuple[tuple[bytes, bytes], ...],
        quirks: Quirks | None = None,
    ) -> None:
        self.codec = codec
        self.dialect = dialect
        self.path = path
        self.head = head
        self.defaults = defaults
        self.quirks = quirks
        self.usage_header = codec.usage_header if isinstance(codec, Headed) else None


def header_lines(access: Access, shown: Headers) -> dict[str, str]:
    """Every header that is sent to a target: the provider's, those of its fields, the operator's own, and how the
    request is authenticated. Raises Refused (400) for one that no request may have."""
    sent = dict(access.provider.headers)
    for name, header in _FIELD_HEADERS.items():
        value = access.fields.get(name)
        if value:
            sent[header] = value if isinstance(value, str) else ",".join(map(str, value))
    sent.update((name.lower(), value) for name, value in access.custom_headers.items())
    sent.update(shown)
    _check_lines(sent)
    return sent


def _check_lines(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not name.replace("-", "").isalnum() or not name.isascii():
            raise Refused(Kind.INVALID_REQUEST, f"The header name {name!r} is not valid.", param="custom_headers")
        try:
            raw = value.encode("latin-1")
        except UnicodeEncodeError:
            raw = b"\0"
        if any((byte < 32 and byte != 9) or byte == 127 for byte in raw):
            # The value may be a credential: only its header is named.
            raise Refused(Kind.INVALID_REQUEST, f"The value for the header {name!r} holds characters no header may.")
