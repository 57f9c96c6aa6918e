"""`nfc new`: begin a function."""

from __future__ import annotations

from pathlib import Path

import click

from nfc.errors import NfcError, UsageError

HOOKS = ("endpoint", "in", "out", "xmit")

_HEAD = """\
# {name}: say here what it does to a packet, and by which RFC or draft.
#
#   nfc check {name}.nf
#   nfc test {name}.nft
#   nfc deploy {name}.nf --route {route} --dev eth0
#   nfc undeploy {name}

"""

_ENDPOINT = """\
# May change while it runs: nfc set {name} mark=8
param mark: u16 = 7

endpoint {name} {{
    # The first rule that matches a packet decides; nfc status {name} counts by rule.
    when srh.tag == 0 {{
        set srh.tag = mark
        forward
    }}
    otherwise forward
}}
"""

_TRANSIT = """\
# May change while it runs: nfc set {name} lowest=3
param lowest: u8 = 2

transit {name} at {hook} {{
    # The first rule that matches a packet decides; nfc status {name} counts by rule.
    when ip.hop_limit < lowest {{
        drop
    }}
    otherwise forward
}}
"""


_ENDPOINT_TESTS = """\
# Tests of {name}.nf: nfc test {name}.nft

packet probe = ip / srh [fd00:a::1, fd00:2::2] / udp / "what the user sent"

test "a packet without a tag gets one" {{
    param mark = 9
    send probe
    expect forwarded {{ set srh.tag = 9 }}
}}

test "a tag that is there stays" {{
    send probe {{ set srh.tag = 3 }}
    expect forwarded
}}
"""

_TRANSIT_TESTS = """\
# Tests of {name}.nf: nfc test {name}.nft

packet probe = ip fd00:1::1 -> fd00:b::2 / udp / "what the user sent"

test "a packet that is at its end is dropped" {{
    param lowest = 10
    send probe {{ set ip.hop_limit = 9 }}
    expect drop
}}

test "others go on" {{
    send probe
    expect forwarded
}}
"""


@click.command()
@click.argument("path", type=click.Path(path_type=Path), metavar="NAME")
@click.option(
    "--hook",
    type=click.Choice(HOOKS),
    default="endpoint",
    show_default=True,
    help="Where it is to run: at the end of a segment, or on a route's packets on their way.",
)
def new(path: Path, hook: str) -> None:
    """Begin a function: write NAME.nf, a short program that compiles, and NAME.nft, packet tests
    of it that pass; both to be changed.

    NAME may stand in a folder, as in functions/NAME. A file that is there already stays.
    """
    if not path.name:
        raise UsageError(f"a function cannot be called '{path}'", hint="give it a name")
    file = path.with_name(f"{path.name.removesuffix('.nf')}.nf")
    tests = file.with_suffix(".nft")
    text = template(file.stem, hook)
    for each in (file, tests):
        if each.exists():
            raise NfcError(f"{each} is there already", hint="take another name")
    _write(file, text)
    try:
        _write(tests, template_tests(file.stem, hook))
    except NfcError:
        file.unlink(missing_ok=True)
        raise
    click.echo(f"{file}: {file.stem} ({hook}), and its tests; next: nfc test {tests}")


def _write(file: Path, text: str) -> None:
    """A new file, whole or not at all."""
    made = False
    try:
        with file.open("x", encoding="utf-8") as out:
            made = True
            out.write(text)
    except FileExistsError:
        raise NfcError(f"{file} is there already", hint="take another name") from None
    except OSError as error:
        if made:
            file.unlink(missing_ok=True)
        raise NfcError(f"cannot write {file}: {error.strerror or error}") from None


def template_tests(name: str, hook: str) -> str:
    """The packet tests of a new function."""
    text = _ENDPOINT_TESTS if hook == "endpoint" else _TRANSIT_TESTS
    return text.format(name=name)


def template(name: str, hook: str) -> str:
    """The program of a new function. Raises UsageError if functions cannot have that name."""
    from nfc.sema.analyse import analyse_tree
    from nfc.syntax.diagnostics import Diagnostics, SourceErrors
    from nfc.syntax.parser import parse
    from nfc.syntax.source import Source

    wrong = f"a function cannot be called '{name}'"
    if not (name.isidentifier() and name.isascii()):
        raise UsageError(wrong, hint="a name is letters, digits and _, and begins with no digit")
    body, route = (_ENDPOINT, "fd00:a::1") if hook == "endpoint" else (_TRANSIT, "fd00:b::/64")
    text = (_HEAD + body).format(name=name, hook=hook, route=route)
    diagnostics = Diagnostics()
    try:
        analyse_tree(parse(Source(f"{name}.nf", text), diagnostics), Path(), diagnostics)
        diagnostics.check()
    except SourceErrors as errors:
        raise UsageError(wrong, hint=errors.diagnostics[0].message) from None
    return text
