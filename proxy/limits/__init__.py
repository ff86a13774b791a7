"""What may be used, and how much of it: the limits of API keys and virtual keys.

`limiter.Limiter` is what a compiled key or target holds (None where nothing is limited, so that no limit costs one
test): `enter` gives a `Permit` or says that it takes waiting, and a permit is left once, whatever happened.
"""

from proxy.limits.limiter import Limiter, Limiters, Permit

__all__ = ["Limiter", "Limiters", "Permit"]
