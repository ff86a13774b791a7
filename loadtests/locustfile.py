"""Locust users for a gateway that is already running: whole and streamed chats, with several keys.

    LOOPWAY_KEYS=lw-a,lw-b locust -f loadtests/locustfile.py --host http://127.0.0.1:8787

Besides locust's own figures it reports, as rows of their own in tables, charts and CSV files:

  TTFT      milliseconds from the request to the first event of a stream
  GAP       milliseconds between two events of a stream that did not arrive together
  OVERHEAD  microseconds that the gateway added (locust's tables round milliseconds to whole ones), when it is known
            what the provider itself takes: one request in ten goes straight to `--direct-url` instead, or the provider
            is a mock whose latency is fixed (`--direct-ms`)

README.md has a worked example.
"""

from __future__ import annotations

import itertools
import random
import statistics
import time
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import gevent
from locust import FastHttpUser, events, task
from locust.argument_parser import LocustArgumentParser
from locust.contrib.fasthttp import ResponseContextManager
from locust.env import Environment
from locust.runners import WorkerRunner

_PATH = "/v1/chat/completions"
_DIRECT_EVERY = 10
_DIRECT_KEPT = 200
_DIRECT_NEEDED = 5


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    """Settings of these users; locust shows them in its web form too."""
    add = parser.add_argument
    add("--keys", env_var="LOOPWAY_KEYS", default="", is_secret=True, help="API keys of the gateway, comma-separated")
    add("--model", env_var="LOADTEST_MODEL", default="gpt-4o-mini", help="model to ask for")
    add("--virtual-key", env_var="LOADTEST_VIRTUAL_KEY", default="", help="slug of the provider credential to use")
    add("--prompt-bytes", env_var="LOADTEST_PROMPT_BYTES", type=int, default=800, help="size of the prompt")
    add("--rate", env_var="LOADTEST_RATE", type=float, default=1.0, help="requests a second of one user, at most")
    add("--direct-url", env_var="LOADTEST_DIRECT_URL", default="", help="the provider's own address, to compare with")
    add("--direct-key", env_var="LOADTEST_DIRECT_KEY", default="sk-benchmark", is_secret=True, help="key for it")
    add("--direct-ms", env_var="LOADTEST_DIRECT_MS", type=float, default=-1, help="its latency, where that is fixed")


@events.init.add_listener
def check_arguments(environment: Environment, **_: Any) -> None:
    """Say at once what would otherwise fail request by request."""
    options = environment.parsed_options
    if options is not None and not options.keys and not isinstance(environment.runner, WorkerRunner):
        raise SystemExit("no keys: set LOOPWAY_KEYS=key,key or --keys")


class Reference:
    """What the provider takes without the gateway, by kind of request: the median of the latest direct samples."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[float]] = {}

    def add(self, kind: str, milliseconds: float) -> None:
        """Keep one direct sample."""
        self._samples.setdefault(kind, deque(maxlen=_DIRECT_KEPT)).append(milliseconds)

    def value(self, kind: str, fixed: float) -> float | None:
        """The provider's milliseconds: `fixed` unless negative, else as sampled; None while too little is known."""
        if fixed >= 0:
            return fixed
        samples = self._samples.get(kind, ())
        return statistics.median(samples) if len(samples) >= _DIRECT_NEEDED else None


_REFERENCE = Reference()
_TURN = itertools.count()


def _milliseconds_since(start: float) -> float:
    return (time.perf_counter() - start) * 1e3


def _event_times(response: ResponseContextManager) -> Iterator[tuple[float, bytes]]:
    """When each `data:` line of a stream arrived, and the line.

    Lines are taken as they come off the socket. `iter_lines` of the same client waits for a full kilobyte first, which
    would hide when the events came.
    """
    while line := response.stream.readline(b"\n"):
        if line.startswith(b"data:"):
            yield time.perf_counter(), line


