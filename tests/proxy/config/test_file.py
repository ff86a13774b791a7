"""The configuration file: what it gives, and the exact line and column of everything wrong with it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.file import FileConfig, load
from proxy.config.settings import ServerSettings, UpstreamSettings
from proxy.errors import ConfigError
from proxy.ports import Budget, Limits, Queue, Rates

CASES = Path(__file__).with_name("findings.txt")
EXAMPLE = Path(__file__).parents[3] / "deploy" / "loopway.example.yaml"

Load = Callable[..., FileConfig]
Findings = Callable[..., list[str]]


@pytest.fixture
def read(tmp_path: Path) -> Load:
    def read(text: str, environ: Mapping[str, str] | None = None) -> FileConfig:
        file = tmp_path / "loopway.yaml"
        file.write_text(dedent(text))
        return load(file, environ or {})

    return read


@pytest.fixture
def findings(read: Load, tmp_path: Path) -> Findings:
    def findings(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            read(text, environ)
        return [line.removeprefix(f"{tmp_path}/") for line in caught.value.findings]

    return findings


WHOLE = """
    virtual_keys:
      - slug: openai-prod
        provider: openai
        key: ${OPENAI_API_KEY}
        custom_host: https://api.openai.com/v1
        models: [gpt-5*, text-embedding-*]
        aliases: {claude-2: claude-sonnet-4-5}
        limits: {concurrency: 64, queue: {size: 256, timeout: 500ms}, requests: {per_minute: 600},
                 tokens: {per_minute: 200000}, budget: {usd: 500, window: monthly}}
    api_keys:
      - name: team-a
        key: ${TEAM_A_KEY}
        scopes: [inference, virtual_keys.list]
        virtual_keys: [openai-prod]
        config: pc-default
        expires_at: 2100-01-01
    configs:
      - slug: pc-default
        config: {strategy: {mode: fallback}, targets: [{virtual_key: openai-prod}]}
    server: {port: 9000, max_body_size: 100MB, upstream: {connect_timeout: 1m}}
