"""The `loopway` command: a table of commands, each loaded only when it is asked for.

Errors are one clear line on stderr (a configuration file's findings one line each) and a non-zero exit: 1 for what
went wrong, 2 for a command that was written wrongly, 130 for an interruption.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

import click
from click.core import ParameterSource

from proxy import __version__
from proxy.errors import ConfigError, LoopwayError, Refused


class Entry(NamedTuple):
    """Where a command lives (`module:attribute`), and its line in the list of commands."""

    place: str
    summary: str


COMMANDS: dict[str, Entry] = {
    "serve": Entry("proxy.cli.serve:serve", "Run the gateway."),
    "demo": Entry("proxy.cli.serve:demo", "Run the gateway with a provider of its own, to try it without any account."),
    "check": Entry("proxy.cli.check:check", "Validate a configuration file and print what it would do."),
    "explain": Entry("proxy.cli.explain:explain", "Say which target a request would reach, and why."),
    "doctor": Entry("proxy.cli.doctor:doctor", "Check what a gateway needs around it, and say how to mend it."),
    "keys": Entry("proxy.cli.entities:keys", "Create, list, show, update, rotate and delete API keys."),
    "virtual-keys": Entry("proxy.cli.entities:virtual_keys", "The same for stored provider credentials."),
    "configs": Entry("proxy.cli.configs:configs", "The same for saved configs, and their versions."),
    "providers": Entry("proxy.cli.providers:providers", "List the providers and what they can be asked for."),
    "usage": Entry("proxy.cli.usage:usage", "Show what was used and spent."),
    "prices": Entry("proxy.cli.prices:prices", "Show what tokens cost, and take over another table."),
    "logs": Entry("proxy.cli.logs:logs", "Search, show and follow the requests that the gateway has served."),
    "reseal": Entry("proxy.cli.reseal:reseal", "Take the store over to a new master key."),
    "mock": Entry("proxy.cli:mock", "Run a deterministic provider, for demos and tests."),
    "version": Entry("proxy.cli:version", "Print the version."),
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports the one that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Imports one command; None for a name that is not in the table."""
        entry = COMMANDS.get(name)
        if entry is None:
            return None
        module, _, attribute = entry.place.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with the nearest name for an unknown one."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in COMMANDS:
            from proxy.config.near import hint

            raise click.UsageError(f"there is no command '{name}'{hint(name, COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: loopway serve --config loopway.yaml",
)
@click.version_option(__version__, prog_name="loopway", message="%(prog)s %(version)s")
def loopway() -> None:
    """Loopway, an LLM gateway: one address and one request signature in front of every model provider."""


@click.command()
def version() -> None:
    """Print the version.

    Example: loopway version
    """
    click.echo(f"loopway {__version__}")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=9009, show_default=True, type=click.IntRange(0, 65535), help="Port; 0: a free one.")
def mock(host: str, port: int) -> None:
    """Run a deterministic provider that speaks every dialect, for demos and tests.

    Example: loopway mock --port 9009
    """
    from proxy.mock import run

    run(host, port)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line (default: the process's own) and returns the exit code."""
    try:
        result = loopway.main(args=None if argv is None else list(argv), prog_name="loopway", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        click.echo(f"loopway: {_one_line(error)}", err=True)
        return error.exit_code
    except ConfigError as error:
        for finding in error.findings:
            click.echo(finding, err=True)
        return 1
    except LoopwayError as error:
        click.echo(f"loopway: {error}", err=True)
        for finding in error.errors if isinstance(error, Refused) else ():
            click.echo(f"  {finding}", err=True)
        return 1
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone (`loopway … | head`); the interpreter's last flush must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return result if isinstance(result, int) else 0


def _one_line(error: click.ClickException) -> str:
    text = " ".join(error.format_message().split()).replace("a valid integer range", "a whole number")
    if isinstance(error, click.BadParameter) and error.ctx is not None and error.param is not None:
        name, variable = error.param.name or "", error.param.envvar
        if error.ctx.get_parameter_source(name) is ParameterSource.ENVIRONMENT:
            return f"the environment variable {variable}: {text.partition(': ')[2].rstrip('.')}"
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{text.rstrip('.')} (see {error.ctx.command_path} --help)"
    return text
