"""``config``: show, check and locate the settings of a server."""

from __future__ import annotations

import os
from pathlib import Path

import click

from span_events import config as configuration
from span_events.cli.options import Group, config_option, data_dir_option
from span_events.config.sections.config import PREFIX


@click.group(cls=Group)
def config() -> None:
    """Settings of a server: show them with their meanings, check a file, see where they come from."""


@config.command("show")
@config_option
def show(config: Path | None) -> None:
    """
    Print every setting with its meaning and value, as a file for `serve --config`.

    Values of the file and of SPAN_EVENTS_… variables stand in place of the defaults. Secrets are not shown.

    Examples:
      span-events config show > span-events.toml
      span-events config show --config /etc/span-events.toml
    """
    given = config is not None or any(each.upper().startswith(PREFIX) for each in os.environ)
    loaded = configuration.load(config)
    click.echo(configuration.render_file(loaded if given else None), nl=False)


@config.command("check")
@config_option
def check(config: Path | None) -> None:
    """
    Check the settings of a file and of the SPAN_EVENTS_… variables, without a server; status 2 if one is wrong.

    Example:
      span-events config check --config /etc/span-events.toml
    """
    configuration.load(config)
    click.echo("The settings are valid.")


@config.command("path")
@config_option
@data_dir_option
def path(config: Path | None, data_dir: Path) -> None:
    """
    Print where a server with these options takes its settings and keeps its data.

    Example:
      span-events config path --config /etc/span-events.toml
    """
    click.echo(f"file         {config.resolve() if config else 'none: --config FILE names one'}")
    variables = sorted(each for each in os.environ if each.upper().startswith(PREFIX))
    click.echo(f"environment  {' '.join(variables) or 'no variable SPAN_EVENTS_…'}")
    click.echo(f"data         {data_dir.resolve()}")
