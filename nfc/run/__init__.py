"""`nfc run`: a capture through a function, in the simulator.

`subject` is what runs, `session` runs it with params, tables and a forwarding table, `tally`
counts what became of packets, `trace` tells how one came to its fate and `explain` why rules did
not take it.
"""
