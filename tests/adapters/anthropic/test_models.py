from __future__ import annotations

import pytest

from adapters.anthropic.models import traits

_ALL = ("low", "medium", "high", "xhigh", "max")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ["claude-2", "claude-2.1", "claude-instant-1.2", "claude-3-haiku-20240307"],
            (4096, False, None, "all", "omit", ()),
        ),
        (
            ["claude-3-5-sonnet-latest", "anthropic.claude-3-5-haiku-20241022-v1:0"],
            (8192, False, None, "all", "omit", ()),
        ),
        (["claude-3-7-sonnet-20250219", "claude-3.7-sonnet"], (64_000, False, "budget", "all", "omit", ())),
        (
            ["claude-sonnet-4-0", "claude-sonnet-4-20250514", "claude-4-sonnet-20250514", "claude-sonnet-4"],
            (64_000, False, "budget", "all", "omit", ()),
        ),
        (["claude-opus-4-0", "claude-opus-4@20250514"], (32_000, False, "budget", "all", "omit", ())),
        (["claude-opus-4-1", "claude-opus-4-1-20250805"], (32_000, False, "budget", "one", "omit", ())),
        (
            ["claude-sonnet-4-5", "claude-haiku-4-5-20251001", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"],
            (64_000, True, "budget", "one", "omit", ()),
        ),
        (["claude-opus-4-5"], (64_000, True, "budget", "one", "omit", _ALL[:3])),
        (
            ["claude-opus-4-6", "claude-sonnet-4-6"],
            (64_000, True, "adaptive", "one", "omit", ("low", "medium", "high", "max")),
        ),
        (["claude-opus-4-7", "claude-opus-4-8"], (64_000, True, "adaptive", "none", "omit", _ALL)),
        (
            ["claude-opus-5", "claude-sonnet-5", "claude-opus-5-20260701"],
            (64_000, True, "adaptive", "none", "disabled", _ALL),
        ),
        (
            ["claude-opus-5-5", "claude-fable-5", "claude-mythos-preview", "claude-of-the-future"],
            (64_000, True, "adaptive", "none", "never", _ALL),
        ),
        (["kimi-k2", "my-model", ""], (4096, False, "budget", "all", "omit", ())),
    ],
)
def test_a_name_says_what_the_model_takes(names: list[str], expected: tuple[object, ...]) -> None:
    assert {name: tuple(traits(name)) for name in names} == dict.fromkeys(names, expected)
