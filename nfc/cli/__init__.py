"""The command line: one file a command, no logic of its own.

Commands import what they need when they run: `nfc --help` and `nfc check` load neither netlink
nor a terminal interface.
"""

from __future__ import annotations

import errno
import importlib
import io
import json
import os
import signal
import sys

import click

from nfc.cli import output, version
from nfc.errors import NfcError
from nfc.signals import never_lost

COMMANDS = (
    *("new", "build", "explain", "check", "run", "test", "fmt"),
    *("deploy", "status", "set", "table", "events", "undeploy"),
    *("lab", "delay", "bond", "discovery", "segtrace"),
    *("schema", "lsp", "demo", "completion"),
)
_BUILTIN = ("set", "table")  # their functions have a name with an underscore behind it


class _Lazy(click.Group):
    """Imports a command's file when it is asked for, and lists them in the order in which they
    are used, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"nfc.cli.{cmd_name}")
        command = getattr(module, cmd_name + "_" * (cmd_name in _BUILTIN))
        assert isinstance(command, click.Command)
        return command


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=version.show,
    help="Show the versions of nfc and its LLVM, and what the running kernel has; exit.",
)
def cli() -> None:
    """The network-function compiler: what an SRv6 router should do to a packet, written in a
    small language, compiled to eBPF, checked, and put onto a route of the Linux kernel.

    \b
    nfc build FILE.nf      an ELF object that iproute2 and bpftool load as it is
    nfc check FILE.nf      what the kernel's verifier will say
    nfc run FILE.nf        what becomes of a capture's packets, without a router
    nfc deploy FILE.nf     onto a route of this machine, whole or not at all
    """


def main() -> None:
    """Run the command line; every error becomes a message and an exit status.

    1: the input or the system said no; 2: the command line was wrong; 128 and a signal's number:
    it was interrupted.
    """
    never_lost()
    _open_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files, terminals that know few letters
            stream.reconfigure(errors="backslashreplace")
    try:
        status = cli.main(prog_name="nfc", standalone_mode=False)
    except NfcError as error:
        output.error(error)
        sys.exit(error.exit_status)
    except click.ClickException as error:
        if "--json" in sys.argv[1:]:
            click.echo(json.dumps({"ok": False, "error": error.format_message(), "hint": None}))
        else:
            error.show()
        sys.exit(error.exit_code)
    except OSError as error:  # EPIPE is click's
        what = "cannot write" if error.errno == errno.ENOSPC else error.filename or "failed"
        if error.errno == errno.ENOSPC:
            # Else Python writes what is buffered once more as it ends, and complains.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        output.error(NfcError(f"{what}: {error.strerror or error}"))
        sys.exit(1)
    except MemoryError:
        output.error(NfcError("there is not enough memory for this"))
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):  # click makes one of the other
        sys.exit(128 + signal.SIGINT)
    sys.exit(status if isinstance(status, int) else 0)


def _open_closed() -> None:
    """Streams that the caller has closed (`>&-`) go nowhere; Python has None in their place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (for good)


if __name__ == "__main__":
    main()
