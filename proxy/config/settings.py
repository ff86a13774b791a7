"""The settings that a configuration file makes. Times are in seconds, sizes in bytes.

`deploy/loopway.example.yaml` shows every key with its meaning, `schema` says what may stand there.
"""

from __future__ import annotations

import msgspec

from proxy.ports import Secret


class UpstreamSettings(msgspec.Struct, frozen=True):
    """How long to wait for providers, and how much to take from them.

    `first_byte_timeout` runs from the request sent to the answer's first byte, `idle_timeout` between two reads.
    `keepalive` is how long an unused connection is kept. `max_response_size` bounds answers that are held whole, to be
    translated; what is passed through has no bound. `count_streams` asks OpenAI's streams for their usage even where
    the client did not (`stream_options.include_usage`), which then gets one more chunk.
    """

    connect_timeout: float = 10.0
    first_byte_timeout: float = 600.0
    idle_timeout: float = 300.0
    keepalive: float = 30.0
    max_response_size: int = 64 * 2**20
    count_streams: bool = False


class OverloadSettings(msgspec.Struct, frozen=True):
    """When a worker refuses inference rather than take more than it can do. 0 switches each of them off.

    `in_flight` is how many requests a worker serves at once (None: as many as its descriptors allow, at two for each),
    `lag` how late its event loop may be for seconds on end, `memory` the share of the container's memory.
    """

    in_flight: int | None = None
    lag: float = 0.5
    memory: float = 0.95


class ServerSettings(msgspec.Struct, frozen=True):
    """The listener and its limits. `workers` None: one for each core.

    `header_timeout` and `body_timeout` bound how long a client may take to send them, `keepalive_timeout` how long a
    connection may stay unused. When the process is told to stop, `/readyz` says so for `drain_delay` before connections
    are refused; then requests in flight get `drain_timeout`, and unused connections close after `drain_idle`.
    """

    host: str = "127.0.0.1"
    port: int = 8787
    workers: int | None = None
    max_body_size: int = 100 * 2**20
    header_timeout: float = 10.0
    body_timeout: float = 30.0
    keepalive_timeout: float = 75.0
    drain_delay: float = 0.0
    drain_timeout: float = 300.0
    drain_idle: float = 5.0
    trusted_custom_hosts: tuple[str, ...] = ()
    overload: OverloadSettings = OverloadSettings()
    upstream: UpstreamSettings = UpstreamSettings()


class StoreSettings(msgspec.Struct, frozen=True):
    """Where keys and configs made by the admin API live, and the ledger. `url` None: SQLite in the data directory.

    `ledger` says what a worker that is killed may lose of it: `batched` the last second, `strict` nothing.
    `journal_size` bounds what each worker keeps on disk while the store takes nothing; `retention` is after how long
    rows of the ledger are deleted (None: never), `sums_retention` the same for its sums by day, which no row outlives;
    `outage` how long known keys work while the store does not answer.
    """

    url: Secret | None = None
    ledger: str = "batched"
    journal_size: int = 64 * 2**20
    retention: float | None = None
    sums_retention: float | None = None
    outage: float = 600.0


class RedisSettings(msgspec.Struct, frozen=True):
    """What several hosts share. None: a single host needs nothing. `strict`: while limits cannot be shared because
    Redis does not answer, requests of limited keys are refused (503), instead of each host giving out its share."""

    url: Secret | None = None
    strict: bool = False


class CacheSettings(msgspec.Struct, frozen=True):
    """The memory that cached answers may take, and how long they live unless a config says so itself."""

    max_size: int = 64 * 2**20
    max_age: float = 604_800.0


class LogSettings(msgspec.Struct, frozen=True):
    """What is logged: `level` is debug, info, warning or error; `access` is a line for each request.

    `bodies` keeps what went in and out, `body_size` bytes of each, without what the patterns in `redact` match, for
    `retention` seconds.
    """

    level: str = "info"
    access: bool = True
    bodies: bool = False
    body_size: int = 64 * 1024
    redact: tuple[str, ...] = ()
    retention: float = 2_592_000.0


class OtlpSettings(msgspec.Struct, frozen=True):
    """Where traces and metrics go by OTLP over HTTP, and which share of the traces that begin here."""

    endpoint: str
    headers: dict[str, Secret] = {}
    service: str = "loopway"
    traces: bool = True
    metrics: bool = True
    sample: float = 1.0
    interval: float = 15.0


class TelemetrySettings(msgspec.Struct, frozen=True):
    """Whether `/metrics` answers, and on which port of its own (None: the gateway's). `otlp` None: nothing is sent."""

    metrics: bool = True
    metrics_port: int | None = None
    otlp: OtlpSettings | None = None
