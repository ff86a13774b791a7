"""From method and path to a route."""

from __future__ import annotations

import pytest

from adapters.types import Dialect
from proxy.admin import ROUTES as ADMIN
from proxy.app import PROBES
from proxy.dispatch import Router
from proxy.errors import Refused
from proxy.inference import ROUTES as INFERENCE
from proxy.routes import Route

ALL = (*INFERENCE, *ADMIN, *PROBES)


@pytest.fixture(scope="module")
def router() -> Router:
    return Router(ALL)


def refused(router: Router, method: str, path: str) -> Refused:
    with pytest.raises(Refused) as caught:
        router.find(method, path)
    return caught.value


@pytest.mark.parametrize("route", ALL, ids=lambda route: f"{route.method} {route.path}")
def test_every_row_of_the_table_is_found_by_its_own_path(router: Router, route: Route) -> None:
    path = route.path.replace("{rest*}", "files/x").replace("{", "").replace("}", "")
    assert router.find(route.method, path).route is route


def test_parameters_are_decoded_after_the_path_is_cut() -> None:
    table = (Route(method="GET", path="/v1/things/{thing}", scope=None, summary=""),)
    assert Router(table).find("GET", "/v1/things/a%2Fb%20c").params == {"thing": "a/b c"}


def test_a_rest_takes_every_further_segment(router: Router) -> None:
    match = router.find("POST", "/v1/files/file-1/content")
    assert match.route.dialect is Dialect.PASSTHROUGH
    assert match.params == {"rest": "files/file-1/content"}


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v2/models", "/elsewhere", "/V1/models", "/admin", "/v2/x"])
def test_outside_of_v1_there_is_nothing(router: Router, path: str) -> None:
    assert refused(router, "GET", path).status == 404


@pytest.mark.parametrize("path", sorted({route.path.split("{")[0].rstrip("/") for route in ADMIN}))
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_nothing_below_an_administrative_path_is_passed_to_a_provider(router: Router, method: str, path: str) -> None:
    for below in (path, f"{path}/", f"{path}/a/b/c/d/e"):
        try:
            found = router.find(method, below).route.dialect
        except Refused:
            found = None
        assert found is None


def test_a_known_path_with_another_method_says_which_are_allowed(router: Router) -> None:
    answer = refused(router, "PATCH", "/healthz")
    assert answer.status == 405
    assert answer.headers == (("allow", "GET"),)
    assert "GET" in answer.message


def test_a_slash_too_many_at_the_end_means_the_route_without_it(router: Router) -> None:
    for route in ALL:
        if "{" in route.path:
            continue
        if route.dialect is not None or route.path.endswith("/models"):
            assert router.find(route.method, f"{route.path}/").route is route
        else:
            assert "without the slash" in refused(router, route.method, f"{route.path}/").message
    assert router.find("POST", "/v1/chat/completions//").route.dialect is Dialect.PASSTHROUGH


def test_a_head_finds_what_is_answered_here_and_nothing_else(router: Router) -> None:
    assert router.find("HEAD", "/healthz").route.path == "/healthz"
    assert router.find("HEAD", "/v1/models").route.path == "/v1/models"
    assert refused(router, "HEAD", "/v1/files").status == 404
    assert refused(router, "HEAD", "/v1/chat/completions").status == 405


def test_a_table_that_answers_twice_is_no_table() -> None:
    with pytest.raises(ValueError, match="GET /healthz"):
        Router((*PROBES, PROBES[0]))


def test_a_model_may_be_any_part_of_the_path_before_its_verb(router: Router) -> None:
    for path, model in (
        ("/v1beta/models/gemini-x:generateContent", "gemini-x"),
        ("/v1beta/models/@slug/a/b:generateContent", "@slug/a/b"),
        ("/v1/models/%40slug%2Fa%3Ab:generateContent", "@slug/a:b"),
        ("/v1beta/models/gemini-x:streamGenerateContent/", "gemini-x"),
        ("/v1/models/@slug/a/b:generateContent/", "@slug/a/b"),
    ):
        match = router.find("POST", path)
        assert match.params == {"model": model}
        assert match.route.named
    assert not router.find("POST", "/v1beta/models/:generateContent").route.named
    assert not router.find("POST", "/v1beta/models/x:tuneModel").route.named


def test_a_model_that_a_client_takes_for_a_whole_path_is_found_all_the_same(router: Router) -> None:
    match = router.find("POST", "/v1beta/@slug/gemini-x:streamGenerateContent")
    assert match.params == {"model": "@slug/gemini-x"}
    assert match.route.named
    assert router.find("POST", "/v1beta/tunedModels/x:generateContent").route.dialect is Dialect.PASSTHROUGH


@pytest.mark.parametrize("path", ["/v1/models/@slug/a/b", "/v1/models/%40slug%2Fa%2Fb"])
def test_a_model_with_a_slug_is_told_here_and_others_by_their_provider(router: Router, path: str) -> None:
    assert router.find("GET", path).params == {"model": "slug/a/b"}
    assert router.find("GET", "/v1/models/gpt-4o").route.dialect is Dialect.PASSTHROUGH


@pytest.mark.parametrize(
    ("method", "path", "version"),
    [
        ("POST", "/chat/completions", "v1"),
        ("POST", "/messages", "v1"),
        ("GET", "/models", "v1"),
        ("POST", "/models/@slug/x:generateContent", "v1beta"),
    ],
)
def test_a_base_url_without_its_version_is_told_so(router: Router, method: str, path: str, version: str) -> None:
    answer = refused(router, method, path)
    assert answer.status == 404
    assert f"must end with /{version}," in answer.message
