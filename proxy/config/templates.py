"""Placeholders of a provider's address, filled with provider fields. What a client gave stays in its place: a value in
a host name is of host characters, a value in a path is one percent-encoded segment."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote

from adapters.errors import Kind
from adapters.provider import Fields, Provider
from proxy.errors import Refused

_PLACE = re.compile(r"\{([a-z_]+)\}")
_ESCAPED = re.compile(r"\\\{[a-z_]+\\\}")
_VERSION = re.compile(r"^/v1(?:beta1)?(?=/projects/)")
_IN_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,250}[A-Za-z0-9])?")
_LONGEST = 2048

MODEL = "{model}"


def filled(base_url: str, provider: Provider, fields: Fields) -> str:
    """A base URL with its fields. Raises Refused (400)."""
    if "{" not in base_url:
        return base_url
    scheme, _, rest = base_url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{_in_host(host, provider, fields)}{in_path(slash + path, provider, fields)}"


def path_of(base_url: str, provider: Provider, fields: Fields) -> str:
    """The path of a base URL, without the slash at its end: what a custom host that has none gets. Raises Refused."""
    _, slash, path = base_url.partition("://")[2].partition("/")
    return in_path((slash + path).rstrip("/"), provider, fields)


def _in_host(template: str, provider: Provider, fields: Fields) -> str:

    def value(found: re.Match[str]) -> str:
        name = found[1]
        text = _field(name, provider, fields)
        if not _IN_HOST.fullmatch(text) or ".." in text:
            message = f"The {name} of the provider {provider.name!r} must be letters, digits, dots and dashes."
            raise Refused(Kind.INVALID_REQUEST, message, param=name)
        return text

    return _PLACE.sub(value, template)


@lru_cache(maxsize=1024)
def pattern(template: str) -> re.Pattern[str]:
    """What finds a template's path whatever its fields are, in any case of letters. Where it has Vertex AI's version in
    it, any version is found, or none."""
    path = template.partition("?")[0]
    bare = _VERSION.sub("", path)
    version = "" if bare == path else r"(?:/v1(?:beta1)?)?"
    return re.compile(version + _ESCAPED.sub("[^/]+", re.escape(bare)), re.IGNORECASE)


def in_path(template: str, provider: Provider, fields: Fields) -> str:
    """A path or a query with its fields; `{model}` stays. Raises Refused (400) for a missing field."""
    if "{" not in template:
        return template
    return _PLACE.sub(
        lambda found: MODEL if found[0] == MODEL else segment(_field(found[1], provider, fields), found[1]), template
    )


def segment(text: str, name: str) -> str:
    """A value as one segment of a path, whatever is in it. Raises Refused (400) where that cannot be."""
    if text in (".", "..") or len(text) > _LONGEST:
        raise Refused(Kind.INVALID_REQUEST, f"The {name} cannot stand in an address.", param=name)
    return quote(text, safe="")


def _field(name: str, provider: Provider, fields: Fields) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise Refused(
            Kind.INVALID_REQUEST,
            f"The provider {provider.name!r} needs {name}: set it on the virtual key or on the config's target; with "
            f"a credential in the request, send the header x-portkey-{name.replace('_', '-')}.",
            param=name,
        )
    return value
