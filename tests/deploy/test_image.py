"""The image, as far as its instructions can be tried without building it; `sh tests/deploy/image.sh` does build it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

from tests.fakes.gateway import Gateway, Upstream, standard
from tests.fakes.redis_server import free_port

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", " ")


def test_what_it_copies_is_there_and_not_ignored() -> None:
    ignore = (ROOT / ".dockerignore").read_text().split()
    allowed = [line[1:] for line in ignore if line.startswith("!")]
    copies = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    sources = [source for copy in copies for source in copy.split()[:-1]]
    assert sources
    for source in sources:
        assert (ROOT / source).exists()
        assert any(fnmatch(source, pattern) for pattern in allowed), source


def test_it_is_made_to_run_without_root() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE), "by number: Kubernetes cannot check a name"
    assert re.search(r"^STOPSIGNAL SIGTERM$", last, re.MULTILINE)


def test_its_health_check_tells_a_gateway_from_none(launch: Callable[..., Gateway], upstream: Upstream) -> None:
    found = re.search(r"^HEALTHCHECK .* CMD (\[.+\])$", DOCKERFILE, re.MULTILINE)
    assert found
    program, *arguments = json.loads(found[1])
    assert program == "python"

    def healthy(port: int) -> bool:
        environment = os.environ | {"LOOPWAY_PORT": str(port)}
        return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True).returncode == 0

    assert healthy(launch(standard(upstream.url)).port)
    assert not healthy(free_port())
