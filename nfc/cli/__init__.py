"""The command line: one file a command, no logic of its own.

Commands import what they need when they run: `nfc --help` and `nfc check` load neither netlink
nor a terminal interface.
"""

from __future__ import annotations

import signal
import sys

import click

from nfc.cli import output, version
from nfc.cli.build import build
from nfc.cli.check import check
from nfc.cli.completion import completion
from nfc.cli.demo import demo
from nfc.cli.deploy import deploy
from nfc.cli.events import events
from nfc.cli.fmt import fmt
from nfc.cli.new import new
from nfc.cli.set import set_
from nfc.cli.status import status
from nfc.cli.table import table_
from nfc.cli.undeploy import undeploy
from nfc.errors import NfcError


class _InOrder(click.Group):
    """Lists commands in the order in which they are used, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=_InOrder,
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
    nfc deploy FILE.nf     onto a route of this machine, whole or not at all
    """


COMMANDS = (
    *(new, build, check, fmt),
    *(deploy, status, set_, table_, events, undeploy),
    *(demo, completion),
)
for _command in COMMANDS:
    cli.add_command(_command)


def main() -> None:
    """Run the command line; every error becomes a message and an exit status.

    1: the input or the system said no; 2: the command line was wrong; 128 and a signal's number:
    it was interrupted.
    """
    try:
        status = cli.main(prog_name="nfc", standalone_mode=False)
    except NfcError as error:
        output.error(error)
        sys.exit(error.exit_status)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):  # click makes one of the other
        sys.exit(128 + signal.SIGINT)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
