"""Assembly: the one place that knows everyone. A `Gateway` is everything of one worker.

- `gateway`: what it is made of, how it begins and how it ends.
- `desk`: takes every request in, and hands it to the pipeline or to a handler.
- `chores`: what is done beside requests, again and again.
- `probes`: what load balancers, Prometheus and operators ask.
"""

from proxy.app.gateway import Gateway
from proxy.app.probes import PROBES

__all__ = ["PROBES", "Gateway"]
