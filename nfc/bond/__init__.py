"""The daemon of hybrid access: it measures the links of a bond, holds the faster one back, and
takes out one that fails. What chooses a link for each packet is a function (examples/bond).

Start at `daemon.run`; `links` is what it decides, without a socket or a clock.
"""
