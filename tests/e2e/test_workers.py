"""Workers, signals and reloads: what operators do while users are being served."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.samples import CLAUDE, GPT, HELLO, text_of
from tests.fakes.gateway import OPENAI_SLUG, Gateway, Launch, Upstream, standard

CHAT = {"model": GPT, "messages": HELLO}
SLOW = "gap=30,chunks=50"
"""A stream of a second and a half."""


@contextmanager
def streaming(gateway: Gateway, model: str) -> Iterator[Any]:
    """A stream that has begun."""
    with openai.OpenAI(base_url=gateway.v1, api_key=gateway.api_key, max_retries=0) as client:
        stream = client.chat.completions.create(model=f"{model}::{SLOW}", messages=HELLO, stream=True)
        next(iter(stream))
        yield stream


def served(gateway: Gateway) -> bool:
    """Whether a chat is answered."""
    try:
        return gateway.post("/v1/chat/completions", CHAT).status_code == 200
    except httpx.TransportError:
        return False


def test_a_killed_worker_is_replaced_while_the_others_serve(launch: Launch, upstream: Upstream) -> None:
    gateway = launch(standard(upstream.url), workers=2)
    victim = gateway.workers()[0]
    os.kill(victim, signal.SIGKILL)
    gateway.until(lambda: victim not in gateway.workers() and len(gateway.workers()) == 2, "it is replaced")
    for _ in range(10):
        assert served(gateway)


def test_a_lone_worker_that_is_killed_is_replaced(launch: Launch, upstream: Upstream) -> None:
    gateway = launch(standard(upstream.url))
    (victim,) = gateway.workers()
    os.kill(victim, signal.SIGKILL)
    gateway.until(lambda: served(gateway), "it serves again")
    assert victim not in gateway.workers()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("model", [GPT, CLAUDE], ids=["openai", "anthropic"])
def test_open_streams_are_drained_to_their_end(
    number: signal.Signals, model: str, launch: Launch, upstream: Upstream
) -> None:
    gateway = launch(standard(upstream.url), workers=2)
    with streaming(gateway, model) as stream:
        gateway.send(number)
        chunks = list(stream)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert gateway.wait() == 0
    assert upstream.stats["aborted"] == 0


def test_whole_answers_in_flight_are_drained_too(launch: Launch, upstream: Upstream) -> None:
    gateway = launch(standard(upstream.url))
    with httpx.Client(timeout=30, trust_env=False) as client:
        request = client.build_request(
            "POST",
            f"{gateway.v1}/chat/completions",
            json={"model": f"{GPT}::latency=1000", "messages": HELLO},
            headers={"x-portkey-api-key": gateway.api_key},
        )
        answers: list[httpx.Response] = []
        thread = threading.Thread(target=lambda: answers.append(client.send(request)))
        thread.start()
        upstream.until(lambda stats: stats["open"] == 1)
        gateway.send(signal.SIGTERM)
        thread.join()
    assert answers[0].status_code == 200
    assert answers[0].headers["connection"] == "close"
    assert gateway.wait() == 0


def test_a_stream_beyond_the_drain_timeout_ends_in_an_error_event(launch: Launch, upstream: Upstream) -> None:
    gateway = launch(standard(upstream.url) | {"server": {"drain_timeout": "500ms"}})
    with openai.OpenAI(base_url=gateway.v1, api_key=gateway.api_key, max_retries=0) as client:
        stream = client.chat.completions.create(model=f"{GPT}::gap=100,chunks=600", messages=HELLO, stream=True)
        next(iter(stream))
        gateway.send(signal.SIGTERM)
        with pytest.raises(openai.APIError, match="shutting down"):
            text_of(stream)
    assert gateway.wait() == 0


def test_while_draining_nobody_new_is_let_in(launch: Launch, upstream: Upstream) -> None:
    gateway = launch(standard(upstream.url))
    with streaming(gateway, GPT) as stream:
        gateway.send(signal.SIGTERM)
        gateway.until(lambda: not served(gateway), "it refuses new requests")
        assert text_of(stream)
    assert gateway.wait() == 0


# The configuration


def test_a_changed_file_is_taken_up_without_a_pause(launch: Launch, upstream: Upstream) -> None:
    config = standard(upstream.url)
    gateway = launch(config, workers=2)
    workers = gateway.workers()
    config["api_keys"].append({"name": "new", "key": "lw-new"})
    gateway.write(config)
    gateway.until(lambda: gateway.get("/v1/models", key="lw-new").status_code == 200, "the new key works")
    config["api_keys"].pop()
    gateway.write(config)
    gateway.until(lambda: gateway.get("/v1/models", key="lw-new").status_code == 401, "the new key is gone")
    assert gateway.workers() == workers


def test_a_stream_outlives_a_changed_file(launch: Launch, upstream: Upstream) -> None:
    config = standard(upstream.url)
    gateway = launch(config)
    with streaming(gateway, GPT) as stream:
        config["virtual_keys"] = [row for row in config["virtual_keys"] if row["slug"] != OPENAI_SLUG]
        config["api_keys"] = [row for row in config["api_keys"] if row["name"] != "narrow"]
        gateway.write(config)
        gateway.until(lambda: gateway.post("/v1/chat/completions", CHAT).status_code == 400, "the virtual key is gone")
        assert list(stream)[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("broken", ["virtual_keys: [", "virtual_keys:\n  - slug: a\n    provder: openai\n"])
def test_a_bad_file_changes_nothing_and_the_log_says_where(broken: str, launch: Launch, upstream: Upstream) -> None:
    gateway = launch(standard(upstream.url))
    gateway.write(broken)
    gateway.until(lambda: "cannot be used" in gateway.log(), "the log tells of it")
    assert "loopway.yaml:" in gateway.log()
    assert served(gateway)


def test_sighup_with_a_bad_file_keeps_everything(launch: Launch, upstream: Upstream) -> None:
    gateway = launch(standard(upstream.url), workers=2)
    workers = gateway.workers()
    gateway.write("virtual_keys: [")
    gateway.send(signal.SIGHUP)
    gateway.until(lambda: "the workers stay as they are" in gateway.log(), "the log tells of it")
    assert gateway.workers() == workers
    assert served(gateway)


def test_a_new_program_that_cannot_start_changes_nothing_and_the_log_says_so(
    launch: Launch, upstream: Upstream
) -> None:
    gateway = launch(standard(upstream.url))
    workers = gateway.workers()
    gateway.write("virtual_keys: [")
    gateway.send(signal.SIGUSR2)
    gateway.until(lambda: "has ended without taking over; this one goes on" in gateway.log(), "the log tells of it")
    assert gateway.workers() == workers
    assert served(gateway)


def test_sighup_replaces_the_workers_and_breaks_no_stream(launch: Launch, upstream: Upstream) -> None:
    config = standard(upstream.url)
    gateway = launch(config)
    (old,) = gateway.workers()
    config["api_keys"].append({"name": "new", "key": "lw-new"})
    with streaming(gateway, GPT) as stream:
        gateway.write(config)
        gateway.send(signal.SIGHUP)
        gateway.until(lambda: set(gateway.workers()) - {old}, "a new worker runs")
        assert served(gateway)
        assert list(stream)[-1].choices[0].finish_reason == "stop"
    gateway.until(lambda: old not in gateway.workers(), "the old worker is gone")
    assert gateway.get("/v1/models", key="lw-new").status_code == 200


def test_told_to_stop_while_workers_still_start_it_stops(tmp_path: Path, upstream: Upstream) -> None:
    for attempt in range(3):
        gateway = Gateway(tmp_path / str(attempt), standard(upstream.url), workers=6)
        gateway.spawn()
        gateway.until(gateway.workers, "the first worker is there")
        gateway.stop()


def test_an_idle_connection_does_not_hold_up_the_end(launch: Launch, upstream: Upstream) -> None:
    gateway = launch(standard(upstream.url))
    with (
        socket.create_connection(("127.0.0.1", gateway.port)),
        httpx.Client(base_url=gateway.url, trust_env=False) as client,
    ):
        assert client.get("/healthz").status_code == 200
        gateway.stop()


def test_leaving_clients_leave_nothing_behind(gateway: Gateway, upstream: Upstream) -> None:
    for model in (GPT, CLAUDE):
        for _ in range(20):
            with httpx.Client(trust_env=False) as client:
                body = {"model": f"{model}::gap=50,chunks=1000", "messages": HELLO, "stream": True}
                headers = {"x-portkey-api-key": gateway.api_key}
                with client.stream("POST", f"{gateway.v1}/chat/completions", json=body, headers=headers) as answer:
                    next(answer.iter_bytes())
    upstream.until(lambda stats: stats["open"] == 0 and stats["aborted"] == 40)


def test_a_client_that_leaves_before_the_first_byte_ends_the_call(gateway: Gateway, upstream: Upstream) -> None:
    for model in (GPT, CLAUDE):
        body = {"model": f"{model}::latency=60000", "messages": HELLO}
        headers = {"x-portkey-api-key": gateway.api_key}
        with httpx.Client(trust_env=False, timeout=1) as client, pytest.raises(httpx.ReadTimeout):
            client.post(f"{gateway.v1}/chat/completions", json=body, headers=headers)
    upstream.until(lambda stats: stats["open"] == 0 and stats["aborted"] == 2)
