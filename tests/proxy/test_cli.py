"""The `loopway` command: what each command prints, where errors go, and with which code it exits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from proxy import __version__
from proxy.cli import COMMANDS, environment, main
from proxy.config.file import load
from proxy.errors import ConfigError

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy" / "loopway.example.yaml"
VARIABLES = {
    "OPENAI_API_KEY": "sk-one",
    "ANTHROPIC_API_KEY": "sk-two",
    "AWS_BEARER_TOKEN_BEDROCK": "three",
    "AZURE_OPENAI_API_KEY": "four",
    "TEAM_A_KEY": "team-a-secret",
}

CONFIG = """\
    virtual_keys:
      - {slug: one, provider: openai, key: sk-one, aliases: {fast: gpt-5-mini}}
      - {slug: two, provider: anthropic, key: sk-two, models: [claude-*]}
    api_keys:
      - {name: team, key: secret, virtual_keys: [two], config: pc-a}
      - {name: free, key: other}
    configs:
      - slug: pc-a
        config:
          strategy: {mode: fallback}
          retry: {attempts: 2}
          targets:
            - {virtual_key: two}
            - {virtual_key: one, override_params: {model: fast}}
      - slug: pc-b
        config: {strategy: {mode: loadbalance}, targets: [{virtual_key: one, weight: 3}, {virtual_key: two}]}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "loopway.yaml"
    file.write_text(dedent(CONFIG))
    return file


def loopway(*arguments: str | Path, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command as a process of its own, as users do."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("LOOPWAY_")}
    command = [sys.executable, "-m", "proxy", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**plain, **(environ or {})}, timeout=60, check=False
    )


# As processes


def test_version_prints_the_version() -> None:
    run = loopway("version")
    assert (run.returncode, run.stdout, run.stderr) == (0, f"loopway {__version__}\n", "")


def test_the_example_passes_check_and_shows_no_credential() -> None:
    run = loopway("check", EXAMPLE, environ=VARIABLES)
    assert run.returncode == 0, run.stderr
    assert run.stdout.endswith("loopway.example.yaml: valid\n")
    assert "openai-prod: openai at https://api.openai.com/v1" in run.stdout
    assert not any(secret in run.stdout for secret in VARIABLES.values())


def test_the_example_passes_check_without_its_variables() -> None:
    run = loopway("check", EXAMPLE)
    assert run.returncode == 0, run.stderr
    assert "warning: " in run.stdout


def test_a_bad_file_gives_one_line_for_each_finding_on_stderr_and_code_1(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("api_keyz: []\nserver:\n  port: x\n")
    run = loopway("check", file)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.splitlines() == [
        f"{file}:1:1: api_keyz: unknown key; did you mean 'api_keys'?",
        f"{file}:3:9: server.port: expected a whole number, found text",
    ]


def test_a_data_directory_of_somebody_else_is_one_line_on_stderr(tmp_path: Path) -> None:
    occupied = tmp_path / "data"
    occupied.touch()
    ran = loopway("serve", "--data", occupied, "--port", "0")
    assert ran.returncode == 1
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"loopway: cannot write to the data directory {occupied}: ")
    assert line.endswith("--data or LOOPWAY_DATA")


