"""Claude Code and gemini-cli themselves, headless, on providers of every dialect: they ask, use a tool, and answer.

The provider is scripted: the last word of the model's name says what it answers first, and what once a tool's result
has come back.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.gateway import SEED_KEY, Gateway, clean_environment
from tests.matrix.cases import Answer, Case, ToolCall
from tests.matrix.table import UPSTREAMS
from tests.matrix.test_matrix import config
from tests.matrix.upstream import Upstream, model
from tests.matrix.wire import signature_of

HOME = Path(__file__).parent / "clis"
MODULES = HOME / "node_modules"
NOTE = "note.txt"
WORD = "plover"
QUESTION = f"What is the word in {NOTE}?"
THOUGHT = "The note will tell."
SAID = "The word is there."
SIGNING = ("Anthropic Messages", "Anthropic on Bedrock", "Bedrock Converse", "Gemini")
"""Dialects whose thoughts are signed and go back to whoever thought them."""
_PATIENCE = 60.0


def uses(name: str, **arguments: str) -> Case:
    """A provider that thinks and calls one tool, and has its say when the result is there."""
    call = ToolCall("toolu_1", name, arguments)
    return Case(name, Answer("", (call,), THOUGHT, "tool_calls"), then=(Answer(SAID),))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the programs work: a note lies there."""
    made = tmp_path_factory.mktemp("work")
    (made / NOTE).write_text(f"The word is {WORD}.\n")
    return made


@pytest.fixture(scope="module")
def provider(folder: Path) -> Iterator[Upstream]:
    cases = {
        "reads": uses("Read", file_path=str(folder / NOTE)),
        "runs": uses("Bash", command=f"cat {NOTE}", description="Shows the note"),
        "searches": uses("ToolSearch", query="select:WebFetch"),
        "looks": uses("read_file", file_path=NOTE),
        "shells": uses("run_shell_command", command=f"cat {NOTE}"),
    }
    with Upstream(cases) as running:
        yield running


@pytest.fixture(scope="module")
def agents(provider: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with a virtual key for each dialect of the provider."""
    with Gateway(tmp_path_factory.mktemp("gateway"), config(provider.url)) as running:
        yield running


def program(pattern: str) -> str:
    """An installed program; one package of Claude Code's is there, that of this machine."""
    found = [str(path) for path in MODULES.glob(pattern)]
    assert found, "the programs are not installed; run: make tests/e2e/clis/node_modules/.stamp"
    return found[0]


def run(command: list[str], folder: Path, home: Path, **environment: str) -> dict[str, Any]:
    """What a program prints: the last JSON object that begins a line, on whichever stream."""
    settings = home / ".gemini" / "settings.json"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text('{"security": {"auth": {"selectedType": "gemini-api-key"}}}')
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        cwd=folder,
        env={**_bare_environment(), "HOME": str(home), **environment},
    )
    found = done.stdout if "{" in done.stdout else done.stderr
    assert "{" in found, f"{command[0]} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    answer: dict[str, Any] = json.loads(found[("\n" + found).rindex("\n{") :])
    return answer


def _bare_environment() -> dict[str, str]:
    """Nothing of this machine's own settings of such programs, should there be any."""
    theirs = ("CLAUDE", "GEMINI", "GOOGLE", "XDG_")
    return {name: value for name, value in clean_environment().items() if not name.startswith(theirs)}


def claude(gateway: Gateway, to: str, case: str, folder: Path, home: Path, key: str = SEED_KEY) -> dict[str, Any]:
    """One headless turn of Claude Code."""
    slug, base = UPSTREAMS[to]
    name = f"@{slug}/{model(base, case)}"
    binary = program("@anthropic-ai/claude-code-*/claude")
    return run(
        [binary, "-p", QUESTION, "--output-format", "json", "--allowedTools", "Read,Bash(cat:*),ToolSearch"],
        folder,
        home,
        ANTHROPIC_BASE_URL=gateway.url,
        ANTHROPIC_AUTH_TOKEN=key,
        ANTHROPIC_MODEL=name,
        ANTHROPIC_DEFAULT_HAIKU_MODEL=name,
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
        DISABLE_AUTOUPDATER="1",
    )


def gemini(gateway: Gateway, to: str, case: str, folder: Path, home: Path, key: str = SEED_KEY) -> dict[str, Any]:
    """One headless turn of gemini-cli."""
    slug, base = UPSTREAMS[to]
    name = f"@{slug}/{model(base, case)}"
    node = shutil.which("node")
    assert node, "there is no node on the PATH; install Node.js 20 or newer"
    script = program("@google/gemini-cli/bundle/gemini.js")
    return run(
        [node, script, "-m", name, "-p", QUESTION, "--output-format", "json", "--approval-mode", "yolo"],
        folder,
        home,
        GOOGLE_GEMINI_BASE_URL=gateway.url,
        GEMINI_API_KEY=key,
        GEMINI_CLI_TRUST_WORKSPACE="true",
    )


FEW = ("Gemini", "Anthropic Messages", "OpenAI chat", "Bedrock Converse")
"""Where gemini-cli is sent, which takes its seconds."""


def checked(to: str, provider: Upstream) -> None:
    """The provider got the tool's result, its own signed thought, and nothing of the gateway's key."""
    body = provider.bodies[-1]
    assert WORD in body
    assert SEED_KEY not in body
    if to in SIGNING:
        assert signature_of(THOUGHT) in body


@pytest.mark.parametrize("to", UPSTREAMS)
def test_claude_code_reads_a_file(to: str, agents: Gateway, provider: Upstream, folder: Path, tmp_path: Path) -> None:
    answer = claude(agents, to, "reads", folder, tmp_path)
    assert (answer["result"], answer["is_error"], answer["num_turns"]) == (SAID, False, 2)
    assert (answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]) == (80, 24)
    checked(to, provider)
    if to == "Anthropic on Bedrock":
        betas = json.loads(provider.bodies[-1])["anthropic_beta"]
        assert "interleaved-thinking-2025-05-14" in betas
        assert not {"claude-code-20250219", "advanced-tool-use-2025-11-20"} & set(betas)


