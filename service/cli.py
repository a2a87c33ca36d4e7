"""The `axon` command. Other packages add subcommands through the entry point group `axon.commands`."""

import os
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import click

from service import __version__
from service.commands.keys import keys
from service.commands.models import models
from service.commands.predict import predict
from service.commands.storage import pull, push
from service.errors import AxonError
from service.observability import logging
from service.server import serve as serve_settings
from service.settings import Settings

COMMANDS_GROUP = "axon.commands"


class Commands(click.Group):
    """The commands of the service and those of other installed packages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List all names, also of commands whose package cannot be imported."""
        return sorted({*super().list_commands(ctx), *_plugins()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find a command of the service, else import it from its package."""
        if (own := super().get_command(ctx, cmd_name)) is not None:
            return own
        plugin = _plugins().get(cmd_name)
        if plugin is None:
            return None
        try:
            command = plugin.load()
        except ImportError as error:
            return _unavailable(plugin, error)
        return command if isinstance(command, click.Command) else None


def _unavailable(plugin: EntryPoint, error: ImportError) -> click.Command:
    """Stand in for a command whose package is broken or incomplete, so that the others work."""

    def fail() -> None:
        raise CommandUnavailable(f"The command '{plugin.name}' cannot be loaded from {plugin.module}: {error}.")

    return click.Command(plugin.name, callback=fail, short_help="Not available: its package cannot be imported.")


class CommandUnavailable(AxonError):
    """The package of a command cannot be imported."""


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="axon")
def axon() -> None:
    """Train Keras models and serve them as ONNX."""


@axon.command()
@click.argument("repository", required=False)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="TCP port; 0 takes a free one.  [default: 8000]")
@click.option("--grpc/--no-grpc", default=None, help="Serve gRPC beside HTTP.  [default: grpc]")
@click.option("--grpc-port", type=int, help="TCP port of gRPC; 0 takes a free one.  [default: 8001]")
@click.option("--workers", type=int, help="Processes that serve.  [default: 1]")
@click.option("--model-name", help="Name of the model if REPOSITORY is a single one.")
@click.option("--provider", help="Execution provider of onnxruntime.  [default: auto]")
@click.option("--model-control", help="static, watch or explicit.  [default: static]")
@click.option("--api-keys", type=click.Path(path_type=Path), help="File of API keys; see axon keys.  [default: no keys]")
@click.option("--tls-certificate", type=click.Path(path_type=Path), help="Certificate in PEM.  [default: no TLS]")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its private key in PEM.")
@click.option("--tls-client-ca", type=click.Path(path_type=Path), help="Authority in PEM whose clients alone may connect.")
@click.option("--log-level", help="debug, info, warning or error.  [default: info]")
@click.option("--log-format", help="text or json.  [default: text]")
@click.option("--access-log/--no-access-log", default=None, help="Log every call.  [default: no-access-log]")
@click.option("--tracing-endpoint", help="OTLP/HTTP address for OpenTelemetry spans.  [default: no tracing]")
def serve(**overrides: Any) -> None:  # noqa: ANN401 -- the options, as they are
    """Serve the models of REPOSITORY (default: models) over HTTP and gRPC.

    It is a directory, or the URL of an object store: s3://BUCKET/PREFIX for example, see axon pull.

    Every option can also stand in axon.toml or in the environment, as AXON_PORT for example.
    """
    settings = Settings.load(environ=os.environ, directory=Path.cwd(), overrides=overrides)
    logging.configure(settings.log_level, settings.log_format)
    serve_settings(settings)


axon.add_command(keys)
axon.add_command(models)
axon.add_command(predict)
axon.add_command(pull)
axon.add_command(push)


def main() -> None:
    """Run the command; an error of Axon is one line on standard error and exit status 1."""
    try:
        axon(prog_name="axon")
    except AxonError as error:
        click.echo(f"axon: {error}", err=True)
        sys.exit(1)


def _plugins() -> dict[str, EntryPoint]:
    return {plugin.name: plugin for plugin in entry_points(group=COMMANDS_GROUP)}


if __name__ == "__main__":
    main()
