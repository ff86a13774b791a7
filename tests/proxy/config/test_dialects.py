"""A dialect is one line in the registry: routing learns of it there."""

from __future__ import annotations

import pytest

from adapters.registry import CLIENTS, CODECS, UPSTREAMS
from adapters.types import Dialect
from proxy.config.dialects import SERVED_BY


@pytest.mark.parametrize("client", [Dialect.OPENAI_CHAT, *CLIENTS])
def test_every_upstream_of_the_registry_serves_every_client(client: Dialect) -> None:
    assert SERVED_BY[client][0] is client
    assert set(UPSTREAMS) <= set(SERVED_BY[client])


def test_whatever_serves_a_dialect_has_a_codec() -> None:
    assert not {(client, each) for client, served in SERVED_BY.items() for each in served} - CODECS.keys()


def test_responses_come_after_every_other_chat() -> None:
    assert SERVED_BY[Dialect.ANTHROPIC_MESSAGES][-1] is Dialect.OPENAI_RESPONSES
