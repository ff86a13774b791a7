"""What a plan would do with a request, as a tree: which target gets it, and why each other does not."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class State(StrEnum):
    """What a node is to a request, the strongest first."""

    CHOSEN = "chosen"
    """It gets the request."""
    POSSIBLE = "possible"
    """It may get the request: chance decides, or what is measured when it comes."""
    NEXT = "next"
    """It follows if those before it do not answer well."""
    NOT = "not"
    """It does not get the request."""


_ORDER = tuple(State)


def weaker(one: State, other: State) -> State:
    """The state of a node that is `other` within a node that is `one`."""
    return max(one, other, key=_ORDER.index)


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """One node of a plan before one request. `where` is its JSON path in the config, `mode` the strategy's (a leaf:
    `target`), `target` a leaf's virtual key or provider; `reason` says in words why it is in its `state`."""

    where: str
    mode: str
    state: State
    reason: str = ""
    name: str | None = None
    target: str | None = None
    children: tuple[Verdict, ...] = ()
