"""Look, don't parse: the few fields of a JSON body that routing needs, and replacing some without touching the rest."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated

import msgspec

from adapters.errors import InvalidRequest
from adapters.values import UNREADABLE

DEFAULT = "portkey-default"
"""What the Portkey SDKs send for a parameter the user left out; it means the provider's or key's own default."""


MODEL_LENGTH = 1024
"""Characters of a model's name at most. It is kept in every log line and usage record, so it must have an end."""


class Peek(msgspec.Struct, gc=False):
    """`model`, `stream` and `user` of a request body, as received. Absent and null are the same here, but for `user`,
    which is not even looked at."""

    model: Annotated[str, msgspec.Meta(max_length=MODEL_LENGTH)] | None = None
    stream: bool | None = None
    user: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(Peek).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def peek(body: bytes) -> Peek:
    """Reads the routed fields of a JSON object. Raises InvalidRequest when the body is not one."""
    try:
        return _decode(body)
    except UNREADABLE as error:
        raise malformed(error, body=body) from error


_NOTHING = "Input data was truncated"
"""What msgspec says of a text that ends too early, and of half a surrogate pair in what it skips."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def malformed(error: Exception, whole: bool = True, body: bytes = b"") -> InvalidRequest:
    """The answer to a body that does not decode: where it breaks, in the words of the JSON path. `whole` False: it is a
    value in the body, whose own path the caller knows. `body` helps to tell what msgspec calls by one name."""
    if isinstance(error, RecursionError):
        return InvalidRequest("The request body is nested too deeply.", code="invalid_json")
    if isinstance(error, UnicodeDecodeError):
        return InvalidRequest("The request body is not valid UTF-8.", code="invalid_json")
    text = str(error)
    if text == _NOTHING and _SURROGATE.search(body) and body.rstrip()[-1:] == b"}":
        what = "half of a surrogate pair (\\ud800 to \\udfff), which is no character"
        return InvalidRequest(f"The request body has {what}.", code="invalid_json")
    if text == _NOTHING:
        return InvalidRequest("The request body is empty or breaks off; expected a JSON object.", code="invalid_json")
    if isinstance(error, msgspec.ValidationError):
        what, _, path = text.partition(" - at `$")
        param = path.rstrip("`").lstrip(".") or None
        inner = param is not None or not whole
        return InvalidRequest(f"{what}." if inner else f"The request body is not a JSON object: {what}.", param=param)
    return InvalidRequest(f"The request body is not valid JSON: {text}.", code="invalid_json")


def fields(body: bytes) -> dict[str, msgspec.Raw]:
    """The top level of a JSON object, every value left as the bytes it came in."""
    try:
        return _decode_fields(body)
    except UNREADABLE as error:
        raise malformed(error, body=body) from error


def text_fields(body: bytes) -> dict[str, msgspec.Raw]:
    """The same of a body that must be UTF-8 all through: where values move undecoded, nothing else would notice broken
    text before the provider does."""
    try:
        if not body.isascii():
            body.decode()
        return _decode_fields(body)
    except UNREADABLE as error:
        raise malformed(error) from error


def with_model(body: bytes, model: str) -> bytes:
    """The same body with another `model`; every other byte stays where it was if the old value stands there once."""
    top = fields(body)
    old = top.get("model")
    new = _encode(model)
    if old is not None:
        span = bytes(old)
        if span != b"null" and body.count(span) == 1:
            return body.replace(span, new)
    top["model"] = msgspec.Raw(new)
    return _encode(top)


def with_params(body: bytes, override: Mapping[str, object]) -> bytes:
    """The body with top-level keys replaced or added; untouched values keep their bytes."""
    top = fields(body)
    for name, value in override.items():
        top[name] = msgspec.Raw(_encode(value))
    return _encode(top)


def without(body: bytes, names: tuple[str, ...]) -> bytes:
    """The body without some top-level keys."""
    top = fields(body)
    for name in names:
        top.pop(name, None)
    return _encode(top)


def repeated(body: bytes, name: str) -> bool:
    """Whether a top-level key stands there twice, in any case: some programs do not tell "Model" from "model".
    Providers disagree on which one counts, so where a key decides what may pass (a model allow-list), a body that
    repeats it is refused."""
    if body.lower().count(b'"%b"' % name.encode()) < 2 and b"\\u" not in body:
        return False
    found = 0

    def count(pairs: list[tuple[str, object]]) -> int:
        nonlocal found
        # Objects close from the inside out, so the last call is the top level's.
        found = sum(key.lower() == name for key, _ in pairs)
        return 0

    try:
        json.loads(body, object_pairs_hook=count)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("The request body is not valid JSON.", code="invalid_json") from error
    return found > 1
