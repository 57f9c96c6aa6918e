"""The manual page nfc(1), made of the texts that --help shows; installed with the wheel.

The language of manual pages: man(7). `python -m nfc.cli.manual` prints the page.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from nfc import __version__

_VERBATIM = "\b"  # click's mark of a paragraph that keeps its lines

_EXIT = """\
.SH EXIT STATUS
.TP
.B 0
All went well.
.TP
.B 1
The input or the system said no.
.TP
.B 2
The command line was wrong.
.TP
.B 128 + N
A signal of number N ended it.
"""


def manual(group: click.Group, name: str = "nfc") -> str:
    """The page of a command with its subcommands, as groff -man takes it."""
    context = _context(group, name)
    first, *rest = _paragraphs(group)
    lines = [
        f'.TH {name.upper()} 1 "" "{name} {__version__}" "User Commands"',
        ".SH NAME",
        rf"{name} \- {_escape(first.split(':')[0].lower())}",
        ".SH SYNOPSIS",
        *_usage(group, context),
        ".SH DESCRIPTION",
        *_text([first, *rest]),
        ".SH OPTIONS",
        *_options(group, context),
        ".SH COMMANDS",
    ]
    for command in _subcommands(group, context):
        lines += _command(command, context)
    return "\n".join(lines) + "\n" + _EXIT


def _command(command: click.Command, parent: click.Context) -> Iterator[str]:
    """A section of its own, and one for each of its subcommands."""
    context = _context(command, command.name or "", parent)
    yield f".SS {_escape(context.command_path)}"
    yield from _usage(command, context)
    yield ".PP"
    yield from _text(_paragraphs(command))
    yield from _options(command, context)
    if isinstance(command, click.Group):
        for inner in _subcommands(command, context):
            yield from _command(inner, context)


def _subcommands(group: click.Group, context: click.Context) -> Iterator[click.Command]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield command


def _context(
    command: click.Command, name: str, parent: click.Context | None = None
) -> click.Context:
    return click.Context(command, info_name=name, parent=parent, **command.context_settings)


def _paragraphs(command: click.Command) -> list[str]:
    return inspect.cleandoc(command.help or "").split("\n\n")


def _usage(command: click.Command, context: click.Context) -> Iterator[str]:
    pieces = " ".join(command.collect_usage_pieces(context))
    yield f".B {_escape(context.command_path)}"
    yield _escape(pieces)


def _text(paragraphs: list[str]) -> Iterator[str]:
    for number, paragraph in enumerate(paragraphs):
        if number:
            yield ".PP"
        if paragraph.startswith(_VERBATIM):
            yield ".nf"
            yield from map(_escape, paragraph.splitlines()[1:])
            yield ".fi"
        else:
            yield from map(_escape, paragraph.splitlines())


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        told = "--help" in parameter.opts and context.parent is not None  # at the top already
        if isinstance(parameter, click.Option) and record is not None and not told:
            yield ".TP"
            yield f".B {_escape(record[0])}"
            yield from map(_escape, record[1].splitlines())


def _escape(text: str) -> str:
    r"""Text as it is to be read: no hyphen is broken or set as a dash, no line is a request."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    from nfc.cli import cli

    print(manual(cli), end="")
