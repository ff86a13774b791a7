"""A deterministic model provider, for demos, tests and load tests that need no account.

It speaks what OpenAI and Anthropic speak, whole and streamed, and misbehaves on request. It shares no code with the
gateway, so that it can be its judge.

A request walks through `server` (reads it, finds the route), `modes` (what the test asks for), a dialect module
(`openai`, `openai_more`, `responses`, `anthropic`: checks it as the provider would, and dresses the answer), `text`
(what to say) and `wire` (pace, framing, faults). `ledger` remembers it. The nouns between them are in `answer`.

Steering, see `modes.Mode`: path prefix `/__mode/latency=50/v1/…`, model suffix `gpt-4o::chunks=5,gap=20`, or header
`x-mock-mode`. Watching: `GET /__stats`, `GET /__requests?last=N`, `POST /__reset`.
"""

from __future__ import annotations

from proxy.mock.cli import run, serve
from proxy.mock.ledger import Record
from proxy.mock.server import Mock

__all__ = ["Mock", "Record", "run", "serve"]
