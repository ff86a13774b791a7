"""The configuration file: read, checked as a whole, and given as rows and settings.

Everything wrong is said at once, each finding as `FILE:LINE:COLUMN: path.to[0].field: what is wrong, what to do`. No
message shows a credential.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET

from proxy.config import objects, tree
from proxy.config.checks import Path as Steps
from proxy.config.near import nearest
from proxy.config.nodes import Node
from proxy.config.prices import PriceSettings
from proxy.config.read import Source, secret_text
from proxy.config.schema import FILE
from proxy.config.settings import (
    CacheSettings,
    LogSettings,
    RedisSettings,
    ServerSettings,
    StoreSettings,
    TelemetrySettings,
)
from proxy.config.tree import Problems, Value
from proxy.errors import ConfigError
from proxy.ports import ApiKeyRow, ConfigRow, VirtualKeyRow


class FileConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a configuration file says.

    `warnings` are lines like findings. `digest` changes with the file, with the variables it names and with the
    secrets it refers to. `files` are all that were read, the configuration file first. `places` has the line and
    column of each entry by section and name (`("configs", "pc-default")`), for what is found out later.
    """

    api_keys: tuple[ApiKeyRow, ...] = ()
    virtual_keys: tuple[VirtualKeyRow, ...] = ()
    configs: tuple[ConfigRow, ...] = ()
    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    redis: RedisSettings = RedisSettings()
    cache: CacheSettings = CacheSettings()
    prices: PriceSettings = PriceSettings()
    logs: LogSettings = LogSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    warnings: tuple[str, ...] = ()
    digest: str = ""
    files: tuple[Path, ...] = ()
    places: dict[tuple[str, str], tuple[int, int]] = {}


_NAMED = (("virtual_keys", "slug"), ("api_keys", "name"), ("configs", "slug"))
"""The sections whose entries have names, and the key that is the name."""


def load(path: Path, environ: Mapping[str, str]) -> FileConfig:
    """Reads the file, with `environ` for its references. Raises `proxy.errors.ConfigError` with all findings."""
    problems = Problems(str(path))
    source = Source(path.parent, environ, problems)
    text = _read(path, source)
    root = tree.parse(text, problems, environ, source.digest)
    if root is None and not problems.findings:
        problems.warn((1, 1), "", "the file is empty")
    sections: dict[str, Any] = {}
    if root is not None:
        for name, key in _NAMED:
            _refuse_repeats(source, root.get(name), name, key)
        given = FILE(source, root, "")
        sections = {} if given is UNSET else given
    if problems.findings:
        raise ConfigError(problems.findings)
    config = FileConfig(**sections, digest=source.digest.hexdigest()[:32], files=(path, *source.files))
    if root is not None:
        places = {(section, name): item.at for section, key in _NAMED for name, _, item in _places(root, section, key)}
        config = msgspec.structs.replace(config, places=places)
        _check_tokens(problems, root, config)
        _check_references(problems, root, config)
        _check_expiry(problems, root, config)
    if problems.findings:
        raise ConfigError(problems.findings)
    return msgspec.structs.replace(config, warnings=tuple(problems.warnings))


def store_url(path: Path, environ: Mapping[str, str]) -> str | None:
    """What the file says of the store's place, for commands that need nothing else of it: what other sections lack,
    such as a provider's credential, does not matter then. Raises `proxy.errors.ConfigError`."""
    problems = Problems(str(path))
    source = Source(path.parent, environ, problems)
    root = tree.parse(_read(path, source), Problems(str(path)), environ, source.digest)
    section = None if root is None else root.get("store")
    given = None if section is None else section.get("url")
    if given is None or given.data is None:
        return None
    found = secret_text(source, given, "store.url")
    if problems.findings or found is UNSET:
        raise ConfigError(problems.findings or [f"{path}:{given.at[0]}:{given.at[1]}: store.url: cannot be read"])
    return str(found)


