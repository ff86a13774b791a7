"""What can be measured: one entry a gateway, each with how to start it and how to ask it for a chat.

`@PORT@`, `@UPSTREAM@`, `@REDIS@` (ports), `@DIR@` (a scratch folder of its own) and `@PEER@` (the peer's folder) are
filled into commands, environment and files.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.payloads import Dialect

HERE = Path(__file__).parent
_BIN = Path(sys.executable).parent
_KEY = "lw-loadtest-0123456789abcdef0123456789"
_OPENAI_MODEL = "gpt-4o-mini"
_ANTHROPIC_MODEL = "claude-sonnet-4-5"


@dataclass(frozen=True)
class Route:
    """How a chat is asked for."""

    path: str
    model: str
    headers: tuple[str, ...]
    speaks: Dialect = "openai"

    @property
    def end(self) -> str:
        """What the last event of a whole stream contains."""
        return "[DONE]" if self.speaks == "openai" else "message_stop"


@dataclass(frozen=True)
class Target:
    """A gateway (or the upstream in its place). `routes`: by the dialect of the upstream that answers. `changes`: what
    stands otherwise in its files. With `redis` it gets a Redis of its own, whose work is not counted."""

    command: tuple[str, ...]
    routes: dict[Dialect, Route]
    files: dict[str, Path] = field(default_factory=dict)
    changes: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    peer: str = ""
    needs: Path | str = ""
    install: str = ""
    start_timeout: float = 30.0
    cores: int = 1
    is_upstream: bool = False
    redis: bool = False

    def missing(self) -> str:
        """Why it cannot be measured here, or nothing."""
        found = self.needs.exists() if isinstance(self.needs, Path) else not self.needs or shutil.which(self.needs)
        if found:
            return ""
        what = self.needs.name if isinstance(self.needs, Path) else self.needs
        return f"{what} is not installed ({self.install})"


def _bearer(path: str, model: str, *headers: str, speaks: Dialect = "openai") -> Route:
    return Route(path, model, ("authorization: Bearer sk-benchmark", *headers), speaks)


_REDIS = {"LOOPWAY_REDIS_URL": "redis://127.0.0.1:@REDIS@/0"}
_BARE = (sys.executable, str(HERE / "bare.py"))
_LIMITS = "    limits: {concurrency: 8192}\n"
_RATES = (
    "concurrency: 8192, requests: {per_second: 1000000}, tokens: {per_minute: 100000000000}, budget: {usd: 1000000}"
)


def _loopway(
    workers: int = 1,
    *,
    command: tuple[str, ...] = (str(_BIN / "loopway"),),
    limits: str = _LIMITS,
    redis: bool = False,
    env: dict[str, str] | None = None,
) -> Target:
    def route(slug: str, model: str) -> Route:
        headers = (f"x-portkey-api-key: {_KEY}", f"x-portkey-virtual-key: {slug}")
        return Route("/v1/chat/completions", model, headers)

    return Target(
        command=(
            *(*command, "serve", "--config", "@DIR@/loopway.yaml", "--data", "@DIR@/data"),
            *("--port", "@PORT@", "--workers", str(workers)),
        ),
        files={"loopway.yaml": HERE / "loopway.yaml"},
        env={
            "LOOPWAY_ADMIN_KEY": "lw-admin-0123456789abcdef0123456789",
            "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost",
            "LOADTEST_KEY": _KEY,
            "LOADTEST_UPSTREAM": "http://127.0.0.1:@UPSTREAM@/v1",
            **(_REDIS if redis else {}),
            **(env or {}),
        },
        changes={_LIMITS: limits},
        routes={
            "openai": route("loadtest-openai", _OPENAI_MODEL),
            "anthropic": route("loadtest-anthropic", _ANTHROPIC_MODEL),
        },
        needs="redis-server" if redis else _BIN / "loopway",
        install="apt-get install redis-server" if redis else "make setup",
        cores=workers,
        redis=redis,
    )


def _portkey(provider: str, model: str) -> Route:
    host = "x-portkey-custom-host: http://127.0.0.1:@UPSTREAM@/v1"
    return _bearer("/v1/chat/completions", model, f"x-portkey-provider: {provider}", host)


_OPENAI = _bearer("/v1/chat/completions", _OPENAI_MODEL)
_PORTKEY_START = "node_modules/@portkey-ai/gateway/build/start-server.js"

#: By the name that `--target` takes. The first one of a run is what the others are compared with.
TARGETS: dict[str, Target] = {
    # The upstream itself in the gateway's place: the floor under all figures.
    "direct": Target(
        command=(sys.executable, "-m", "loadtests.upstream", "--port", "@PORT@"),
        routes={
            "openai": _OPENAI,
            "anthropic": _bearer("/v1/messages", _ANTHROPIC_MODEL, speaks="anthropic"),
        },
        is_upstream=True,
    ),
    "loopway": _loopway(),
    # What the books cost: the same without limits, ledger, metrics and log; and with the log alone.
    "loopway-bare": _loopway(command=_BARE, limits=""),
    "loopway-log": _loopway(command=_BARE, limits="", env={"LOADTEST_LOG": "1"}),
    # What it costs to share the limits over Redis: of concurrency, and all there are.
    "loopway-redis": _loopway(redis=True),
    "loopway-rates": _loopway(limits=_LIMITS.replace("concurrency: 8192", _RATES)),
    "loopway-redis-rates": _loopway(limits=_LIMITS.replace("concurrency: 8192", _RATES), redis=True),
    # Two workers on two cores. Where there are only two, upstream and client share the second: compare CPU only.
    "loopway-2": _loopway(2),
    # A reverse proxy in C that understands nothing of what it passes on.
    "nginx": Target(
        command=("nginx", "-p", "@DIR@", "-c", "@DIR@/nginx.conf", "-e", "@DIR@/error.log"),
        files={"nginx.conf": HERE / "peers/nginx/nginx.conf"},
        routes={"openai": _OPENAI},
        needs="nginx",
        install="apt-get install nginx",
    ),
    "portkey": Target(
        command=("node", f"@PEER@/{_PORTKEY_START}", "--headless", "--port=@PORT@"),
        env={"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"},
        routes={"openai": _portkey("openai", _OPENAI_MODEL), "anthropic": _portkey("anthropic", _ANTHROPIC_MODEL)},
        peer="portkey",
        needs=HERE / "peers/portkey" / _PORTKEY_START,
        install="sh loadtests/peers/install.sh portkey",
    ),
    "litellm": Target(
        command=(
            *("@PEER@/.venv/bin/litellm", "--config", "@DIR@/config.yaml", "--host", "127.0.0.1"),
            *("--port", "@PORT@", "--num_workers", "1"),
        ),
        files={"config.yaml": HERE / "peers/litellm/config.yaml"},
        env={
            "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_TELEMETRY": "False",
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
            "NO_DOCS": "True",
        },
        routes={"openai": _OPENAI, "anthropic": _bearer("/v1/chat/completions", "claude")},
        peer="litellm",
        needs=HERE / "peers/litellm/.venv/bin/litellm",
        install="sh loadtests/peers/install.sh litellm",
        start_timeout=120,
    ),
}
