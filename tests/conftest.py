"""Fixtures for every test."""

from tests.fakes.gateway import gateway, launch, session_gateway, session_upstream, upstream

__all__ = ["gateway", "launch", "session_gateway", "session_upstream", "upstream"]
