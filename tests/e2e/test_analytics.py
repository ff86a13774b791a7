"""Usage and spend, read with Portkey's SDK, over HTTP and on the command line, from a gateway that served."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.samples import HELLO
from tests.fakes.gateway import MASTER_KEY, Gateway, Upstream, clean_environment, standard, virtual_key

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from portkey_ai import Portkey

ANALYST = "lw-analyst"
TIMES = {
    "time_of_generation_min": (datetime.now(UTC) - timedelta(days=10)).isoformat(),
    "time_of_generation_max": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
}


@pytest.fixture(scope="module")
def served(session_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that has answered six requests of two teams, one of them an error."""
    config = standard(session_upstream.url)
    config["api_keys"].append({"name": "analyst", "key": ANALYST, "scopes": ["analytics"]})
    config["virtual_keys"].append(virtual_key("priced", "openai", session_upstream.url))
    config["prices"] = {"models": {"openai": {"gpt-4o": {"input": 1_000_000, "output": 0}}}}
    with Gateway(tmp_path_factory.mktemp("analytics"), config, workers=2) as gateway:
        for n in range(6):
            body = {"model": "gpt-4o" if n < 4 else "gpt-unknown", "messages": HELLO, "user": f"u{n % 2}"}
            slug = "priced" if n < 5 else "openai-overloaded"
            metadata = json.dumps({"team": "blue" if n % 3 else "red"})
            headers = {"x-portkey-virtual-key": slug, "x-portkey-metadata": metadata}
            if n == 4:
                headers["x-portkey-trace-id"] = "the-fourth"
            status = gateway.post("/v1/chat/completions", body, headers=headers).status_code
            assert status == (200 if n < 5 else 503)
        gateway.until(lambda: table(gateway, by="key")[0]["requests"] == 6, "all rows are written")
        yield gateway


def table(gateway: Gateway, **query: str) -> list[dict[str, Any]]:
    rows = gateway.get("/v1/analytics/usage", key=ANALYST, params=query).json()["data"]
    return rows or [{"requests": 0}]


@pytest.fixture
def analytics(served: Gateway) -> Iterator[Any]:
    client = Portkey(api_key=ANALYST, base_url=served.v1)
    yield client.analytics
    client.close()
    client.openai_client.close()


def test_graphs_of_the_sdk_draw_what_was_served(analytics: Any) -> None:
    graphs = analytics.graphs
    requests = graphs.requests(**TIMES)
    assert requests.object == "analytics-graph"
    assert requests.summary["total"] == 6
    assert sum(point["total"] for point in requests.data_points) == 6
    assert all(point["timestamp"].endswith("Z") for point in requests.data_points)
    assert graphs.tokens(**TIMES).summary["total"] > 0
    assert graphs.errors(**TIMES).summary["total"] == 1
    assert graphs.errors_rate(**TIMES).summary["rate"] == pytest.approx(100 / 6)
    assert graphs.errors_status_codes(**TIMES).summary["status_codes"] == {"503": 1}
    latency = graphs.latency(**TIMES).summary
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"]
    assert graphs.users(**TIMES).summary["total"] == 2
    assert graphs.users_requests(**TIMES).summary["total"] == 3
    assert graphs.requests_rescued(**TIMES).summary["total"] == 0
    assert graphs.cache_hit_rate(**TIMES).summary["rate"] == 0


@pytest.mark.parametrize(
    ("filters", "requests"),
    [
        ({"status_code": "503"}, 1),
        ({"status_code": "200,503"}, 6),
        ({"virtual_keys": "priced"}, 5),
        ({"virtual_keys": "priced,openai-overloaded"}, 6),
        ({"api_key_ids": "file-seed"}, 6),
        ({"ai_org_model": "openai__gpt-unknown"}, 2),
        ({"metadata": '{"team": "red"}'}, 2),
        ({"metadata": '{"team": "red", "_user": "u1"}', "status_code": "200"}, 1),
        ({"cost_min": 0.01, "total_units_min": 1}, 4),
        ({"prompt_token_min": 10**9}, 0),
        ({"trace_id": "the-fourth"}, 1),
        ({"cache_status": "HIT"}, 0),
        ({"configs": "pc-nobody"}, 0),
    ],
)
def test_the_sdks_filters_narrow_its_graphs_and_groups(analytics: Any, filters: dict[str, Any], requests: int) -> None:
    assert analytics.graphs.requests(**TIMES, **filters).summary["total"] == requests
    assert sum(row["requests"] for row in analytics.groups.ai_models(**TIMES, **filters).data) == requests


def test_the_sdks_times_narrow_its_graphs(analytics: Any) -> None:
    past = {"time_of_generation_min": "2020-01-01T00:00:00Z", "time_of_generation_max": "2020-02-01T00:00:00Z"}
    assert analytics.graphs.requests(**past).summary["total"] == 0
    assert analytics.groups.users(**past).data == []


def test_the_sdks_cost_is_the_price_times_the_tokens(analytics: Any, served: Gateway) -> None:
    # A dollar for each token of the prompt, by the configuration file.
    by_model = {row["model"]: row for row in table(served, by="model")}
    assert analytics.graphs.cost(**TIMES).summary["total"] == by_model["gpt-4o"]["input_tokens"]
    assert by_model["gpt-unknown"]["cost"] is None
    assert by_model["gpt-unknown"]["unpriced"] == 1


