"""A local guess at tokens, where no provider counts: labelled as a guess wherever it is shown."""

from __future__ import annotations

from typing import Any

import msgspec

from adapters.peek import malformed

_BYTES_PER_TOKEN = 4
_PER_MESSAGE = 3
_PER_IMAGE = 1_600

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def input_tokens(body: bytes) -> int:
    """About how many tokens the prompt of a chat or messages request has: its text's bytes by four, a flat price for
    each image or document. Raises InvalidRequest when the body is not a JSON object."""
    try:
        request = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(error) from error
    messages = request.get("messages")
    count = _PER_MESSAGE * len(messages) if isinstance(messages, list) else 0
    return count + sum(_size(request.get(name)) for name in ("system", "messages", "tools")) // _BYTES_PER_TOKEN


def _size(value: Any, depth: int = 0) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace"))
    if depth > 64:
        return 0
    if isinstance(value, list):
        return sum(_size(item, depth + 1) for item in value)
    if isinstance(value, dict):
        if value.get("type") in ("base64", "image_url") or "file_data" in value:
            return _PER_IMAGE * _BYTES_PER_TOKEN
        return sum(_size(item, depth + 1) + len(name) for name, item in value.items())
    return 2 if value is not None else 0
