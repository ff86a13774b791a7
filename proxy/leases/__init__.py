"""Limits over several hosts: what each may give out by itself, agreed on in Redis.

A host takes *leases*: so many permits of a key, so much of a rate or a budget. Within its lease it counts alone, in the
memory that its workers share, so a request asks nobody. `keeper.Keeper` runs in the one worker of a host that leads,
asks for more before or when a lease is used up, gives back what others want, and renews all of them with one beat.
`scripts` are what Redis does, each in one step.
"""

from proxy.leases.claims import RedisClaims
from proxy.leases.keeper import Keeper

__all__ = ["Keeper", "RedisClaims"]
