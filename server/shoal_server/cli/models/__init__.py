"""`shoal models`: what a server serves, and the commands that change it."""

import typer

from shoal_server.cli.help_text import help_of
from shoal_server.cli.models.changing import load, rollback, swap, unload
from shoal_server.cli.models.labelling import label
from shoal_server.cli.models.listing import command
from shoal_server.cli.models.watching import watch

group = typer.Typer(callback=command, invoke_without_command=True)
"""The commands under `shoal models`; without one of them, ``command`` does it alone."""

for _subcommand in (load, swap, unload, rollback, label, watch):
    group.command(help=help_of(_subcommand))(_subcommand)

__all__ = ["command", "group"]
