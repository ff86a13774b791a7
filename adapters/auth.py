"""How a credential is shown to a provider: functions of the credential that give header lines."""

from __future__ import annotations

from collections.abc import Callable

Headers = tuple[tuple[str, str], ...]
Auth = Callable[[str], Headers]


def bearer(credential: str) -> Headers:
    """`Authorization: Bearer …`; a scheme the user already wrote is kept."""
    value = credential if credential[:7].lower() == "bearer " else f"Bearer {credential}"
    return (("authorization", value),)


def x_api_key(credential: str) -> Headers:
    """Anthropic's `x-api-key`; a `Bearer ` in front, as SDKs add it, is dropped."""
    return (("x-api-key", _bare(credential)),)


def x_goog_api_key(credential: str) -> Headers:
    """Google's `x-goog-api-key`; the same."""
    return (("x-goog-api-key", _bare(credential)),)


def api_key(credential: str) -> Headers:
    """`api-key`, as Azure and vector stores spell it; the same."""
    return (("api-key", _bare(credential)),)


def _bare(credential: str) -> str:
    return credential[7:] if credential[:7].lower() == "bearer " else credential


def unschemed(credential: str) -> Headers:
    """`Authorization` with the credential and no scheme, but for one that the user wrote."""
    return (("authorization", credential),)


def none(credential: str) -> Headers:
    """No credential at all: hosts on a private network."""
    return ()
