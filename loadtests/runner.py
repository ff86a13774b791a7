"""Plays scenarios on targets, in rounds that take turns, and reads what each target used.

Each scenario gets fresh processes. All targets of a scenario are started and warmed up, then stand still (SIGSTOP)
while another one is measured; the order rotates from round to round, so that neither a drift of the machine nor a place
in the queue falls on one of them.
"""

from __future__ import annotations

import http.client
import json
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from loadtests import procs
from loadtests.client import Plan, encode
from loadtests.payloads import request_body
from loadtests.results import Results, Round, Row, circumstances
from loadtests.scenarios import Scenario
from loadtests.targets import HERE, TARGETS, Route, Target

_MB = 1 << 20
_PATIENCE = 10.0


class MeasureError(Exception):
    """A target did not start or answered nothing: the round has no figures."""


@dataclass(frozen=True)
class Options:
    """How long and how often. `rounds` and `seconds` of 0 leave it to the scenario."""

    rounds: int = 5
    seconds: float = 3.0
    warmup: float = 3.0


def say(line: str) -> None:
    """Progress, beside the report."""
    print(line, file=sys.stderr, flush=True)


def ask(port: int, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """One request on a connection of its own: status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        connection.request("GET" if body is None else "POST", path, body=body, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


class Gateway:
    """A target as a running process."""

    def __init__(self, name: str, layout: procs.Layout, upstream_port: int, scratch: Path) -> None:
        self.name = name
        self.target: Target = TARGETS[name]
        self.port = procs.free_port()
        self._redis_port = procs.free_port() if self.target.redis else 0
        self._redis: subprocess.Popen[str] | None = None
        self._beside = layout.client
        self.folder = scratch / f"{name}-{self.port}"
        self._cores = frozenset(sorted(layout.gateway | layout.upstream)[: self.target.cores]) or layout.gateway
        self._upstream_port = upstream_port
        self._process: subprocess.Popen[str] | None = None

    def _fill(self, text: str) -> str:
        values = {
            "@PORT@": str(self.port),
            "@UPSTREAM@": str(self._upstream_port),
            "@REDIS@": str(self._redis_port),
            "@DIR@": str(self.folder),
            "@PEER@": str(HERE / "peers" / self.target.peer),
        }
        for mark, value in values.items():
            text = text.replace(mark, value)
        return text

    def route(self, scenario: Scenario) -> Route:
        """How to ask this target for the scenario's chat."""
        route = self.target.routes[scenario.route]
        return Route(route.path, route.model, tuple(map(self._fill, route.headers)), route.speaks)

    def start(self) -> float:
        """Start it and wait for its first good answer. Returns the seconds that took; raises MeasureError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, source in self.target.files.items():
            text = source.read_text()
            for old, new in self.target.changes.items():
                text = text.replace(old, new)
            (self.folder / name).write_text(self._fill(text))
        env = {name: self._fill(value) for name, value in self.target.env.items()}
        if self.target.redis:
            self._start_redis()
        began = time.monotonic()
        with (self.folder / "log").open("wb") as log:
            self._process = procs.spawn(
                [self._fill(part) for part in self.target.command],
                self._cores,
                env=env,
                cwd=HERE.parent if self.target.is_upstream else self.folder,
                log=log,
                piped=self.target.is_upstream,
            )
        return self._first_answer(began)

    def _start_redis(self) -> None:
        command = ["redis-server", "--port", str(self._redis_port), "--bind", "127.0.0.1", "--save", ""]
        with (self.folder / "redis.log").open("wb") as log:
            self._redis = procs.spawn(command, self._beside, cwd=self.folder, log=log)
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._redis_port)) == 0:
                    return
            time.sleep(0.01)
        raise MeasureError("its Redis did not start")

    def _first_answer(self, began: float) -> float:
        assert self._process is not None
        route = self.target.routes["openai"]
        headers = dict(line.split(": ", 1) for line in map(self._fill, route.headers))
        headers["content-type"] = "application/json"
        body = request_body(route.speaks, route.model, 800, False)
        last: object = "nothing"
        while time.monotonic() < began + self.target.start_timeout and self._process.poll() is None:
            try:
                status, answer = ask(self.port, route.path, body, headers)
            except (OSError, http.client.HTTPException) as error:
                last = error
            else:
                if status == 200:
                    return time.monotonic() - began
                last = f"{status} {answer[:200].decode('utf-8', 'replace')}"
            time.sleep(0.005)
        self.stop()
        log = (self.folder / "log").read_bytes()[-400:].decode("utf-8", "replace").strip()
        raise MeasureError(f"did not start: {last}; log: {' / '.join(log.splitlines()[-3:])}")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            if not procs.end(self._process):
                say(f"  {self.name}: still there seconds after SIGTERM, killed")
            self._process = None
        if self._redis is not None:
            procs.end(self._redis)
            self._redis = None

    def signal(self, number: signal.Signals) -> None:
        """Signal its whole tree."""
        if self._process is not None:
            procs.send(self._process.pid, number)

    def usage(self) -> procs.Usage:
        """What it has used so far."""
        assert self._process is not None
        return procs.usage(self._process.pid)


@dataclass
class Window:
    """What was read at the edges of the measured window, and what the client counted in it."""

    wall: float
    cpu: float
    upstream_cpu: float
    client_cpu: float
    foreign: float  # cores kept busy by processes that are not ours
    steal: float
    usage: procs.Usage
    counted: dict[str, Any]


@dataclass
class Rig:
    """The upstream, the cores and the scratch folder of a run."""

    layout: procs.Layout
    scratch: Path
    port: int
    process: subprocess.Popen[str]
    yields: bool = False

    def set_yielding(self, yields: bool) -> None:
        """Whether upstream and clients let a gateway work on whose core they share."""
        self.yields = yields
        procs.set_yielding(self.process.pid, yields)

    def set_upstream(self, gateway: Gateway, **settings: float) -> None:
        """Say how the next answers look."""
        query = "/__set?" + urlencode(settings)
        ask(gateway.port if gateway.target.is_upstream else self.port, query)

    def upstream_stats(self, gateway: Gateway) -> dict[str, Any]:
        """The counters of the upstream that answers for `gateway`."""
        _, body = ask(gateway.port if gateway.target.is_upstream else self.port, "/__stats")
        stats: dict[str, Any] = json.loads(body)
        return stats

    def gateway(self, name: str) -> Gateway:
        """A target, not started yet."""
        return Gateway(name, self.layout, self.port, self.scratch)

    def play(self, gateway: Gateway, plan: Plan) -> Window:
        """Load `gateway` by `plan`, and read the accounts as the window opens and closes."""
        client = procs.spawn(
            [sys.executable, "-m", "loadtests.client"], self.layout.client, cwd=HERE.parent, piped=True
        )
        procs.set_yielding(client.pid, self.yields)
        assert client.stdin is not None
        assert client.stdout is not None
        try:
            client.stdin.write(encode(plan))
            client.stdin.flush()
            readings = []
            for mark in ("OPEN", "CLOSE"):
                if client.stdout.readline().strip() != mark:
                    raise MeasureError("the load client ended early")
                readings.append(self._read(gateway, client.pid))
            client.stdin.write("stop\n")
            client.stdin.flush()
            counted = json.loads(client.stdout.readline())
        finally:
            client.kill()
            client.wait()
            client.stdin.close()
            client.stdout.close()
        (t0, gateway0, upstream0, client0, own0, machine0), (t1, gateway1, upstream1, client1, own1, machine1) = (
            readings
        )
        wall = t1 - t0
        cpu, upstream_cpu, client_cpu = (
            gateway1.since(gateway0),
            upstream1.since(upstream0),
            client1.since(client0),
        )
        ours = cpu + upstream_cpu + client_cpu + own1.since(own0)
        return Window(
            wall=wall,
            cpu=cpu,
            upstream_cpu=upstream_cpu,
            client_cpu=client_cpu,
            foreign=max(0.0, machine1.busy - machine0.busy - ours) / wall,
            steal=(machine1.stolen - machine0.stolen) / wall,
            usage=gateway1,
            counted=counted,
        )

    def _read(
        self, gateway: Gateway, client: int
    ) -> tuple[float, procs.Usage, procs.Usage, procs.Usage, procs.Usage, procs.Machine]:
        return (
            time.monotonic(),
            gateway.usage(),
            procs.usage(self.process.pid),
            procs.usage(client),
            procs.own_usage(),
            procs.machine(),
        )

    def plan(self, gateway: Gateway, scenario: Scenario, seconds: float) -> Plan:
        """What the client is to do for `scenario`."""
        route = gateway.route(scenario)
        return Plan(
            port=gateway.port,
            path=route.path,
            headers=route.headers,
            body=request_body(route.speaks, route.model, scenario.prompt, scenario.stream).decode(),
            connections=scenario.connections,
            seconds=seconds,
            warm=scenario.warm,
            ramp=scenario.ramp,
            rate=scenario.rate,
            stream=scenario.stream,
            end=route.end,
            gap=scenario.gap_ms / 1e3,
        )

    def warm_up(self, gateway: Gateway, scenario: Scenario, seconds: float) -> None:
        """Load without measuring, so that caches, pools and compilers are where they will stay."""
        self.set_upstream(gateway, events=100)
        plan = self.plan(gateway, scenario, seconds)
        self.play(gateway, Plan(**{**vars(plan), "connections": 16, "warm": 0.1, "ramp": 0.0, "rate": 0.0, "gap": 0.0}))

    def measure(self, gateway: Gateway, scenario: Scenario, seconds: float) -> Round:
        """One round of a scenario of the kinds load and cancel."""
        idle = gateway.usage()
        self.set_upstream(
            gateway,
            events=scenario.stream_events(seconds),
            gap=scenario.gap_ms / 1e3,
            first=scenario.first_ms / 1e3,
            burst=scenario.burst,
        )
        window = self.play(gateway, self.plan(gateway, scenario, seconds))
        errors = dict(window.counted["errors"])
        if scenario.kind == "cancel":
            return Round(self._cancel_figures(gateway, window.counted["left_at"]), errors)
        figures = _figures(scenario, window, seconds, self.layout.shared and not gateway.target.is_upstream)
        figures["idle_rss_mb"] = idle.rss / _MB
        figures["kb_per_stream"] = (window.usage.rss - idle.rss) / 1024 / scenario.connections
        curves = {kind: window.counted[kind] for kind in ("latency_ms", "ttfc_ms", "gap_ms") if window.counted[kind]}
        return Round(figures, errors, curves)

    def _cancel_figures(self, gateway: Gateway, left_at: float) -> dict[str, float]:
        deadline = time.monotonic() + _PATIENCE
        stats = self.upstream_stats(gateway)
        while stats["active"] and time.monotonic() < deadline:
            time.sleep(0.02)
            stats = self.upstream_stats(gateway)
        closed = [(at - left_at) * 1e3 for at in stats["aborted_at"]] + [_PATIENCE * 1e3] * stats["active"]
        if not closed:
            raise MeasureError("no stream reached the upstream")
        return {
            "cancel_p50_ms": statistics.median(closed),
            "cancel_max_ms": max(closed),
            "left_open": stats["active"],
        }


def _figures(scenario: Scenario, window: Window, seconds: float, one_core: bool) -> dict[str, float]:
    counted = window.counted
    work = counted["events" if scenario.unit == "event" else "done"]
    if not work:
        raise MeasureError(f"nothing delivered: {counted['errors'] or 'no answer in the window'}")
    figures = {
        "cpu_us": window.cpu * 1e6 / work,
        "per_second": counted["done"] / seconds,
        "events_per_second": counted["events"] / seconds,
        "events_per_read": counted["events"] / max(1, counted["reads"]),
        "busy": window.cpu / window.wall,
        "load_busy": (window.client_cpu + window.upstream_cpu if one_core else window.client_cpu) / window.wall,
        "live": counted["live"],
        "late": counted["late"],
        "rss_mb": window.usage.rss / _MB,
        "worker_rss_mb": window.usage.largest / _MB,
        "foreign": window.foreign,
        "steal": window.steal,
    }
    if scenario.gap_ms:
        offered = scenario.connections * 1000 / scenario.gap_ms
        figures["delivered"] = counted["events"] / seconds / offered
    for kind, prefix in (("latency_ms", ""), ("ttfc_ms", "ttfc_"), ("gap_ms", "gap_")):
        for mark in ("p50", "p99"):
            if counted[kind]:
                figures[f"{prefix}{mark}_ms"] = counted[kind][mark]
    return figures


@contextmanager
def rig() -> Iterator[Rig]:
    """The upstream on its core, and this process out of the way."""
    layout = procs.layout()
    procs.pin(layout.client)
    procs.raise_file_limit()
    port = procs.free_port()
    with tempfile.TemporaryDirectory(prefix="loadtests-") as scratch:
        command = [sys.executable, "-m", "loadtests.upstream", "--port", str(port)]
        process = procs.spawn(command, layout.upstream, cwd=HERE.parent, piped=True)
        try:
            _await_port(port)
            yield Rig(layout, Path(scratch), port, process)
        finally:
            process.kill()
            process.communicate()


def _await_port(port: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            ask(port, "/__stats")
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


@dataclass
class Run:
    """One run over all scenarios."""

    rig: Rig
    options: Options
    results: Results = field(default_factory=Results)

    def play(self, scenarios: list[Scenario], targets: list[str]) -> Results:
        """Play everything; a target that fails costs its own rounds, never the run."""
        self.results.made = {**circumstances(), "layout": str(self.rig.layout)}
        for scenario in scenarios:
            names = [name for name in targets if scenario.route in TARGETS[name].routes]
            rows = self.results.scenarios[scenario.name] = {name: Row() for name in names}
            say(f"{scenario.name}: {scenario.about}")
            self.rig.set_yielding(scenario.yields)
            if scenario.fresh:
                self._fresh(scenario, rows)
            else:
                self._alternating(scenario, rows)
        return self.results

    def _rounds(self, scenario: Scenario) -> int:
        return min(self.options.rounds or scenario.rounds, scenario.rounds)

    def _seconds(self, scenario: Scenario) -> float:
        return max(self.options.seconds, scenario.seconds)

    def _fresh(self, scenario: Scenario, rows: dict[str, Row]) -> None:
        for _ in range(self._rounds(scenario)):
            for name, row in rows.items():
                gateway = self.rig.gateway(name)
                try:
                    self._note(scenario, name, row, self._fresh_round(gateway, scenario))
                except (MeasureError, OSError) as error:
                    self._fail(name, row, error)
                finally:
                    gateway.stop()

    def _fresh_round(self, gateway: Gateway, scenario: Scenario) -> Round:
        started = gateway.start()
        if scenario.kind == "cold":
            time.sleep(1)
            usage = gateway.usage()
            return Round({"cold_s": started, "rss_mb": usage.rss / _MB, "worker_rss_mb": usage.largest / _MB})
        self.rig.warm_up(gateway, scenario, 1.0)
        time.sleep(0.5)
        return self.rig.measure(gateway, scenario, self._seconds(scenario))

    def _alternating(self, scenario: Scenario, rows: dict[str, Row]) -> None:
        with ExitStack() as stack:
            gateways = []
            for name, row in rows.items():
                gateway = self.rig.gateway(name)
                stack.callback(gateway.stop)
                try:
                    gateway.start()
                    self.rig.warm_up(gateway, scenario, self.options.warmup)
                except (MeasureError, OSError) as error:
                    self._fail(name, row, error)
                    continue
                gateway.signal(signal.SIGSTOP)
                gateways.append(gateway)
            for _ in range(self._rounds(scenario)):
                for gateway in gateways:
                    gateway.signal(signal.SIGCONT)
                    time.sleep(0.1)
                    row = rows[gateway.name]
                    try:
                        entry = self.rig.measure(gateway, scenario, self._seconds(scenario))
                        self._note(scenario, gateway.name, row, entry)
                    except (MeasureError, OSError) as error:
                        self._fail(gateway.name, row, error)
                    gateway.signal(signal.SIGSTOP)
                gateways.append(gateways.pop(0)) if gateways else None

    def _note(self, scenario: Scenario, name: str, row: Row, entry: Round) -> None:
        row.rounds.append(entry)
        shown = [f"{column} {entry.figures[column]:.4g}" for column in scenario.columns if column in entry.figures]
        say(f"  {name}: {', '.join(shown)}{f'  ERRORS {entry.errors}' if entry.errors else ''}")

    def _fail(self, name: str, row: Row, error: Exception) -> None:
        row.failures.append(str(error))
        say(f"  {name}: FAILED {error}")
