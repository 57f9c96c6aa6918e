"""A page in Markdown for each command, made of the texts that --help shows."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

_VERBATIM = "\b"  # click's mark of a paragraph that keeps its lines


def pages(group: click.Group, name: str = "nfc") -> Iterator[tuple[str, str, str]]:
    """Of each command (its file's name, its title, its text); a group's commands stand on its
    page."""
    context = click.Context(group, info_name=name, **group.context_settings)
    for command_name in group.list_commands(context):
        command = group.get_command(context, command_name)
        assert command is not None
        title = f"{name} {command_name}"
        yield command_name, title, "\n".join(_command(command, command_name, context, 1)) + "\n"


def _command(command: click.Command, name: str, parent: click.Context, level: int) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    yield f"{'#' * level} {context.command_path}"
    yield ""
    yield "```text"
    yield f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}"
    yield "```"
    yield ""
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith(_VERBATIM):
            yield from ("```text", *paragraph.splitlines()[1:], "```", "")
        else:
            yield from (_plain(" ".join(paragraph.split())), "")
    rows = [
        record
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option) and "--help" not in parameter.opts
        if (record := parameter.get_help_record(context)) is not None
    ]
    if rows:
        yield from ("| option | does |", "| --- | --- |")
        for option, text in rows:
            told = _plain(" ".join(text.split())).replace("|", "\\|")
            yield f"| `{option.replace('|', chr(92) + '|')}` | {told} |"
        yield ""
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            yield from _command(found, inner, context, level + 1)


def _plain(text: str) -> str:
    """Text in which nothing is Markdown by accident."""
    return text.replace("<", "&lt;").replace("*", "\\*").replace("[", "\\[").replace("_", "\\_")