def test_output_may_be_cut_short_without_a_traceback() -> None:
    run = subprocess.run(
        [f"{sys.executable} -m proxy check {EXAMPLE} | true"],
        shell=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in run.stderr


def test_mock_serves_until_it_is_told_to_stop() -> None:
    command = [sys.executable, "-m", "proxy", "mock", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("mock provider on http://127.0.0.1:")
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_listing_the_commands_loads_none_of_them() -> None:
    program = "import sys; from proxy.cli import main; main(['--help']); sys.exit('aiohttp' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0
    assert all(name in run.stdout for name in COMMANDS)


# In this process


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert "loopway" in capsys.readouterr().out.partition("Example")[2]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["chekc"], "loopway: there is no command 'chekc'; did you mean 'check'? (see loopway --help)\n"),
        (["check"], "loopway: Missing argument 'FILE' (see loopway check --help)\n"),
        (["mock", "--port", "x"], None),
        (["mock", "--prot", "1"], None),
    ],
)
def test_a_command_written_wrongly_is_one_line_and_code_2(
    arguments: list[str], line: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert line is None or err == line


def test_a_variable_written_wrongly_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOPWAY_WORKERS", "many")
    assert main(["serve"]) == 2
    assert (
        capsys.readouterr().err == "loopway: the environment variable LOOPWAY_WORKERS: 'many' is not a whole number\n"
    )


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("LOOPWAY_LOG_LEVEL", "loud", "unknown level 'loud'"),
        ("LOOPWAY_LOG_LEVEL", "warn", "did you mean 'warning'?"),
        ("LOOPWAY_REDIS_URL", "http://:secret@127.0.0.1", "redis://HOST:6379/0"),
        ("LOOPWAY_REDIS_URL", "redis://:secret@127.0.0.1:port", "redis://HOST:6379/0"),
        ("TRUSTED_CUSTOM_HOSTS", "models.internal,http://10.0.0.1", "'http://10.0.0.1' is no host"),
        ("TRUSTED_CUSTOM_HOSTS", "10.0.0.0/8", "'10.0.0.0/8' is no host"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named_before_anything_starts(
    variable: str, value: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert main(["serve", "--port", "0"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"loopway: the environment variable {variable}")
    assert err.count("\n") == 1
    assert said in err
    assert "secret" not in err


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("redis:\n  url: http://:secret@x\n", "2:8: redis.url", "redis://HOST:6379/0"),
        ("store:\n  url: mysql://u:secret@x/y\n", "2:8: store.url", "postgresql://"),
        ("server:\n  trusted_custom_hosts: [10.0.0.0/8]\n", "2:26: server.trusted_custom_hosts[0]", "a host name"),
    ],
)
def test_a_url_that_cannot_be_used_is_found_by_check(
    text: str, place: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "loopway.yaml"
    file.write_text(text)
    assert main(["check", str(file)]) == 1
    err = capsys.readouterr().err
    assert f"{file}:{place}" in err
    assert said in err
    assert "secret" not in err


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "loopway.yaml"
    file.write_text(
        "store: {url: 'sqlite:///of-the-file.db'}\nredis: {url: 'redis://of-the-file'}\n"
        "server: {trusted_custom_hosts: [of-the-file]}\nlogs: {level: error}\n"
    )
    given = {
        "LOOPWAY_DATABASE_URL": "sqlite:///of-the-environment.db",
        "LOOPWAY_REDIS_URL": "redis://of-the-environment",
        "LOOPWAY_LOG_LEVEL": "DEBUG",
        "TRUSTED_CUSTOM_HOSTS": "of-the-environment, [::1]:8000",
    }
    config = environment.over(load(file, given), given)
    assert environment.store_of(config, tmp_path) == given["LOOPWAY_DATABASE_URL"]
    assert config.redis.url is not None
    assert config.redis.url.reveal() == given["LOOPWAY_REDIS_URL"]
    assert config.logs.level == "debug"
    assert config.server.trusted_custom_hosts == ("of-the-environment", "[::1]:8000")
    alone = environment.over(load(file, {}), {})
    assert environment.store_of(alone, tmp_path) == "sqlite:///of-the-file.db"
    assert alone.server.trusted_custom_hosts == ("of-the-file",)


def test_commands_on_the_store_find_it_where_the_gateway_does(tmp_path: Path) -> None:
    file = tmp_path / "loopway.yaml"
    file.write_text("virtual_keys: [{slug: a, provider: openai, key: '${NOT_HERE}'}]\nstore: {url: env:STORE}\n")
    given = {"LOOPWAY_CONFIG": str(file), "STORE": "postgresql://db/loopway"}
    assert environment.where(tmp_path, given) == "postgresql://db/loopway"
    assert environment.where(tmp_path, {**given, "LOOPWAY_DATABASE_URL": "sqlite:///x.db"}) == "sqlite:///x.db"
    file.write_text("server: {port: 1}\n")
    assert environment.where(tmp_path, given) == str(tmp_path / "loopway.db")
    file.write_text("store: {url: env:NOBODY}\n")
    with pytest.raises(ConfigError, match=r"1:14: store\.url: the environment variable NOBODY is not set"):
        environment.where(tmp_path, given)


def test_explain_knows_the_file_from_the_environment(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOPWAY_CONFIG", str(config))
    assert main(["explain", "--api-key", "team"]) == 0
    assert capsys.readouterr().out


def test_a_config_has_nothing_to_rotate_and_says_what_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs", "rotate", "pc-a"]) == 1
    assert "loopway virtual-keys rotate" in capsys.readouterr().err


def test_without_arguments_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().err


def test_a_missing_file_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "nowhere.yaml")]) == 1
    assert capsys.readouterr().err == f"{tmp_path}/nowhere.yaml: no such file; name one that exists\n"


def test_check_prints_what_the_file_would_do(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(config)]) == 0
    out = capsys.readouterr().out
    assert dedent("""\
          team: inference
            virtual keys: two
            config: pc-a
    """).replace("\n", "\n  ").strip() in out  # fmt: skip
    assert "    fallback\n    ├─ @two up to 2 retries\n    └─ @one model fast up to 2 retries\n" in out
    assert "    loadbalance\n    ├─ @one weight 3\n    └─ @two\n" in out
    assert "aliases: fast → gpt-5-mini" in out
    assert "secret" not in out


