"""What the programs that try a gateway for minutes run against: the mock provider, and a gateway before it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.gateway import ROOT, Gateway, clean_environment, standard


@contextmanager
def stand(workers: int) -> Iterator[tuple[Gateway, str]]:
    """The gateway, and the provider's URL; both are processes of their own, and end with the block."""
    provider = subprocess.Popen(
        [sys.executable, "-m", "proxy", "mock", "--port", "0"],
        cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert provider.stdout is not None
        url = provider.stdout.readline().split()[-1]
        with tempfile.TemporaryDirectory() as folder:
            config = standard(url) | {"logs": {"level": "warning", "access": False}}
            with Gateway(Path(folder), config, workers=workers) as gateway:
                yield gateway, url
    finally:
        provider.terminate()
        provider.wait()
