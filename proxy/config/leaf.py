"""A leaf of a plan: one target, and how requests to it are treated."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from adapters.params import Drops
from proxy.config.facts import Facts
from proxy.config.nodes import Node, Retry
from proxy.config.target import Target
from proxy.config.verdict import State, Verdict
from proxy.health import Circuit, Health, Healths, Track

if TYPE_CHECKING:
    from proxy.usage.alike import Alike

RETRY_CODES = frozenset((429, 500, 502, 503, 504, 529))
"""What is tried again when a config asks for attempts and names no codes."""

_INFO = b"x-portkey-provider: %b\r\nx-portkey-last-used-option-index: %b\r\nx-portkey-retry-attempt-count: %%d\r\n"
_NOT_CACHED = b"x-portkey-cache-status: DISABLED\r\n"


class Race:
    """Steps that run beside each other until one ends well. Each of `runs` begins `delays` seconds after the one
    before it, or at once when one has failed; a status that `bad` holds is a failure (None: no 2xx). `leaves` are all
    that may be asked."""

    __slots__ = ("bad", "delays", "leaves", "runs")

    def __init__(self, runs: list[Steps], delays: list[float], bad: frozenset[int] | None, leaves: list[Leaf]) -> None:
        self.runs = runs
        self.delays = delays
        self.bad = bad
        self.leaves = leaves

    def good(self, status: int) -> bool:
        """Whether whoever ends with this status has won."""
        return 200 <= status < 300 if self.bad is None else status not in self.bad


Steps = Generator["Leaf | Race", int, int]
"""Yields leaves, is sent the status each ended with, and returns the status that the whole strategy ended with."""

MEASURING = frozenset(("lowest_latency", "hedge"))
WATCHING = MEASURING | {"least_busy"}


class Leaf:
    """One target and how to treat it. `where` is its JSON path in the config, as the response header says it; `edits`
    says whether the request's body changes on its way here, besides its model. `plain`: nothing is done with it but one
    attempt. `cache` is None where answers are not kept; `identity` names the config by its content."""

    __slots__ = (
        "alike",
        "attempts",
        "base_wait",
        "cache",
        "circuit",
        "default_params",
        "drops",
        "edits",
        "forward_headers",
        "health",
        "holds",
        "identity",
        "idle",
        "info",
        "name",
        "override_params",
        "plain",
        "retry_codes",
        "strict",
        "strict_params",
        "target",
        "timeout",
        "total",
        "track",
        "use_retry_after",
        "where",
    )

    def __init__(self, target: Target, where: str = "config", node: Node | None = None) -> None:
        node = _PLAIN if node is None else node
        retry = node.retry or _NO_RETRY
        self.target = target
        self.where = where
        self.name = node.name
        self.attempts = retry.attempts
        self.retry_codes = RETRY_CODES if retry.on_status_codes is None else frozenset(retry.on_status_codes)
        self.use_retry_after = retry.use_retry_after_header
        self.base_wait = retry.base_wait / 1000
        self.timeout = None if node.request_timeout is None else node.request_timeout / 1000
        self.idle = None if node.idle_timeout is None else node.idle_timeout / 1000
        self.total = None if node.total_timeout is None else node.total_timeout / 1000
        self.holds = self.attempts > 0 or self.timeout is not None
        """Whether a stream's events are held until one says something: where another try is possible until then."""
        self.health: Health | None = None
        self.circuit: Circuit | None = None
        self.track: Track | None = None
        self.override_params = node.override_params
        self.default_params = node.default_params
        self.drops = Drops(node.drop_params or ())
        self.forward_headers = node.forward_headers or ()
        self.strict = node.strict_open_ai_compliance
        self.strict_params = bool(node.strict_params)
        self.edits = bool(self.override_params or self.default_params or self.drops)
        # The answer's header lines that are the same every time, but for the number of retries.
        self.info = _INFO % (target.provider.name.encode(), where.encode())
        self.cache = node.cache
        self.identity = node.identity.encode()
        self.plain = self.attempts == 0 and self.cache is None
        self.alike: dict[tuple[object, ...], Alike] = {}
        """What requests that came here had in common, by their kind: see `proxy.usage.alike`."""
        if self.cache is None:
            # Where answers are kept, the cache says itself what it did.
            self.info += _NOT_CACHED

    def __repr__(self) -> str:
        return f"Leaf({self.where}: {self.target.name})"

    def watch(self, healths: Healths, node: Node, above: frozenset[str]) -> None:
        """Finds what is known of the target, as far as this leaf's policies or a strategy `above` want to know it."""
        self.holds = self.holds or bool(above)
        measured = not above.isdisjoint(MEASURING)
        if not self.attempts and node.breaker is None and above.isdisjoint(WATCHING):
            return
        health = self.health = self.target.health = healths.of(self.target.identity, self.target.name)
        model = self.override_params.get("model")
        model = model if isinstance(model, str) else ""
        if measured:
            self.track = health.track(model)
        if node.breaker is not None:
            self.circuit = health.circuit(model, node.breaker)

    def usable(self, facts: Facts) -> bool:
        """Whether nothing that is known of the target speaks against asking it."""
        return self._out(facts) is None

    def _out(self, facts: Facts) -> str | None:
        """Why the target is left out, or None."""
        circuit = self.circuit
        if circuit is None or not facts.guarded:
            return None
        if not circuit.allows(facts.now):
            return f"its circuit breaker is {circuit.state(facts.now).replace('_', '-')}"
        if self.health is not None and self.health.aside > facts.now:
            return f"its provider asked for {self.health.aside - facts.now:.0f} s without requests"
        return None

    def settle(self, facts: Facts) -> Leaf:
        """Just this leaf."""
        return self

    def steps(self, facts: Facts) -> Steps:
        """Just this leaf."""
        status = yield self
        return status

    def leaves(self) -> list[Leaf]:
        """Just this leaf."""
        return [self]

    def explain(self, facts: Facts, state: State = State.CHOSEN, reason: str = "") -> Verdict:
        """This leaf in the state that the node above it gives it."""
        out = self._out(facts)
        if out is not None:
            state, reason = State.NOT, out
        return Verdict(self.where, "target", state, reason, self.name, self.target.name)


_PLAIN = Node()
_NO_RETRY = Retry(attempts=0)