def test_check_refuses_what_this_version_cannot_serve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "loopway.yaml"
    file.write_text(
        "virtual_keys: [{slug: a, provider: openai, key: k}]\n"
        "configs:\n"
        "  - slug: pc-a\n"
        "    config: {strategy: {mode: hedge}, targets: [{virtual_key: a}, {virtual_key: a}]}\n"
    )
    code = main(["check", str(file)])
    err = capsys.readouterr().err
    # True until the strategy exists; then the file is simply valid.
    assert (code, err.startswith(f"{file}:3:5: pc-a: ")) in {(1, True), (0, False)}


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["explain", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_explain_follows_the_api_keys_default_config(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = explained(capsys, "--config", str(config), "--api-key", "team", "--model", "claude-sonnet-4-5")
    assert lines == [
        "request   POST /v1/chat/completions, model claude-sonnet-4-5, by team",
        "because   the API key's default config pc-a decides",
        "strategy  fallback, 2 target(s)",
        "  → config: fallback",
        "    → config.targets[0]: two (anthropic at https://api.anthropic.com/v1), model claude-sonnet-4-5, "
        "as anthropic.messages, up to 2 retries",
        "    × config.targets[1]: one (openai at https://api.openai.com/v1), model gpt-5-mini, "
        "REFUSED: This API key may not use the virtual key 'one'., up to 2 retries, "
        "only when config.targets[0] ends with no 2xx",
    ]


def test_explain_as_json_is_what_the_api_answers(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--config", str(config), "--api-key", "team", "--model", "claude-x", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["reaches"], found["target"], found["plan"]["mode"]) == ("config.targets[0]", "two", "fallback")
    assert [child["state"] for child in found["plan"]["children"]] == ["chosen", "next"]


@pytest.mark.parametrize(
    ("arguments", "because", "target"),
    [
        (["--model", "@one/gpt-5"], "the model names a slug", "one"),
        (["--virtual-key", "two", "--model", "claude-x"], "the virtual-key header names it", "two"),
        (["--provider", "@two", "--virtual-key", "one"], "the provider header names a slug", "two"),
        (["--config-slug", '{"virtual_key": "one"}'], "the request's own config decides", "one"),
    ],
)
def test_explain_says_why(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], because: str, target: str
) -> None:
    lines = explained(capsys, "--config", str(config), "--api-key", "free", *arguments)
    assert lines[1] == f"because   {because}"
    assert f"→ config: {target} (" in lines[3]


def test_explain_reads_the_model_from_a_body(config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text('{"model": "@one/fast", "prompt": "x"}')
    lines = explained(capsys, "--config", str(config), "--path", "/v1/completions", "--body", str(body))
    assert "model gpt-5-mini" in lines[3]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--virtual-key", "onne"], "did you mean 'one'?"),
        (["--api-key", "teem"], "the file has no API key 'teem'; did you mean 'team'?"),
        (["--config-slug", '{"cache": 1}'], "path: cache, message: Expected object, received number"),
    ],
)
def test_explain_refuses_as_the_gateway_would(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert main(["explain", "--config", str(config), *arguments]) == 1
    assert expected in capsys.readouterr().err
