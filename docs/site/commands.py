"""The page of all commands, what `--help` says: python docs/site/commands.py > docs/commands.md"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from larq_insta.cli import cli
from larq_insta_runtime.cli import cli as device

HEAD = """\
# Commands

What `--help` says of each. `larq-insta` comes with larq_insta, `larq-insta-run` with the runtime
alone, too. What a command cannot use it answers with one line, the rule, the value received and
the remedy, and exit code 2."""


def page() -> str:
    """The text of the page."""
    programs = {"larq-insta": cli, "larq-insta-run": device}
    return "\n\n".join(
        [HEAD, *(part for name in programs for part in _parts(name, programs[name]))]
    )


def _parts(program: str, group: click.Group) -> Iterator[str]:
    parent = click.Context(group, info_name=program, terminal_width=80, **group.context_settings)
    yield f"## {program}"
    for name, command in sorted(group.commands.items()):
        context = click.Context(command, parent=parent, info_name=name)
        yield f"### {program} {name}\n\n```text\n{command.get_help(context)}\n```"


if __name__ == "__main__":
    sys.stdout.write(page() + "\n")