def test_groups_of_the_sdk(analytics: Any) -> None:
    users = analytics.groups.users(**TIMES)
    assert users.total == 2
    assert {(row["user"], row["requests"]) for row in users.data} == {("u0", 3), ("u1", 3)}
    models = analytics.groups.ai_models(**TIMES)
    assert {(row["ai_model"], row["requests"]) for row in models.data} == {("gpt-4o", 4), ("gpt-unknown", 2)}
    teams = analytics.groups.metadata(metadata_key="team", **TIMES)
    assert {(row["metadata_value"], row["requests"]) for row in teams.data} == {("blue", 4), ("red", 2)}
    assert analytics.summary.cache(**TIMES).data["hits"] == 0


@pytest.mark.parametrize(
    ("query", "requests"),
    [
        ({"status_code": "503"}, 1),
        ({"virtual_keys": "priced"}, 5),
        ({"ai_org_model": "openai__gpt-4o"}, 4),
        ({"metadata": '{"team": "red", "_user": "u0"}'}, 1),
        ({"api_key_ids": "file-seed"}, 6),
        ({"api_key_ids": "nobody"}, 0),
        ({"cost_min": "0.01"}, 4),
        ({"prompt_slug": "anything"}, 0),
        ({"time_of_generation_max": "2020-01-01T00:00:00Z"}, 0),
    ],
)
def test_filters_narrow_what_counts(served: Gateway, query: dict[str, str], requests: int) -> None:
    found = served.get("/v1/analytics/summary", key=ANALYST, params=query).json()["data"]
    assert found["requests"] == requests


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("graphs/nothing", 404),
        ("groups/nothing", 404),
        ("usage?by=nothing", 400),
        ("usage?by=day&format=xml", 400),
        ("summary?status_code=many", 400),
        ("summary?metadata=[1]", 400),
        ("summary?time_of_generation_min=yesterday", 400),
        ("summary?virtual_key=typo", 400),
    ],
)
def test_what_is_not_understood_is_refused(served: Gateway, path: str, status: int) -> None:
    assert served.get(f"/v1/analytics/{path}", key=ANALYST).status_code == status


@pytest.mark.parametrize("key", [Gateway.admin_key, Gateway.api_key])
def test_only_the_scope_of_analytics_reads_it(served: Gateway, key: str) -> None:
    assert served.get("/v1/analytics/summary", key=key).status_code == 403


def test_csv_holds_the_same_and_no_formulas(served: Gateway) -> None:
    answer = served.get("/v1/analytics/usage", key=ANALYST, params={"by": "key,model,day", "format": "csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert {row["model"]: row["requests"] for row in rows} == {"gpt-4o": "4", "gpt-unknown": "2"}
    assert {row["key"] for row in rows} == {"seed"}
    assert [bool(row["cost"]) for row in rows] == [True, False]  # gpt-unknown has no price
    assert "e-" not in answer.text
    # Where nothing was used, there is still the line of names.
    early = {"by": "key,model,day", "format": "csv", "time_of_generation_max": "2020-01-01"}
    none = served.get("/v1/analytics/usage", key=ANALYST, params=early).text.splitlines()
    assert none == answer.text.splitlines()[:1]


def command(gateway: Gateway, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", *words, "--data", str(gateway.data)],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment() | {"LOOPWAY_MASTER_KEY": MASTER_KEY},
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_shows_a_table_and_the_sums(served: Gateway) -> None:
    lines = command(served, "usage", "--by", "model,metadata:team", "--since", "24h").splitlines()
    assert lines[0].split() == [
        *("model", "metadata:team", "requests", "errors", "input_tokens", "output_tokens", "cost", "unpriced")
    ]
    assert lines[1].split()[:3] == ["gpt-4o", "blue", "2"]
    # What has no price is told apart from what cost nothing, and a sum without it from one of everything.
    assert "unknown" in {line.split()[-2] for line in lines[1:-2]}
    assert lines[-2].split()[:2] == ["total", "6"]
    assert lines[-2].split()[-2].endswith("+")
    assert " UTC, in US dollars; +: " in lines[-1]
    assert command(served, "usage", "--by", "key", "--key", "seed").splitlines()[1].split()[:2] == ["seed", "6"]
    only = json.loads(command(served, "usage", "--by", "day", "--model", "gpt-unknown", "--format", "json"))
    assert [row["requests"] for row in only] == [2]


def test_sdk_csv_and_command_line_agree_to_the_cent(analytics: Any, served: Gateway) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for since, until in (
        (midnight - timedelta(days=9), midnight + timedelta(days=1)),
        (midnight - timedelta(days=9, hours=-5), midnight + timedelta(hours=30)),
        (midnight - timedelta(days=30), midnight - timedelta(days=20)),
    ):
        # A zone of its own: days are those of UTC whoever asks.
        zone = timezone(timedelta(hours=5, minutes=30))
        first, last = (moment.astimezone(zone).isoformat() for moment in (since, until))
        times = {"time_of_generation_min": first, "time_of_generation_max": last}
        graphs, groups = analytics.graphs, analytics.groups
        sums = {(graphs.requests(**times).summary["total"], round(graphs.cost(**times).summary["total"], 2))}
        pages = [groups.ai_models(**times, page_size=1, current_page=page).data for page in range(3)]
        assert pages[2] == []
        every = [
            [row for page in pages for row in page],
            groups.users(**times).data,
            groups.metadata(metadata_key="team", **times).data,
        ]
        for by in ("day", "key,model,hour", "metadata:team"):
            text = served.get("/v1/analytics/usage", key=ANALYST, params={"by": by, "format": "csv", **times}).text
            every.append(list(csv.DictReader(io.StringIO(text))))
        words = ("usage", "--by", "virtual_key,status", "--since", first, "--until", last, "--format", "json")
        every.append(json.loads(command(served, *words)))
        for rows in every:
            cost = sum(float(row["cost"] or 0) for row in rows)
            sums.add((sum(int(row["requests"]) for row in rows), round(cost, 2)))
        assert len(sums) == 1, sums
