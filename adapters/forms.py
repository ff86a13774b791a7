"""Looking into a form (multipart/form-data, RFC 7578) that passes as it is: for the account, never to change it."""

from __future__ import annotations

import re

_BOUNDARY = re.compile(rb'multipart/form-data *;(?:[^"]*;)? *boundary="?([!-~]{1,70}?)"? *(?:;|\Z)', re.IGNORECASE)
_PART = re.compile(
    rb'\r\n(?:content-[a-z-]+: [^\r\n]*\r\n)*?content-disposition: *form-data; *name="([^"\r\n]{0,256})"(;[^\r\n]*)?'
    rb"\r\n(?:content-[a-z-]+: [^\r\n]*\r\n)*\r\n",
    re.IGNORECASE,
)
_LONGEST = 1024  # bytes of a part's head, and of a value that is looked at


def fields(body: bytes, content_type: bytes, *names: str) -> dict[str, str]:
    """The short values of a form's fields of these names, of files none. Where two programs might read something else,
    nothing is told: a field that comes twice has no value, and a form with a part in an unusual form has no fields."""
    found: dict[str, str] = {}
    told = _BOUNDARY.match(content_type)
    if told is None:
        return found
    mark = b"--" + told[1]
    twice: set[str] = set()
    at = 0 if body.startswith(mark) else -1
    while at >= 0:
        start = at + len(mark) + (2 if at else 0)
        at = body.find(b"\r\n" + mark, start)
        if at < 0:
            break  # what follows the last one
        part = _PART.match(body, start, start + _LONGEST)
        if part is None or part.end() > at:
            return {}
        name = part[1].decode("latin-1")
        if name in names:
            if name in found or part[2] is not None or at - part.end() > _LONGEST:
                twice.add(name)
            found[name] = body[part.end() : at][:_LONGEST].decode("utf-8", "replace")
    return {name: value for name, value in found.items() if name not in twice}
