"""The load balancers with the configurations that are shipped, in front of gateways of a test.

`swap` are replacements in the configuration's text, for what a test cannot wait for. Each must be found.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx

from tests.fakes.gateway import SEED_KEY, Gateway
from tests.fakes.redis_server import free_port

DEPLOY = Path(__file__).parents[2] / "deploy"


class Balancer:
    """What all of them have."""

    def __init__(self, directory: Path, command: list[str], environment: dict[str, str] | None = None) -> None:
        name, *arguments = command
        program = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
        assert program, f"{name} is missing; tests/services.sh installs it"
        self.output = directory / f"{name}.txt"
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [program, *arguments],
                env=os.environ | (environment or {}),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.port = 0

    def post(self, body: Any, key: str = SEED_KEY) -> httpx.Response:
        """One chat on a connection of its own."""
        url = f"http://127.0.0.1:{self.port}/v1/chat/completions"
        return httpx.post(url, json=body, headers={"x-portkey-api-key": key}, timeout=30, trust_env=False)

    def get(self, path: str) -> int:
        """The status of a GET; 0 if nobody answers."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}{path}", trust_env=False).status_code
        except httpx.TransportError:
            return 0

    def close(self) -> None:
        """Ends it."""
        self._process.terminate()
        self._process.wait(10)


class HAProxy(Balancer):
    """haproxy/haproxy.cfg, with two gateways."""

    def __init__(self, directory: Path, gateways: list[Gateway], swap: dict[str, str] | None = None) -> None:
        config = directory / "haproxy.cfg"
        config.write_text(swapped(DEPLOY / "haproxy" / "haproxy.cfg", swap))
        port, self._stats = free_port(), free_port()
        addresses = {f"GATEWAY_{number}": f"127.0.0.1:{each.port}" for number, each in enumerate(gateways, 1)}
        bound = {"BIND": f"127.0.0.1:{port}", "STATS": f"127.0.0.1:{self._stats}"}
        super().__init__(directory, ["haproxy", "-db", "-f", str(config)], addresses | bound)
        self.port = port

    def up(self) -> set[str]:
        """The gateways that it sends requests to."""
        try:
            page = httpx.get(f"http://127.0.0.1:{self._stats}/metrics", trust_env=False).text
        except httpx.TransportError:
            return set()
        found = re.findall(r'haproxy_server_status\{proxy="gateways",server="([\w-]+)",state="UP"\} 1', page)
        return set(found)


class Nginx(Balancer):
    """nginx/loopway.conf, with two gateways."""

    def __init__(self, directory: Path, gateways: list[Gateway], swap: dict[str, str] | None = None) -> None:
        first, second = gateways
        port = free_port()
        places = {
            "127.0.0.1:8787": f"127.0.0.1:{first.port}",
            "127.0.0.1:8788": f"127.0.0.1:{second.port}",
            "listen 8080;": f"listen 127.0.0.1:{port};",
        }
        site = directory / "site.conf"
        site.write_text(swapped(DEPLOY / "nginx" / "loopway.conf", places | (swap or {})))
        main = nginx_main(directory, site)
        super().__init__(directory, ["nginx", "-c", str(main), "-e", "stderr"])
        self.port = port


def nginx_main(directory: Path, site: Path) -> Path:
    """Writes the file that includes the site, with everything that nginx writes in `directory`."""
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    parts = "".join(f"{name}_temp_path {directory}/{name}; " for name in names)
    user = "user root; " if os.geteuid() == 0 else ""
    main = directory / "nginx.conf"
    main.write_text(
        f"{user}daemon off; pid {directory}/pid; error_log stderr; events {{}} "
        f"http {{ access_log off; {parts} include {site}; }}"
    )
    return main


def swapped(file: Path, swap: dict[str, str] | None) -> str:
    """The file's text with replacements."""
    text = file.read_text()
    for old, new in (swap or {}).items():
        assert old in text, f"{file.name} has no {old!r}"
        text = text.replace(old, new)
    return text
