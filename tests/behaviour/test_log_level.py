"""The log level of a running instance, by the admin API."""

from __future__ import annotations

from tests.fakes.gateway import SEED_KEY, Gateway, Launch, Upstream, standard

PATH = "/v1/log-level"


def said(gateway: Gateway, level: str, times: int) -> None:
    gateway.until(
        lambda: gateway.log().count(f"logging at level {level}") == times, f"supervisor and workers log at {level}"
    )


def test_an_administrator_sets_the_level_of_all_workers_and_takes_it_back(launch: Launch, upstream: Upstream) -> None:
    gateway = launch(standard(upstream.url), workers=2)
    before = gateway.admin("GET", PATH).json()
    assert before == {"object": "log_level", "level": "info", "configured": "info", "chosen": False, "until": None}
    now = gateway.admin("PUT", PATH, {"level": "debug"}).json()
    assert (now["level"], now["configured"], now["chosen"], now["until"]) == ("debug", "info", True, None)
    said(gateway, "debug", 3)
    assert gateway.admin("DELETE", PATH).json() == before
    said(gateway, "info", 3)


def test_a_level_for_a_while_ends_by_itself(launch: Launch, upstream: Upstream) -> None:
    gateway = launch(standard(upstream.url), workers=2)
    assert gateway.admin("PUT", PATH, {"level": "error", "seconds": 3}).json()["until"] is not None
    said(gateway, "error", 3)
    said(gateway, "info", 3)
    assert gateway.admin("GET", PATH).json()["chosen"] is False
    assert "log level set: error, by key" in gateway.log(), "who silences a log is in it"


def test_only_administrators_do_and_only_to_levels_that_there_are(gateway: Gateway) -> None:
    assert gateway.request("PUT", PATH, {"level": "debug"}, key=SEED_KEY).status_code == 403
    for bad in ({}, {"level": "loud"}, {"level": "debug", "seconds": 0}, {"level": "debug", "second": 5}, {"level": 1}):
        answer = gateway.admin("PUT", PATH, bad)
        assert answer.status_code == 400, bad
    assert gateway.admin("GET", PATH).json()["chosen"] is False
