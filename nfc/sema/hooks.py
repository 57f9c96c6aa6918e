"""What each hook lets a function do, in the language's terms.

Facts: net/core/filter.c (lwt_*_func_proto), net/core/lwt_bpf.c, net/ipv6/seg6_local.c.
"""

from __future__ import annotations

from dataclasses import dataclass

# How each verdict is written, and the behaviour of RFC 8986 that it is (in an endpoint; encap and
# insert of a transit function are H.Encaps and H.Insert).
VERDICTS = {
    "Forward": ("forward", "End"),
    "ForwardVia": ("forward via", "End.X"),
    "ForwardTable": ("forward to table", "End.T"),
    "ForwardLink": ("forward to LINK via", ""),
    "DecapTable": ("decap to table", "End.DT6"),
    "Encap": ("encap segments", "End.B6.Encaps"),
    "Insert": ("insert segments", "End.B6"),
    "Drop": ("drop", ""),
}


@dataclass(frozen=True)
class Hook:
    """A place in the kernel's path; `verdicts` are the class names of the tree's verdicts."""

    name: str
    where: str
    verdicts: frozenset[str]
    writes: bool = False  # the SRH's flags and tag and the fields of its TLVs can be set
    rebuilds: bool = False  # its TLVs can be added, removed and replaced
    says_source: bool = False  # encap has to say the outer source address

    @property
    def label(self) -> str:
        """What a function there is called in messages."""
        return (
            "an endpoint function"
            if self.name == "endpoint"
            else f"a transit function at {self.name}"
        )


HOOKS = {
    "endpoint": Hook(
        "endpoint",
        "a seg6local route with action End.BPF",
        frozenset(VERDICTS) - {"ForwardLink"},
        writes=True,
        rebuilds=True,
    ),
    "in": Hook(
        "in",
        "a route's input, on packets that the router forwards",
        frozenset({"Forward", "Encap", "Insert", "Drop"}),
    ),
    "out": Hook("out", "a route's output", frozenset({"Forward", "Drop"})),
    "xmit": Hook(
        "xmit",
        "a route's transmit, before the link layer",
        frozenset({"Forward", "ForwardLink", "Encap", "Drop"}),
        writes=True,
        says_source=True,
    ),
}
