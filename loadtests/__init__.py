"""What the gateway costs, measured: `python -m loadtests`, described in README.md.

A run starts an upstream (`upstream`), each gateway in turn (`targets`) and a load client (`client`) as processes of
their own, pinned to cores (`procs`), plays the scenarios of scenarios.toml on them in alternating rounds (`runner`) and
prints medians with their spread (`report`). `locustfile` is the same traffic as locust users, for a gateway that is
already running.
"""
