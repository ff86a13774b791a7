"""What may be used, and how much of it: the limits of API keys and virtual keys.

- `limiter.Limiter` is what a compiled key or target holds (None where nothing is limited, so that no limit costs one
  test): `enter` gives a `Permit` or says that it takes waiting, and a permit is left once, whatever happened.
- `gate.Gate` is its concurrency, with the queue before it (`fair`); `meter.Meter` its rates and its budget (`windows`,
  `need`); `refusals` says no.
- `memory.Memory` is where all workers of a host count, `locks` guard it, and `host.Host` is a worker's place there.
"""

from proxy.limits.fair import WEIGHTS
from proxy.limits.host import Host
from proxy.limits.limiter import Limiter, Permit, Spender
from proxy.limits.memory import Memory, supervisor_memory
from proxy.limits.registry import Limiters
from proxy.limits.shown import with_rates

__all__ = ["WEIGHTS", "Host", "Limiter", "Limiters", "Memory", "Permit", "Spender", "supervisor_memory", "with_rates"]
