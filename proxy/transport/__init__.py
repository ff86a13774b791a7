"""The only way bytes reach an upstream.

aiohttp gives the connector (TLS, happy eyeballs, the pool) and the C response parser; between them stands a connection
of our own, `Upstream`, because three things must hold that `ClientSession` cannot promise:

- a pooled connection on which anything arrived while idle is never used again: those bytes would become the answer
  of the next tenant;
- an answer's bytes reach their reader in the loop turn in which they came, without a task in between;
- one coarse timer watches all connections, not one timer for each.

No redirects, no cookies, no decompression, no proxy variables: none of that machinery is here to be switched off.

- `http.HttpTransport` is what a worker sends by: finds a connection, watches all of them.
- `pool.GuardedConnector` lends, takes back, and connects where the address policy allows it; `resolver` knows names.
- `upstream.Upstream` is one connection with one exchange on it; `answer.Answer`, below it, makes an answer's head and
  body of what arrives, and `body` holds it until somebody takes it.
- `failures` says in our words why nothing came.
"""

from proxy.transport.http import HttpTransport

__all__ = ["HttpTransport"]
