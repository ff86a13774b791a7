"""What may be used, and how much of it: the limits of API keys and virtual keys.

- `limiter.Limiter` is what a compiled key or target holds (None where nothing is limited, so that no limit costs one
  test): `enter` gives a `Permit` or says that it takes waiting, and a permit is left once, whatever happened.
- `gate.Gate` is its concurrency, with the queue before it (`fair`); `meter.Meter` its rates and its budget (`rates`,
  `windows`, `need`; `short` is what it does for nearly every request, `spender` is for an API key's budget in dollars);
  `refusals` says no, `shown` says how rates stand.
- `memory.Memory` is where all workers of a host count, `locks` guard it, and `host.Host` is a worker's place there.
"""

from proxy.limits.fair import WEIGHTS
from proxy.limits.host import Host
from proxy.limits.limiter import Limiter
from proxy.limits.memory import Memory, supervisor_memory
from proxy.limits.permit import Permit
from proxy.limits.rates import UNRATED, Standing
from proxy.limits.registry import Limiters
from proxy.limits.shown import with_rates
from proxy.limits.spender import Spender, spender_of

__all__ = [
    "UNRATED",
    "WEIGHTS",
    "Host",
    "Limiter",
    "Limiters",
    "Memory",
    "Permit",
    "Spender",
    "Standing",
    "spender_of",
    "supervisor_memory",
    "with_rates",
]
