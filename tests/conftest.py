"""Fixtures for every test."""

from hypothesis import HealthCheck, settings

from tests.fakes.gateway import gateway, launch, session_gateway, session_upstream, upstream
from tests.fakes.postgres import postgres, postgres_url

__all__ = ["gateway", "launch", "postgres", "postgres_url", "session_gateway", "session_upstream", "upstream"]

# How long an example takes says what else the machine is doing, and nothing about the code.
settings.register_profile("loopway", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loopway")
