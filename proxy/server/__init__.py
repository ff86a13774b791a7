"""The edge: client connections, from bytes to an `Exchange` and back.

A `Door` is aiohttp's `RequestHandler` without its request and response objects: it keeps the C parser, its limits and
the handler's cancellation when the client leaves, and runs the pipeline in the connection's own task, straight from
the parsed message. aiohttp's objects are the dearest part of a tuned proxy, about a third of a request.

Before anything else each message passes one strict check. What two programs might read differently is refused here:
framing, Host, versions, upgrades, a second request before the first is answered.

- `edge.Edge` is all connections of a listener: it watches their deadlines with one timer, and drains them.
- `door.Door` is one connection: its life, and what an exchange sees of its client (`proxy.seams.Client`).
- `messages.Messages`, below it, makes messages of bytes; `check` refuses them.
"""

from proxy.server.door import Door
from proxy.server.edge import Edge, EdgeSettings

__all__ = ["Door", "Edge", "EdgeSettings"]
