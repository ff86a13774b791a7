"""A config object, compiled: a tree of strategies whose leaves are targets with their policies.

A plan yields leaves one after the other. Whoever runs it tells each leaf's status back, and the strategies decide by
it whether another leaf follows: fallback, load balancing and whatever comes next are iterators, and nest freely.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from itertools import accumulate

from adapters.errors import Kind
from proxy.config.nodes import Node, Retry, inherit
from proxy.config.target import Target
from proxy.errors import Refused

RETRY_CODES = frozenset((429, 500, 502, 503, 504, 529))
"""What is tried again when a config asks for attempts and names no codes."""

_MAX_LEAVES = 64

_INFO = (
    b"x-portkey-provider: %b\r\n"
    b"x-portkey-last-used-option-index: %b\r\n"
    b"x-portkey-retry-attempt-count: %%d\r\n"
    b"x-portkey-cache-status: DISABLED\r\n"
)

Steps = Generator["Leaf", int, int]
"""Yields leaves, is sent their status, returns the status the whole strategy ended with."""


class Leaf:
    """One target and how to treat it. `where` is its JSON path in the config, as the response header says it; `edits`
    says whether the request's body changes on its way here, besides its model."""

    __slots__ = (
        "attempts",
        "default_params",
        "drop_params",
        "edits",
        "forward_headers",
        "info",
        "override_params",
        "retry_codes",
        "strict",
        "target",
        "timeout",
        "use_retry_after",
        "where",
    )

    def __init__(self, target: Target, where: str = "config", node: Node | None = None) -> None:
        node = _PLAIN if node is None else node
        retry = node.retry or _NO_RETRY
        self.target = target
        self.where = where
        self.attempts = retry.attempts
        self.retry_codes = RETRY_CODES if retry.on_status_codes is None else frozenset(retry.on_status_codes)
        self.use_retry_after = retry.use_retry_after_header
        self.timeout = None if node.request_timeout is None else node.request_timeout / 1000
        self.override_params = node.override_params
        self.default_params = node.default_params
        self.drop_params = node.drop_params or ()
        self.forward_headers = node.forward_headers or ()
        self.strict = node.strict_open_ai_compliance
        self.edits = bool(self.override_params or self.default_params or self.drop_params)
        # The answer's header lines that are the same every time, but for the number of retries.
        self.info = _INFO % (target.provider.name.encode(), where.encode())

    def steps(self) -> Steps:
        """Just this leaf."""
        status = yield self
        return status

    def leaves(self) -> list[Leaf]:
        """Just this leaf."""
        return [self]


class Single:
    """The first target, and only that."""

    __slots__ = ("children",)

    def __init__(self, children: list[Step]) -> None:
        self.children = children

    def steps(self) -> Steps:
        """The first child's steps."""
        return (yield from self.children[0].steps())

    def leaves(self) -> list[Leaf]:
        """All leaves below."""
        return [leaf for child in self.children for leaf in child.leaves()]


class Fallback(Single):
    """Targets in order, until one answers well: 2xx, or with `codes`, anything that is not listed."""

    __slots__ = ("codes",)

    def __init__(self, children: list[Step], codes: frozenset[int] | None) -> None:
        super().__init__(children)
        self.codes = codes

    def steps(self) -> Steps:
        """Children in order while their status asks for another."""
        status = 0
        for child in self.children:
            status = yield from child.steps()
            again = status in self.codes if self.codes is not None else not 200 <= status < 300
            if not again:
                break
        return status


class Balance(Single):
    """One of the targets by weighted chance."""

    __slots__ = ("_cumulative", "_draw")

    def __init__(self, children: list[Step], weights: list[float], draw: Callable[[], float] = random.random) -> None:
        super().__init__(children)
        self._cumulative = list(accumulate(weights))
        self._draw = draw

    def steps(self) -> Steps:
        """The steps of the child that was drawn."""
        point = self._draw() * self._cumulative[-1]
        chosen = next(i for i, edge in enumerate(self._cumulative) if point < edge or edge == self._cumulative[-1])
        return (yield from self.children[chosen].steps())


Step = Leaf | Single
Resolve = Callable[[Node, str], Target | None]
"""Finds or makes the target that a leaf names; None where the leaf names none and the request must."""


class Plan:
    """What a request follows. `single` is the only leaf where there is no strategy: the common case, told apart."""

    __slots__ = ("root", "single")

    def __init__(self, root: Step) -> None:
        self.root = root
        self.single = root if isinstance(root, Leaf) else None

    def __repr__(self) -> str:
        return f"Plan({', '.join(leaf.target.name for leaf in self.root.leaves())})"


def compile_plan(root: Node, resolve: Resolve) -> Plan:
    """Compiles a config tree, each node with what it inherits. Raises Refused (400)."""
    count = 0

    def step(node: Node, where: str) -> Step:
        nonlocal count
        if not node.targets:
            count += 1
            if count > _MAX_LEAVES:
                raise Refused(Kind.INVALID_REQUEST, f"A config may name at most {_MAX_LEAVES} targets.", param=where)
            target = resolve(node, where)
            if target is None:
                raise Refused(
                    Kind.INVALID_REQUEST, f"The config's target {where} names no provider and no virtual key."
                )
            return Leaf(target, where, node)
        children = [step(inherit(node, child), f"{where}.targets[{index}]") for index, child in enumerate(node.targets)]
        return _strategy(node, children, where)

    return Plan(step(root, "config"))


def _strategy(node: Node, children: list[Step], where: str) -> Step:
    strategy = node.strategy
    mode = "single" if strategy is None else strategy.mode
    if mode == "single":
        return Single(children)
    if mode == "fallback":
        codes = strategy.on_status_codes if strategy is not None else None
        return Fallback(children, None if codes is None else frozenset(codes))
    if mode == "loadbalance":
        return Balance(children, [child.weight for child in node.targets])
    raise Refused(
        Kind.INVALID_REQUEST,
        f"The strategy mode {mode!r} at {where} is not available in this version: use single, fallback or loadbalance.",
        param=f"{where}.strategy.mode",
        code="unsupported_strategy",
    )


_PLAIN = Node()
_NO_RETRY = Retry(attempts=0)