class ChatUser(FastHttpUser):
    """Somebody with one of the keys who asks for whole and streamed answers, three streams to one whole."""

    options: Namespace

    def wait_time(self) -> float:
        """Keep to `--rate`, as long as the answers take no longer than that."""
        now = time.perf_counter()
        self.due = max(self.due + 1 / self.options.rate, now)
        return self.due - now

    def on_start(self) -> None:
        """Take the next key in turn."""
        options = self.environment.parsed_options
        keys = [key.strip() for key in options.keys.split(",") if key.strip()]
        self.options = options
        turn = next(_TURN)
        self.headers = {"Authorization": f"Bearer {keys[turn % len(keys)]}"}
        if options.virtual_key:
            self.headers["x-portkey-virtual-key"] = options.virtual_key
        self.asked = turn  # spreads the direct samples of all users over the run
        offset = random.uniform(0, 1 / options.rate)  # users who start together do not go on asking together
        self.due = time.perf_counter() + offset
        gevent.sleep(offset)

    @task(1)
    def whole(self) -> None:
        """One chat, answered in one piece."""
        took = self._ask("chat", self._play_whole)
        if took is not None:
            self._overhead("chat", took)

    @task(3)
    def streamed(self) -> None:
        """One chat, streamed."""
        first = self._ask("chat stream", self._play_stream)
        if first is not None:
            self._overhead("chat stream", first)

    def _body(self, stream: bool) -> dict[str, Any]:
        content = "Tell me about gateways, slowly. "
        repeated = content * (self.options.prompt_bytes // len(content) + 1)
        messages = [{"role": "user", "content": repeated[: self.options.prompt_bytes]}]
        return {"model": self.options.model, "messages": messages, **({"stream": True} if stream else {})}

    def _post(self, base: str, headers: dict[str, str], name: str, stream: bool) -> ResponseContextManager:
        url = base.rstrip("/") + _PATH
        return self.client.post(
            url, json=self._body(stream), headers=headers, name=name, stream=stream, catch_response=True
        )

    def _ask(self, kind: str, play: Callable[[str, dict[str, str], str], float | None]) -> float | None:
        """Play one request through the gateway; in its turn, one past it instead, whose time is the provider's own.

        Returns the milliseconds that count for the overhead, None where there are none.
        """
        options = self.options
        self.asked += 1
        if not options.direct_url or self.asked % _DIRECT_EVERY:
            return play(self.environment.host or "", self.headers, kind)
        took = play(options.direct_url, {"Authorization": f"Bearer {options.direct_key}"}, f"{kind} (direct)")
        if took is not None:
            _REFERENCE.add(kind, took)
        return None

    def _play_whole(self, base: str, headers: dict[str, str], name: str) -> float | None:
        """Play one whole chat; its milliseconds, None if it failed."""
        start = time.perf_counter()
        with self._post(base, headers, name, stream=False) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
                return None
        return _milliseconds_since(start)

    def _play_stream(self, base: str, headers: dict[str, str], name: str) -> float | None:
        """Play one stream to its end; the milliseconds to its first event, None if it failed."""
        start = time.perf_counter()
        with self._post(base, headers, name, stream=True) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
                return None
            first, last, previous = None, b"", start
            try:
                for at, line in _event_times(response):
                    if first is None:
                        first = (at - start) * 1e3
                        self._report("TTFT", name, first)
                    elif (at - previous) * 1e3 > 0.1:
                        self._report("GAP", name, (at - previous) * 1e3)
                    previous, last = at, line
            except OSError as error:
                response.failure(f"cut: {error}")
                return None
            response.request_meta["response_time"] = _milliseconds_since(start)
            if b"[DONE]" not in last:
                response.failure("the stream ended without [DONE]")
                return None
            return first

    def _overhead(self, kind: str, milliseconds: float) -> None:
        reference = _REFERENCE.value(kind, self.options.direct_ms)
        if reference is not None:
            # Never below zero: a request that beat the median of the direct ones added nothing.
            self._report("OVERHEAD", f"{kind} (µs)", max(0.0, milliseconds - reference) * 1e3)

    def _report(self, kind: str, name: str, value: float) -> None:
        self.environment.events.request.fire(
            request_type=kind, name=name, response_time=value, response_length=0, exception=None, context={}
        )
