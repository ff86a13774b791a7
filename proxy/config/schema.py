"""What may stand in the configuration file, as a table of its sections."""

from __future__ import annotations

import re
from typing import Any

from msgspec import UNSET

from proxy.config.hosts import TRUSTED
from proxy.config.prices import PRICES
from proxy.config.read import (
    Field,
    Reader,
    Source,
    choice,
    duration,
    flag,
    header_fault,
    host_url,
    integer,
    listing,
    mapping,
    matching,
    named,
    record,
    secret,
    secret_text,
    size,
    text,
)
from proxy.config.rows import api_key, config, virtual_key
from proxy.config.settings import (
    CacheSettings,
    LogSettings,
    OtlpSettings,
    OverloadSettings,
    RedisSettings,
    ServerSettings,
    StoreSettings,
    TelemetrySettings,
    UpstreamSettings,
)
from proxy.config.tree import Value
from proxy.ports import Secret

LEVELS = ("debug", "info", "warning", "error")
"""Of logging, in lower case."""


def _share(source: Source, value: Value, path: str) -> Any:
    """A number from 0 to 1."""
    if isinstance(value.data, bool) or not isinstance(value.data, int | float):
        return source.expected("a number from 0 to 1", value, path)
    return float(value.data) if 0 <= value.data <= 1 else source.bad(value, path, "must be from 0 to 1")


_UPSTREAM = record(
    {
        "connect_timeout": Field(duration),
        "first_byte_timeout": Field(duration),
        "idle_timeout": Field(duration),
        "keepalive": Field(duration),
        "max_response_size": Field(size),
        "count_streams": Field(flag),
    },
    UpstreamSettings,
)
_OVERLOAD = record(
    {"in_flight": Field(integer(0)), "lag": Field(duration), "memory": Field(_share)},
    OverloadSettings,
)
_SERVER = record(
    {
        "host": Field(named),
        "port": Field(integer(0, 65535)),
        "workers": Field(integer(1, 512)),
        "max_body_size": Field(size),
        "header_timeout": Field(duration),
        "body_timeout": Field(duration),
        "keepalive_timeout": Field(duration),
        "drain_delay": Field(duration),
        "drain_timeout": Field(duration),
        "drain_idle": Field(duration),
        "trusted_custom_hosts": Field(listing(matching(TRUSTED, "expected a host name or an address"))),
        "overload": Field(_OVERLOAD),
        "upstream": Field(_UPSTREAM),
    },
    ServerSettings,
)

_REDIS = re.compile(r"(rediss?|unix)://")
_STORES = re.compile(r"postgres(ql)?://|sqlite:///.|(?![A-Za-z0-9+.-]+://)")


def _url(form: re.Pattern[str], looks: str) -> Reader:
    """Where a service is, with its credential; nothing repeats it."""

    def read(source: Source, value: Value, path: str) -> Any:
        given = secret_text(source, value, path)
        if given is UNSET:
            return given
        return Secret(given) if form.match(given) else source.bad(value, path, f"no usable URL: it looks like {looks}")

    return read


_STORE = record(
    {
        "url": Field(_url(_STORES, "postgresql://USER@HOST/DATABASE, or sqlite:///PATH")),
        "ledger": Field(choice(("batched", "strict"))),
        "journal_size": Field(size),
        "retention": Field(duration),
        "sums_retention": Field(duration),
        "outage": Field(duration),
    },
    StoreSettings,
)


def _pattern(source: Source, value: Value, path: str) -> Any:
    """A regular expression."""
    given = text(source, value, path)
    if given is UNSET:
        return given
    try:
        re.compile(given)
    except re.error as error:
        return source.bad(value, path, f"is no regular expression: {error}")
    return given


_OTLP = record(
    {
        "endpoint": Field(host_url, required=True),
        "headers": Field(mapping(secret, header_fault)),
        "service": Field(named),
        "traces": Field(flag),
        "metrics": Field(flag),
        "sample": Field(_share),
        "interval": Field(duration),
    },
    OtlpSettings,
)

FILE = record(
    {
        "virtual_keys": Field(listing(virtual_key)),
        "api_keys": Field(listing(api_key)),
        "configs": Field(listing(config)),
        "server": Field(_SERVER),
        "store": Field(_STORE),
        "redis": Field(
            record({"url": Field(_url(_REDIS, "redis://HOST:6379/0")), "strict": Field(flag)}, RedisSettings)
        ),
        "cache": Field(record({"max_size": Field(size), "max_age": Field(duration)}, CacheSettings)),
        "prices": Field(PRICES),
        "logs": Field(
            record(
                {
                    "level": Field(choice(LEVELS)),
                    "access": Field(flag),
                    "bodies": Field(flag),
                    "body_size": Field(size),
                    "redact": Field(listing(_pattern)),
                    "retention": Field(duration),
                },
                LogSettings,
            )
        ),
        "telemetry": Field(
            record(
                {"metrics": Field(flag), "metrics_port": Field(integer(1, 65535)), "otlp": Field(_OTLP)},
                TelemetrySettings,
            )
        ),
    },
    dict,
)
"""The whole file; gives a dict of those sections that are there."""
