"""A leaf of a plan: one target, and how requests to it are treated."""

from __future__ import annotations

from collections.abc import Generator

from adapters.params import Drops
from proxy.config.facts import Facts
from proxy.config.nodes import Node, Retry
from proxy.config.target import Target
from proxy.config.verdict import State, Verdict

RETRY_CODES = frozenset((429, 500, 502, 503, 504, 529))
"""What is tried again when a config asks for attempts and names no codes."""

_INFO = b"x-portkey-provider: %b\r\nx-portkey-last-used-option-index: %b\r\nx-portkey-retry-attempt-count: %%d\r\n"
_NOT_CACHED = b"x-portkey-cache-status: DISABLED\r\n"

Steps = Generator["Leaf", int, int]
"""Yields leaves, is sent their status, returns the status the whole strategy ended with."""


class Leaf:
    """One target and how to treat it. `where` is its JSON path in the config, as the response header says it; `edits`
    says whether the request's body changes on its way here, besides its model. `plain`: nothing is done with it but one
    attempt. `cache` is None where answers are not kept; `identity` names the config by its content."""

    __slots__ = (
        "attempts",
        "cache",
        "default_params",
        "drops",
        "edits",
        "forward_headers",
        "identity",
        "info",
        "name",
        "override_params",
        "plain",
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
        self.name = node.name
        self.attempts = retry.attempts
        self.retry_codes = RETRY_CODES if retry.on_status_codes is None else frozenset(retry.on_status_codes)
        self.use_retry_after = retry.use_retry_after_header
        self.timeout = None if node.request_timeout is None else node.request_timeout / 1000
        self.override_params = node.override_params
        self.default_params = node.default_params
        self.drops = Drops(node.drop_params or ())
        self.forward_headers = node.forward_headers or ()
        self.strict = node.strict_open_ai_compliance
        self.edits = bool(self.override_params or self.default_params or self.drops)
        # The answer's header lines that are the same every time, but for the number of retries.
        self.info = _INFO % (target.provider.name.encode(), where.encode())
        self.cache = node.cache
        self.identity = node.identity.encode()
        self.plain = self.attempts == 0 and self.cache is None
        if self.cache is None:
            # Where answers are kept, the cache says itself what it did.
            self.info += _NOT_CACHED

    def __repr__(self) -> str:
        return f"Leaf({self.where}: {self.target.name})"

    def steps(self, facts: Facts) -> Steps:
        """Just this leaf."""
        status = yield self
        return status

    def leaves(self) -> list[Leaf]:
        """Just this leaf."""
        return [self]

    def explain(self, facts: Facts, state: State = State.CHOSEN, reason: str = "") -> Verdict:
        """This leaf in the state that the node above it gives it."""
        return Verdict(self.where, "target", state, reason, self.name, self.target.name)


_PLAIN = Node()
_NO_RETRY = Retry(attempts=0)
