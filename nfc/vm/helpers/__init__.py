"""The kernel's helpers, as far as the simulator has them: a table by number.

A helper takes the machine and its five arguments, and gives an integer; negative ones are errnos.
"""

from __future__ import annotations

from collections.abc import Callable

from nfc.bpf.helper_names import helper_name
from nfc.bpf.helpers import HELPERS
from nfc.vm.helpers.failures import failed
from nfc.vm.machine import MASK64, Machine
from nfc.vm.memory import FaultError

HelperCode = Callable[[Machine, int, int, int, int, int], int]


def table() -> dict[int, HelperCode]:
    """All that are modelled."""
    from nfc.vm.helpers import base, loops, rings, seg6, skb, text, writing

    found: dict[int, HelperCode] = {}
    for module in (base, loops, rings, seg6, skb, text, writing):
        found.update(module.TABLE)
    return found


_TABLE: dict[int, HelperCode] = {}


def call(machine: Machine, number: int, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """Call a helper at the machine's hook; its result as an unsigned 64-bit number.

    Raises FaultError for one that the hook does not have, or that is not modelled.
    """
    if not _TABLE:
        _TABLE.update(table())
    known = HELPERS.get(number)
    if known is None or machine.hook not in known.hooks:
        said = f"calls {helper_name(number)}, which the hook {machine.hook} does not have"
        raise FaultError(said)
    if number in machine.failing:
        return failed(machine, number, machine.failing[number], (r1, r2, r3, r4, r5)) & MASK64
    code = _TABLE.get(number)
    if code is None:
        raise FaultError(f"calls {known.name}, which the simulator does not have")
    return code(machine, r1, r2, r3, r4, r5) & MASK64
