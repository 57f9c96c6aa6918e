"""Packet tests: `.nft` files beside programs, run in the simulator and on real routes.

`parser` reads a file into a `tree`; `values` and `packets` say what its values and packets are for
a program; `run` goes through a test's steps on a machine (`simulated`, `real`); `compare` tells
what differs; `report` and `cover` say it to people and tools.
"""