def _read(path: Path, source: Source) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        reason = "no such file; name one that exists" if isinstance(error, FileNotFoundError) else error.strerror
        raise ConfigError([f"{path}: {reason}"]) from None
    source.digest.update(raw)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8", errors="replace")
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        raise ConfigError([f"{path}:{line}:{column}: not UTF-8; save the file in that encoding"]) from None


def _refuse_repeats(source: Source, section: Value | None, path: str, key: str) -> None:
    """Names are identities. Done on the tree, so that a repeat is found even beside other mistakes."""
    first: dict[str, int] = {}
    for index, item in enumerate(section.items() if section else ()):
        name = item.get(key)
        if name is None or not name.text or name.broken:
            continue
        if name.text in first:
            source.bad(name, f"{path}[{index}].{key}", f"is the same as that of {path}[{first[name.text]}]")
        first.setdefault(name.text, index)


def _places(root: Value, section: str, key: str) -> Iterator[tuple[str, int, Value]]:
    value = root.get(section)
    for index, item in enumerate(value.items() if value else ()):
        name = item.get(key)
        if name is not None:
            yield name.text, index, item


def _check_tokens(problems: Problems, root: Value, config: FileConfig) -> None:
    """Two API keys with one credential: which of them would a request be?"""
    digests = {row.name: row.digest for row in config.api_keys}
    first: dict[str, int] = {}
    for name, index, item in _places(root, "api_keys", "name"):
        digest = digests.get(name)
        if digest in first:
            at = item.get("key") or item.get("hash") or item
            message = f"is the same credential as that of api_keys[{first[digest]}]"
            problems.find(at.at, f"api_keys[{index}].key", message)
        elif digest is not None:
            first[digest] = index


def _check_references(problems: Problems, root: Value, config: FileConfig) -> None:
    """Names that are not in this file. They may be in the store, so these are only warnings."""
    slugs = {row.slug for row in config.virtual_keys}
    known = {row.slug for row in config.configs}

    def elsewhere(name: str, names: set[str]) -> str:
        near = nearest(name, sorted(names))
        return f"is not in this file; it must be in the store{f', or be {near!r}' if near else ''}"

    for _, index, item in _places(root, "api_keys", "name"):
        allowed = item.get("virtual_keys")
        for position, slug in enumerate(allowed.items() if allowed else ()):
            if slug.text not in slugs:
                problems.warn(slug.at, f"api_keys[{index}].virtual_keys[{position}]", elsewhere(slug.text, slugs))
        chosen = item.get("config")
        if chosen is not None and chosen.text not in known:
            problems.warn(chosen.at, f"api_keys[{index}].config", elsewhere(chosen.text, known))
    nodes = {row.slug: objects.parse(row.config) for row in config.configs}
    for name, index, item in _places(root, "configs", "slug"):
        for steps, node in _leaves(nodes[name], ()):
            if node.slug is not None and node.slug not in slugs:
                at = item.walk(("config", *steps))
                path = f"configs[{index}].{objects.json_path(steps)}"
                problems.warn(at.at, path, f"the virtual key '{node.slug}' {elsewhere(node.slug, slugs)}")


def _leaves(node: Node, steps: Steps) -> Iterator[tuple[Steps, Node]]:
    for index, target in enumerate(node.targets):
        yield from _leaves(target, (*steps, "targets", index))
    if not node.targets:
        yield steps, node


def _check_expiry(problems: Problems, root: Value, config: FileConfig) -> None:
    ends = {("api_keys", row.name): row.expires_at for row in config.api_keys}
    ends.update({("virtual_keys", row.slug): row.expires_at for row in config.virtual_keys})
    now = time.time()
    for section, key in (("api_keys", "name"), ("virtual_keys", "slug")):
        for name, index, item in _places(root, section, key):
            end = ends.get((section, name))
            at = item.get("expires_at")
            if at is not None and end is not None and end <= now:
                problems.warn(at.at, f"{section}[{index}].expires_at", "is in the past")
