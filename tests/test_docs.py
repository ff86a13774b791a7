"""The pages are true: what they show runs as it stands, and what the code has they mention."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from proxy.admin import ROUTES as ADMIN_ROUTES
from proxy.app import PROBES
from proxy.cli import COMMANDS
from proxy.config import settings
from proxy.config.file import load
from proxy.config.prices import PriceSettings
from proxy.explain import ROUTES as EXPLAIN_ROUTES
from proxy.inference import ROUTES as INFERENCE_ROUTES
from proxy.metrics import FAMILIES
from proxy.ports import Budget, Limits, Queue, Rates
from tests.test_floors import FLOORS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / "deploy" / "loopway.example.yaml").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8787"
EXPECTED = "This is a test."


def tracked() -> list[Path]:
    """Every file of the repository; of an unpacked archive, every file that is not made by a tool."""
    if (ROOT / ".git").exists():
        names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
        return [path for name in names if name and (path := ROOT / os.fsdecode(name)).is_file()]
    made = {".venv", "node_modules", "data", "__pycache__", "build", "out"}
    return [path for path in ROOT.rglob("*") if path.is_file() and not made & set(path.relative_to(ROOT).parts)]


PAGES = [path for path in tracked() if path.suffix == ".md"]


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


# -- what is shown, runs


def until(process: subprocess.Popen[bytes], mark: bytes, seconds: float = 60) -> str:
    """What a process prints up to a mark."""
    assert process.stdout is not None
    printed, last = b"", time.monotonic() + seconds
    while mark not in printed:
        ready, _, _ = select.select([process.stdout], [], [], max(0, last - time.monotonic()))
        data = os.read(process.stdout.fileno(), 65536) if ready else b""
        assert data, f"no {mark!r} in: {printed.decode()}"
        printed += data
    return printed.decode()


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What `make run` prints, from a gateway on a free port that runs as long as the tests here."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("LOOPWAY_")}
    data = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "proxy", "demo", "--port", "0", "--workers", "1", "--data", str(data)]
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE)
    try:
        yield until(process, b"print(answer.choices[0].message.content)")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.fixture(scope="module")
def address(printed: str) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+", printed)
    assert found
    return found[0]


def ran(command: list[str], cwd: Path = ROOT) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def indented(text: str, opening: str) -> str:
    """The indented block after a line that ends with `opening`."""
    block = text.partition(f"{opening}\n\n")[2]
    lines = re.match(r"(?:(?: {4}.*)?\n?)*", block)
    assert lines
    return re.sub(r"^ {4}", "", lines[0], flags=re.MULTILINE)


def test_the_curl_line_that_make_run_prints_answers(printed: str) -> None:
    assert EXPECTED in ran(["sh", "-c", indented(printed, "Try it:")])


def test_the_program_that_make_run_prints_runs_on_both_providers(printed: str) -> None:
    assert ran([sys.executable, "-c", indented(printed, "(pip install openai):")]).split("\n")[:2] == [EXPECTED] * 2


def test_the_curl_line_of_the_readme_answers(address: str) -> None:
    lines = [block for block in blocks(README, "sh") if block.startswith("curl")]
    assert len(lines) == 1
    assert EXPECTED in ran(["sh", "-c", lines[0].replace(ADDRESS, address)])


@pytest.mark.parametrize("number", range(len(blocks(README, "python"))))
def test_every_python_program_of_the_readme_runs_as_it_stands(address: str, number: int) -> None:
    assert ran([sys.executable, "-c", blocks(README, "python")[number].replace(ADDRESS, address)]).strip() == EXPECTED


@pytest.mark.parametrize("number", range(len(blocks(README, "js"))))
def test_every_node_program_of_the_readme_runs_as_it_stands(address: str, number: int) -> None:
    # Beside the packages, where `import` finds them.
    program = blocks(README, "js")[number].replace(ADDRESS, address)
    node = ["node", "--input-type=module", "-e", program]
    assert ran(node, ROOT / "tests" / "e2e" / "node").strip() == EXPECTED


def test_the_configuration_of_the_readme_is_valid(tmp_path: Path) -> None:
    (text,) = blocks(README, "yaml")
    file = tmp_path / "loopway.yaml"
    file.write_text(text, encoding="utf-8")
    names = re.findall(r"\$\{(\w+)\}", text)
    config = load(file, dict.fromkeys(names, "lw-0123456789abcdef"))
    assert [row.slug for row in config.virtual_keys] == ["openai-prod", "anthropic-prod"]
    assert not config.warnings


def test_the_commands_of_the_readme_exist() -> None:
    for line in re.findall(r"^\.venv/bin/loopway (.*)$", README, re.MULTILINE):
        words = line.partition("#")[0].split()
        options = {option for parameter in command(words[0]).params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, line
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        found = set(re.findall(r"(?:^|`)make (\w+)(?![\w/])", page.read_text(encoding="utf-8"), re.MULTILINE))
        assert found <= targets, page


# -- what there is, is mentioned


def command(name: str) -> click.Command:
    module, _, attribute = COMMANDS[name].place.partition(":")
    found = getattr(import_module(module), attribute)
    assert isinstance(found, click.Command)
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme_with_those_below_it(name: str) -> None:
    rows = [line for line in README.splitlines() if line.startswith(f"| `loopway {name}` |")]
    assert len(rows) == 1
    found = command(name)
    for below, command_below in found.commands.items() if isinstance(found, click.Group) else ():
        assert command_below.hidden or f"`{below}`" in rows[0] or "the same" in rows[0]


def commands(group: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, group
    if isinstance(group, click.Group):
        for below, found in group.commands.items():
            yield from commands(found, f"{name} {below}")


@pytest.mark.parametrize(
    ("name", "found"), [pair for name in COMMANDS for pair in commands(command(name), f"loopway {name}")]
)
def test_every_command_shows_an_example_of_itself(name: str, found: click.Command) -> None:
    assert re.search(rf"Example: (?:[A-Z_]+=\S+ )*{name}\b", " ".join((found.help or "").split()))


@pytest.mark.parametrize(
    "path", sorted({route.path for route in (*INFERENCE_ROUTES, *EXPLAIN_ROUTES, *ADMIN_ROUTES, *PROBES)})
)
def test_every_route_is_in_the_readme(path: str) -> None:
    collection = re.sub(r"/@?\{.*", "", path)
    if collection == "/v1":
        assert "any other `/v1/…`" in README
    else:
        assert re.search(rf"`(?:(?:GET|POST) )?{re.escape(collection)}`", README)


def variables() -> set[str]:
    code = [path.read_text(encoding="utf-8") for path in (ROOT / "proxy").rglob("*.py")]
    return {name for text in code for name in re.findall(r"\b(?:LOOPWAY_[A-Z_]+|TRUSTED_CUSTOM_HOSTS)\b", text)}


@pytest.mark.parametrize("name", sorted(variables()))
def test_every_environment_variable_is_in_the_readme(name: str) -> None:
    assert f"`{name}`" in README


SETTINGS: dict[str, type[msgspec.Struct]] = {
    "server": settings.ServerSettings,
    "upstream": settings.UpstreamSettings,
    "store": settings.StoreSettings,
    "redis": settings.RedisSettings,
    "cache": settings.CacheSettings,
    "prices": PriceSettings,
    "logs": settings.LogSettings,
    "telemetry": settings.TelemetrySettings,
    "limits": Limits,
    "queue": Queue,
    "rates": Rates,
    "budget": Budget,
}


@pytest.mark.parametrize("section", SETTINGS)
def test_every_setting_is_in_the_example_configuration(section: str) -> None:
    missing = {field for field in SETTINGS[section].__struct_fields__ if not re.search(rf"\b{field}\b", EXAMPLE)}
    assert not missing


def test_the_example_configuration_is_valid() -> None:
    load(ROOT / "deploy" / "loopway.example.yaml", {})


DEFAULTS = [
    (section, field.name, field.default)
    for section in ("server", "upstream", "cache", "logs", "telemetry")
    for field in msgspec.structs.fields(SETTINGS[section])
    if not isinstance(field.default, msgspec.Struct | type(msgspec.NODEFAULT))
]


@pytest.mark.parametrize(("section", "name", "default"), DEFAULTS)
def test_the_example_configuration_shows_the_defaults_of_settings(section: str, name: str, default: Any) -> None:
    shown: Any = load(ROOT / "deploy" / "loopway.example.yaml", {})
    for step in {"upstream": ("server", "upstream")}.get(section, (section,)):
        shown = getattr(shown, step)
    assert getattr(shown, name) == default


# -- the pages agree with the repository


def test_the_floors_of_the_architecture_are_those_that_are_checked() -> None:
    drawn = re.findall(r"^(\d)  (.+)$", ARCHITECTURE, re.MULTILINE)
    assert [(int(number), names.split()) for number, names in drawn] == [
        (number, list(names)) for number, names in enumerate(FLOORS)
    ]


def test_every_top_level_folder_is_in_the_readme() -> None:
    folders = {path.relative_to(ROOT).parts[0] for path in tracked() if len(path.relative_to(ROOT).parts) > 1}
    described = set(re.findall(r"^\| `(\w+)/`", README, re.MULTILINE))
    assert {folder for folder in folders if not folder.startswith(".")} == described


def test_every_direct_dependency_has_its_reason_in_the_architecture() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^dependencies = \[\n(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    assert listed
    names = re.findall(r'^ +"([\w-]+)', listed[1], re.MULTILINE)
    assert names
    assert [name for name in names if f"| {name} | " not in ARCHITECTURE] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_and_file_of_a_page_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link}
    named = set(re.findall(r"`((?:proxy|adapters|tests|deploy|docs|loadtests)/[\w./-]+\.(?:py|md|yaml|sh))`", text))
    gone = {link for link in links if link and not (page.parent / link).exists()}
    assert not gone | {name for name in named if not (ROOT / name).exists()}


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    machine = [re.escape(str(ROOT)), re.escape(f"{Path.home()}/"), r"/(?:home|Users)/(?!runner/)[a-z]+/"]
    pattern = re.compile("|".join(rf"(?<![\w./:-]){part}" for part in machine))
    found = []
    for path in tracked():
        if path == Path(__file__):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in pattern.finditer(text)]
    assert not found


def test_the_page_on_operating_has_every_metric() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert [name for name in FAMILIES if f"`{name}`" not in page] == []
