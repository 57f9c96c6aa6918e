"""Packet tests: `.nft` files beside programs, run in the simulator and on real routes.

`parser` reads a file into a `tree`, `load` that and the program beside it into a `subject`;
`values` and `packets` say what values and packets are for a program; `run` goes through a test's
steps (`walk`) on a `machine` (`simulated`, `real`), where `scene` says what its words mean;
`compare` tells what differs; `report` and `cover` say it to people and tools.
"""