def test_claude_code_runs_a_command(agents: Gateway, provider: Upstream, folder: Path, tmp_path: Path) -> None:
    answer = claude(agents, "OpenAI chat", "runs", folder, tmp_path)
    assert (answer["result"], answer["is_error"]) == (SAID, False)
    checked("OpenAI chat", provider)


@pytest.mark.parametrize("to", ["OpenAI chat", "Anthropic Messages"])
def test_claude_code_loads_tools_that_it_held_back(
    to: str, agents: Gateway, provider: Upstream, folder: Path, tmp_path: Path
) -> None:
    answer = claude(agents, to, "searches", folder, tmp_path)
    assert (answer["result"], answer["is_error"]) == (SAID, False)
    body = provider.bodies[-1]
    # Once as the result of the search, and once as a tool from now on.
    assert body.count('"WebFetch"') >= 2


def test_claude_code_is_told_that_its_key_is_wrong(
    agents: Gateway, provider: Upstream, folder: Path, tmp_path: Path
) -> None:
    before = len(provider.bodies)
    answer = claude(agents, "Anthropic Messages", "reads", folder, tmp_path, key="wrong")
    assert (answer["is_error"], answer["api_error_status"]) == (True, 401)
    assert len(provider.bodies) == before


@pytest.mark.parametrize("to", FEW)
def test_gemini_cli_reads_a_file(to: str, agents: Gateway, provider: Upstream, folder: Path, tmp_path: Path) -> None:
    answer = gemini(agents, to, "looks", folder, tmp_path)
    assert answer["response"].strip() == SAID
    assert answer["stats"]["tools"]["totalSuccess"] == 1
    (used,) = answer["stats"]["models"].values()
    assert (used["tokens"]["prompt"], used["tokens"]["candidates"]) == (80, 24)
    checked(to, provider)


def test_gemini_cli_runs_a_command(agents: Gateway, provider: Upstream, folder: Path, tmp_path: Path) -> None:
    answer = gemini(agents, "Anthropic Messages", "shells", folder, tmp_path)
    assert answer["response"].strip() == SAID
    checked("Anthropic Messages", provider)


def test_gemini_cli_is_told_that_its_key_is_wrong(
    agents: Gateway, provider: Upstream, folder: Path, tmp_path: Path
) -> None:
    before = len(provider.bodies)
    answer = gemini(agents, "Gemini", "looks", folder, tmp_path, key="wrong")
    assert "response" not in answer
    assert answer["error"]["message"]
    assert len(provider.bodies) == before
