"""`nfc demo`: see it work."""

from __future__ import annotations

import click

from nfc.errors import NfcError


@click.command()
@click.option(
    "--packets",
    type=click.IntRange(1, 100_000),
    default=5000,
    show_default=True,
    help="How many packets to send.",
)
@click.option(
    "--rate",
    type=click.IntRange(10, 100_000),
    default=2000,
    show_default=True,
    help="Packets a second.",
)
def demo(packets: int, rate: int) -> None:
    """Measure one-way delays through two routers made of namespaces, and clean up.

    Needs root and a kernel with BPF and SRv6. Elsewhere the simulator runs the same functions on a
    bundled capture, a model of a path: up to 500 packets, the same ones every time.
    """
    from nfc.demo.run import run

    if packets / rate > 90:
        raise click.UsageError(f"{packets} packets at {rate} a second take more than 90 seconds")
    measured = run(click.echo, packets, rate)
    if not measured.delays:
        raise NfcError("no packet was measured", hint="'nfc status' above says what became of them")
