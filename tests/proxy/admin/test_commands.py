"""The commands on the store's rows: tables and JSON, credentials by every way, one line for every error."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from proxy.cli import COMMANDS, main
from proxy.store import open_store
from proxy.vault import Vault

CANARY = "sk-canary-cli"


class Shell:
    """Runs command lines on one data directory."""

    def __init__(self, data: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.data = data
        self.capture = capture

    def run(self, *words: str) -> str:
        """The output of a command that must succeed."""
        code = main([*words, "--data", str(self.data)])
        out, err = self.capture.readouterr()
        assert code == 0, err
        return out

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json"))

    def fails(self, *words: str) -> str:
        """The one line that a command which must fail leaves on stderr."""
        code = main([*words, "--data", str(self.data)])
        out, err = self.capture.readouterr()
        assert code != 0
        assert out == ""
        assert err.count("\n") == 1, err
        return err


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    for name in ("LOOPWAY_DATABASE_URL", "LOOPWAY_MASTER_KEY", "LOOPWAY_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{CANARY}-stdin\n"))
    return Shell(tmp_path / "data", capsys)


def credential(shell: Shell, slug: str) -> str:
    async def reading() -> str:
        store = open_store(shell.data / "loopway.db", Vault.open(shell.data, {}))
        rows = await store.rows()
        await store.close()
        return next(row.key.reveal() for row in rows.virtual_keys if row.slug == slug)

    return asyncio.run(reading())


def test_a_key_lives_its_life_on_the_command_line(shell: Shell) -> None:
    made = shell.json("keys", "create", "team-a", "--scope", "inference", "--metadata", "team=a", "--model", "gpt-5*")
    assert made["key"].startswith("lw-")
    assert shell.json("keys", "list")[0]["id"] == made["id"]
    shell.run(
        "keys", "update", "team-a", "--name", "team-b", "--set", "models=null", "--set", 'limits={"concurrency":2}'
    )
    view = shell.json("keys", "show", "team-b")
    assert (view["id"], view["models"], view["limits"]) == (made["id"], None, {"concurrency": 2})
    assert view["defaults"]["metadata"] == {"team": "a"}
    rotated = shell.json("keys", "rotate", "team-b", "--overlap", "60")
    assert rotated["key"] != made["key"]
    assert rotated["key_transition_expires_at"]
    table = shell.run("keys", "list")
    assert table.splitlines()[0].split()[:3] == ["ID", "NAME", "SCOPES"]
    assert "team-b" in table
    assert made["key"] not in table
    assert shell.json("keys", "delete", made["id"]) == {"deleted": made["id"]}
    assert shell.json("keys", "list") == []


def test_a_virtual_key_lives_its_life_on_the_command_line(shell: Shell) -> None:
    words = ("virtual-keys", "create", "OpenAI", "--provider", "openai", "--slug", "openai-prod", "--key", CANARY)
    assert shell.json(*words, "--alias", "fast=gpt-5-mini", "--set", "openai_project=p")["slug"] == "openai-prod"
    view = shell.json("virtual-keys", "show", "@openai-prod")
    assert view["aliases"] == {"fast": "gpt-5-mini"}
    assert view["model_config"] == {"openai_project": "p"}
    shell.run("virtual-keys", "update", "openai-prod", "--note", "ours", "--model", "gpt-5*")
    assert "gpt-5*" in shell.run("virtual-keys", "list")
    shell.run("virtual-keys", "delete", "openai-prod")
    assert shell.json("virtual-keys", "list") == []


def test_a_credential_is_taken_from_wherever_it_is(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", f"{CANARY}-env")
    (tmp_path / "key").write_text(f"{CANARY}-file\n")
    create = ("virtual-keys", "create", "x", "--provider", "openai", "--slug")
    shell.run(*create, "env", "--key-env", "SOME_KEY")
    shell.run(*create, "file", "--key-file", str(tmp_path / "key"))
    shell.run(*create, "stdin")
    for slug in ("env", "file", "stdin"):
        assert credential(shell, slug) == f"{CANARY}-{slug}"
    shell.run("virtual-keys", "rotate", "stdin", "--key-env", "SOME_KEY")
    assert credential(shell, "stdin") == f"{CANARY}-env"
    made = shell.json("keys", "create", "own", "--key-env", "SOME_KEY")
    assert made["key"] == f"{CANARY}-env"


def test_a_config_lives_its_life_on_the_command_line(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"provider: openai\napi_key: {CANARY}\n")
    slug = shell.json("configs", "create", "prod", "--file", str(file), "--default")["slug"]
    assert CANARY not in shell.run("configs", "show", slug)
    file.write_text('{"virtual_key": "only-in-the-file"}')
    shell.run("configs", "update", slug, "--file", str(file), "--no-default")
    versions = shell.json("configs", "show", slug, "--versions")
    assert [item["version"] for item in versions] == [2, 1]
    assert versions[0]["is_default"] == 0
    assert slug in shell.run("configs", "list")
    shell.run("configs", "delete", slug)
    assert shell.json("configs", "list") == []


def test_nothing_secret_is_printed_or_stored_in_the_clear(shell: Shell) -> None:
    out = shell.run("virtual-keys", "create", "x", "--provider", "openai", "--slug", "x", "--key", CANARY)
    out += shell.run("virtual-keys", "list", "--json") + shell.run("virtual-keys", "show", "x")
    assert CANARY not in out
    for file in shell.data.iterdir():
        assert CANARY.encode() not in file.read_bytes()


def test_a_key_from_the_command_line_is_kept_as_its_hash(shell: Shell) -> None:
    token = shell.json("keys", "create", "a")["key"]
    database = b"".join(file.read_bytes() for file in shell.data.iterdir())
    assert token.encode() not in database
    assert sha256(token.encode()).hexdigest().encode() in database


def test_a_name_that_two_keys_have_is_not_guessed(shell: Shell) -> None:
    shell.run("keys", "create", "twin")
    shell.run("keys", "create", "twin")
    assert "2 API keys have the name 'twin'" in shell.fails("keys", "delete", "twin")


def test_only_create_makes_a_store(shell: Shell) -> None:
    for command in (("keys", "list"), ("usage",), ("logs",), ("logs", "--show", "1")):
        assert "there is no store at" in shell.fails(*command)
    assert not shell.data.exists()


def test_a_store_that_is_no_database_is_told_as_such(shell: Shell) -> None:
    shell.data.mkdir()
    (shell.data / "loopway.db").write_bytes(b"something else entirely, and long enough for a header" * 99)
    assert "SQLITE_NOTADB (that file is no SQLite database" in shell.fails("keys", "list")


def test_errors_are_one_line_that_says_what_to_do(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = ("virtual-keys", "create", "x", "--provider")
    shell.run(*create, "openai", "--slug", "openai-prod")
    (tmp_path / "bad.yaml").write_text("a: [")
    (tmp_path / "wrong.yaml").write_text("{strategy: {mode: fallbck}}")
    for words, says in (
        ((*create, "opnai", "--key", CANARY), "did you mean 'openai'"),
        ((*create, "openai", "--key", "a", "--key-env", "B"), "give one of"),
        ((*create, "openai", "--key-env", "NOT_SET"), "NOT_SET is not set"),
        ((*create, "openai", "--key-file", str(tmp_path / "none")), "No such file"),
        ((*create, "openai", "--key", "a", "--set", "models"), "write NAME=VALUE"),
        ((*create, "openai", "--key", "a", "--set", "modls=[]"), "did you mean 'models'"),
        (("virtual-keys", "show", "openai-prd"), "did you mean 'openai-prod'"),
        (("virtual-keys", "rotate", "openai-prod"), "empty"),
        (("keys", "create", "x", "--scope", "infrence"), "did you mean 'inference'"),
        (("keys", "rotate", "nobody"), "there is no API key 'nobody'"),
        (("configs", "create", "x", "--file", str(tmp_path / "bad.yaml")), "bad.yaml:1:"),
        (("configs", "create", "x", "--file", str(tmp_path / "wrong.yaml")), "path: strategy,mode"),
        (("configs", "create", "x"), "--file"),
        (("configs", "delete", "pc-none"), "there is no config"),
    ):
        line = shell.fails(*words)
        assert says in line, line
        assert CANARY not in line
    monkeypatch.setenv("LOOPWAY_MASTER_KEY", "short")
    assert "openssl rand -base64 32" in shell.fails("keys", "list")


@pytest.mark.parametrize("group", ["keys", "virtual-keys", "configs"])
def test_every_command_has_help_with_an_example(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert group in COMMANDS
    main([group, "--help"])
    listed = capsys.readouterr().out
    assert f"Example: loopway {group}" in listed
    commands = [line.split()[0] for line in listed.partition("Commands:")[2].splitlines() if line.strip()]
    more = {"versions", "diff", "rollback"} if group == "configs" else {"rotate"}
    wanted = {"create", "list", "show", "update", "delete"} | more
    assert set(commands) == wanted
    for command in commands:
        main([group, command, "--help"])
        assert f"Example: loopway {group} {command}" in capsys.readouterr().out


def test_the_command_works_as_a_process(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "proxy", "keys", "create", "a", "--json", "--data", str(tmp_path / "data")]
    done = subprocess.run(words, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    assert json.loads(done.stdout)["name"] == "a"


def test_versions_of_a_config_are_listed_compared_and_gone_back_to(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"retry": {"attempts": 1}}')
    shell.run("configs", "create", "a", "--file", str(file), "--slug", "pc-a")
    file.write_text('{"retry": {"attempts": 3}}')
    shell.run("configs", "update", "pc-a", "--file", str(file))
    assert [row["version"] for row in shell.json("configs", "versions", "pc-a")] == [2, 1]
    assert shell.run("configs", "diff", "pc-a").splitlines() == [
        "pc-a: version 1 -> 2",
        "- config.retry.attempts: 1",
        "+ config.retry.attempts: 3",
    ]
    assert shell.json("configs", "diff", "pc-a", "2", "2")["changes"] == []
    assert shell.json("configs", "rollback", "pc-a", "1")["version"] == 3
    assert shell.json("configs", "show", "pc-a")["config"] == {"retry": {"attempts": 1}}
    assert "no version '9'" in shell.fails("configs", "rollback", "pc-a", "9")