"""
ENVIRON = {"OPENAI_API_KEY": "sk-1", "TEAM_A_KEY": "/turdjWE+tIUeAzmzGxGEkkJLBQ="}


def test_a_whole_file_becomes_rows_and_settings(read: Load) -> None:
    config = read(WHOLE, ENVIRON)
    (virtual_key,) = config.virtual_keys
    assert virtual_key.key.reveal() == "sk-1"
    assert (virtual_key.name, virtual_key.provider, virtual_key.origin) == ("openai-prod", "openai", "file")
    assert virtual_key.models == ("gpt-5*", "text-embedding-*")
    assert virtual_key.limits == Limits(
        64, Queue(256, 0.5), Rates(per_minute=600), Rates(per_minute=200_000), Budget(usd=500.0)
    )
    (api_key,) = config.api_keys
    assert api_key.digest == hashlib.sha256(ENVIRON["TEAM_A_KEY"].encode()).hexdigest()
    assert (api_key.id, api_key.config, api_key.expires_at) == ("file-team-a", "pc-default", 4_102_444_800)
    assert api_key.scopes == ("inference", "virtual_keys.list")
    (row,) = config.configs
    assert row.config == {"strategy": {"mode": "fallback"}, "targets": [{"virtual_key": "openai-prod"}]}
    assert (row.slug, row.origin, row.version) == ("pc-default", "file", 1)
    assert config.server == ServerSettings(
        port=9000, max_body_size=100_000_000, upstream=UpstreamSettings(connect_timeout=60.0)
    )
    assert config.warnings == ()
    assert "sk-1" not in repr(config)


def test_keys_and_slugs_are_taken_as_they_stand(read: Load) -> None:
    config = read(
        """
        virtual_keys:
          - {slug: VIRTUAL_KEY, provider: openai, key: a}
          - {slug: open-ai-key-6317bc, provider: openai, key: b}
        api_keys:
          - {name: seed, key: "/turdjWE+tIUeAzmzGxGEkkJLBQ="}
          - {name: literal, key: PORTKEY_API_KEY}
        """
    )
    assert [row.slug for row in config.virtual_keys] == ["VIRTUAL_KEY", "open-ai-key-6317bc"]
    assert len(config.api_keys) == 2


def test_json_is_yaml(read: Load) -> None:
    config = read(
        '{"api_keys": [{"name": "a", "key": "k", "allow_config_override": false}], "logs": {"access": false}}'
    )
    assert config.api_keys[0].allow_config_override is False
    assert config.logs.access is False


def test_every_provider_setting_is_taken(read: Load, tmp_path: Path) -> None:
    (tmp_path / "account.json").write_text('{"client_email": "a@b"}\n')
    config = read(
        """
        virtual_keys:
          - slug: a
            provider: openai-compatible
            custom_host: http://10.0.0.1:8000/v1
            azure_resource_name: r
            aws_secret_access_key: env:AWS
            vertex_service_account_json: file:account.json
            mistral_fim_completion: true
            deployments: [{deployment_id: d, is_default: true}]
            completions_mode: legacy
            custom_headers: {x-key: env:AWS}
            default_model: m
            note: n
        """,
        {"AWS": "secret"},
    )
    (row,) = config.virtual_keys
    assert row.fields == {
        "azure_resource_name": "r",
        "aws_secret_access_key": "secret",
        "vertex_service_account_json": {"client_email": "a@b"},
        "mistral_fim_completion": True,
        "deployments": [{"deployment_id": "d", "is_default": True}],
    }
    assert (row.completions_mode, row.default_model, row.note) == ("legacy", "m", "n")
    assert row.custom_headers == {"x-key": "secret"}


# Findings: one class of mistake each, with the exact place


def cases() -> Iterator[tuple[str, str]]:
    """The blocks of findings.txt, and what an editor would spoil."""
    for block in CASES.read_text().split("\n\n")[1:]:
        text, _, finding = block.rstrip("\n").rpartition("\n=> ")
        yield text, finding
    tab = "found character that cannot start any token (while scanning for the next token)"
    yield "logs:\n\tlevel: info", f"2:1: no valid YAML: {tab}; indent with spaces, not tabs"
    yield "a: \x01", "1:4: a character is not allowed here"


@pytest.mark.parametrize(("text", "finding"), list(cases()))
def test_each_mistake_has_its_exact_line_and_column(findings: Findings, text: str, finding: str) -> None:
    assert findings(text) == [f"loopway.yaml:{finding}"]


def test_all_findings_come_at_once_in_the_order_of_the_file(findings: Findings) -> None:
    text = """\
        virtual_keys:
          - slug: a
            provider: opnai
            kye: x
          - slug: a
            provider: ollama
            custom_host: nowhere
        api_keys:
          - name: team
            key: ${NOT_SET}
            limits: {requests: {per_minute: many}, budget: {usd: -1}}
        configs:
          - slug: pc-a
            config:
              strategy: {mode: fallback, on_status_codes: [1]}
              targets: [{virtual_key: 5}, {provider: openai}]
        server: {port: x}
    """
    places = [":".join(line.split(":")[1:4]) for line in findings(text)]
    assert places == [
        "3:15: virtual_keys[0].provider",
        "4:5: virtual_keys[0].kye",
        "5:11: virtual_keys[1].slug",
        "7:18: virtual_keys[1].custom_host",
        "10:10: api_keys[0].key",
        "11:37: api_keys[0].limits.requests.per_minute",
        "11:58: api_keys[0].limits.budget.usd",
        "15:52: configs[0].config.strategy.on_status_codes[0]",
        "16:31: configs[0].config.targets[0].virtual_key",
        "16:35: configs[0].config.targets[1]",
        "17:16: server.port",
    ]


def test_no_finding_shows_a_value(findings: Findings) -> None:
    secret = "sk-verysecret"
    text = f"""
        virtual_keys:
          - {{slug: "{secret}/", provider: {secret}, key: [{secret}], custom_host: "{secret}", expires_at: {secret}}}
        api_keys:
          - {{name: [{secret}], key: "{secret}é", scopes: [{secret}], hash: {secret}}}
        configs:
          - {{slug: {secret}, config: {{api_key: {{a: {secret}}}, provider: openai, cache: {secret}}}}}
        server: {{port: {secret}, host: [{secret}]}}
    """
    lines = findings(text)
    assert len(lines) >= 10
    assert secret not in "\n".join(lines)


def test_one_mistake_is_not_reported_twice_through_what_follows_from_it(findings: Findings) -> None:
    text = """\
        configs:
          - slug: pc-a
            config: {provider: openai, api_key: "${NOT_SET}"}
          - slug: pc-b
            config: {provider: openai, api_key: "env:NOT_SET"}
    """
    assert [line.split(": ")[1] for line in findings(text)] == [
        "configs[0].config.api_key",
        "configs[1].config.api_key",
    ]


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / name, {})
    assert len(caught.value.findings) == 1
    assert str(caught.value).startswith(str(tmp_path / name))


def test_a_file_that_is_not_utf8_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "loopway.yaml"
    file.write_bytes(b"logs:\n  level: \xff")
    with pytest.raises(ConfigError, match=r"loopway\.yaml:2:10: not UTF-8"):
        load(file, {})


def test_aliases_cannot_multiply_without_end(findings: Findings) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "more values than any configuration has" in findings("\n".join(lines))[0]


def test_deep_nesting_is_a_finding(findings: Findings) -> None:
    assert "nested" in findings("[" * 20_000 + "]" * 20_000)[0]


# Replacement and references


def test_values_are_replaced_from_the_environment(read: Load) -> None:
    config = read(
        """
        server:
          host: ${HOST:-0.0.0.0}
          port: ${PORT:-9000}
          workers: ${WORKERS}
        virtual_keys:
          - {slug: a, provider: openai, key: "pre-${A}-${B:-b}-$${C}", name: "${EMPTY:-default}"}
          - slug: b
            provider: openai
            key: ${NUMBER}
        """,
        {"WORKERS": "3", "A": "x", "EMPTY": "", "NUMBER": "0123"},
    )
    assert (config.server.host, config.server.port, config.server.workers) == ("0.0.0.0", 9000, 3)
    assert config.virtual_keys[0].key.reveal() == "pre-x-b-${C}"
    assert config.virtual_keys[0].name == "default"
    assert config.virtual_keys[1].key.reveal() == "0123"


def test_the_environment_cannot_change_the_structure(read: Load) -> None:
    value = "x\nserver: {port: 1}\n# ]}"
    config = read("virtual_keys:\n  - slug: a\n    provider: openai\n    key: k\n    note: ${NOTE}\n", {"NOTE": value})
    assert config.virtual_keys[0].note == value
    assert config.server.port == 8787


def test_secrets_come_from_variables_and_from_files_beside_the_file(read: Load, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key").write_text("sk-file\n")
    (tmp_path / "secrets" / "redis").write_text("redis://:p@h\n")
    config = read(
        """
        virtual_keys:
          - {slug: a, provider: openai, key: "file:secrets/key"}
          - {slug: b, provider: openai, key: env:KEY}
        configs:
          - {slug: pc-a, config: {provider: openai, api_key: env:KEY, request_timeout: 5}}
        store: {url: env:DB}
        redis: {url: "file:secrets/redis"}
        """,
        {"KEY": "sk-env", "DB": "postgresql://u:p@h/d"},
    )
    assert [row.key.reveal() for row in config.virtual_keys] == ["sk-file", "sk-env"]
    assert config.configs[0].config["api_key"] == "sk-env"
    assert config.store.url is not None
    assert config.store.url.reveal() == "postgresql://u:p@h/d"
    assert config.files[0] == tmp_path / "loopway.yaml"
    assert set(config.files[1:]) == {tmp_path / "secrets" / "key", tmp_path / "secrets" / "redis"}


def test_a_secret_file_that_is_missing_or_empty_is_a_finding(findings: Findings, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    text = """\
        virtual_keys:
          - {slug: a, provider: openai, key: "file:nowhere"}
          - {slug: b, provider: openai, key: "file:empty"}
    """
    one, two = findings(text)
    assert one.startswith("loopway.yaml:2:38: virtual_keys[0].key: the file ")
    assert one.endswith("nowhere cannot be read: No such file or directory")
    assert two.endswith("empty is empty")


def test_merge_keys_and_aliases_work(read: Load) -> None:
    config = read(
        """
        virtual_keys:
          - &base {slug: a, provider: openai, key: k, limits: &limits {concurrency: 4}}
          - <<: *base
            slug: b
        api_keys:
          - {name: a, key: k, limits: *limits}
        """
    )
    assert [(row.slug, row.limits.concurrency) for row in config.virtual_keys] == [("a", 4), ("b", 4)]
    assert config.api_keys[0].limits.concurrency == 4


# Warnings


def test_what_may_be_in_the_store_is_only_a_warning(read: Load, tmp_path: Path) -> None:
    config = read(
        """\
        api_keys:
          - {name: a, key: k, virtual_keys: [elsewhere], config: pc-elsewhere, expires_at: 2001-01-01}
        configs:
          - slug: pc-a
            config: {strategy: {mode: fallback}, targets: [{virtual_key: elsewhere}, {provider: "@there"}]}
        """
    )
    assert [line.removeprefix(f"{tmp_path}/loopway.yaml:") for line in config.warnings] == [
        "2:38: api_keys[0].virtual_keys[0]: is not in this file; it must be in the store",
        "2:58: api_keys[0].config: is not in this file; it must be in the store",
        "2:84: api_keys[0].expires_at: is in the past",
        "5:52: configs[0].config.targets[0]: the virtual key 'elsewhere' is not in this file; it must be in the store",
        "5:78: configs[0].config.targets[1]: the virtual key 'there' is not in this file; it must be in the store",
    ]


def test_a_name_that_is_not_in_the_file_and_near_one_that_is_gets_that_one_shown(read: Load, tmp_path: Path) -> None:
    config = read(
        """\
        api_keys:
          - {name: a, key: k, config: pc-defalt}
        configs:
          - {slug: pc-default, config: {virtual_key: elsewhere}}
        """
    )
    assert [line.removeprefix(f"{tmp_path}/loopway.yaml:") for line in config.warnings] == [
        "2:31: api_keys[0].config: is not in this file; it must be in the store, or be 'pc-default'",
        "4:32: configs[0].config: the virtual key 'elsewhere' is not in this file; it must be in the store",
    ]


def test_keys_whose_variables_are_empty_are_left_out_with_a_warning(read: Load) -> None:
    config = read(
        """
        virtual_keys: [{slug: a, provider: openai, key: "${A:-}"}]
        api_keys: [{name: a, key: "${B}"}]
        """,
        {"B": ""},
    )
    assert (config.virtual_keys, config.api_keys) == ((), ())
    assert len(config.warnings) == 2


def test_an_empty_file_is_valid_with_a_warning(read: Load) -> None:
    config = read("# nothing\n")
    assert config.server == ServerSettings()
    assert config.warnings[0].endswith("the file is empty")


# The digest


def test_the_digest_changes_with_the_file_its_variables_and_its_secrets_only(read: Load, tmp_path: Path) -> None:
    text = 'virtual_keys:\n  - {slug: a, provider: openai, key: "file:key", note: "${NOTE:-}"}\n'
    (tmp_path / "key").write_text("one")
    digest = read(text).digest
    assert read(text, {"OTHER": "x"}).digest == digest
    assert read(text + "\n").digest != digest
    assert read(text, {"NOTE": "x"}).digest != digest
    (tmp_path / "key").write_text("two")
    assert read(text).digest != digest


# The example


def test_the_example_is_valid_with_and_without_its_variables() -> None:
    assert load(EXAMPLE, {}).virtual_keys
    # Those that have a default in the file but for an empty one keep it.
    names = re.findall(r"\$\{(\w+)(?::-)?\}", EXAMPLE.read_text())
    config = load(EXAMPLE, dict.fromkeys(names, "a-secret-0123456789"))
    slugs = {row.slug for row in config.virtual_keys}
    assert slugs >= {"openai-prod", "anthropic-prod", "bedrock", "azure", "local"}
    assert config.warnings == ()


def test_the_example_shows_every_setting() -> None:
    text = EXAMPLE.read_text()
    config = FileConfig()
    for section in (config.server, config.server.upstream, config.store, config.redis, config.cache, config.logs):
        for name in section.__struct_fields__:
            assert f"{name}:" in text, name
    for name in config.telemetry.__struct_fields__:
        assert f"{name}:" in text, name


@settings(max_examples=150, deadline=None)
@given(text=st.text(alphabet=st.sampled_from("ab:-[]{}&*!$\"'#\n |>,?%@0"), max_size=60))
def test_any_text_gives_a_config_or_findings(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(text)
    try:
        load(file, {})
    except ConfigError as error:
        assert error.findings  # noqa: PT017
