"""The gateway: one straight-line pipeline over pure adapters, with I/O in two places (`server`, `transport`).

A request is an `Exchange`. It is authenticated to a `Key`, resolved to a `Plan` of one or more `Target`s, tried in
`Attempt`s through the `Transport`, and relayed to the `Client`. Keys and plans are compiled into a `Snapshot` that is
replaced by one assignment when configuration changes. `pipeline.py` is the page to read first.
"""

__version__ = "0.1.0"
