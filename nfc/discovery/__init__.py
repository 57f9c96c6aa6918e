"""Network discovery: the routing table mirrored into one that `end_oamp` answers from.

`mirror` says what an entry holds, `agent` keeps it so.
"""
