"""The reference semantics: what docs/language.md says that a function does to a packet.

`run` evaluates a typed function on a packet directly, with what the kernel does before and after
it. Nothing here comes from the compiler (nfc.plan, nfc.codegen): compiled functions are compared
with this. Start at `run`; `kernel` is the kernel's part, `values` expressions, `edits` the SRH,
`tables` what lasts.
"""

from nfc.oracle.kernel import Route, Router
from nfc.oracle.outcomes import Arrival, Memory, Result
from nfc.oracle.run import outcomes, run
from nfc.oracle.values import MoreDraws

__all__ = ["Arrival", "Memory", "MoreDraws", "Result", "Route", "Router", "outcomes", "run"]
