"""The passes over a plan, one a file, run in the order of `PASSES`; each is plan in, plan out."""

from __future__ import annotations

from collections.abc import Callable

from nfc.plan.passes.merge import merge
from nfc.plan.passes.rebuild import rebuild
from nfc.plan.plan import Plan

PASSES: tuple[tuple[str, Callable[[Plan], Plan]], ...] = (
    ("merge", merge),
    ("rebuild", rebuild),
)


def run(plan: Plan) -> Plan:
    """The plan after all passes."""
    for _, run_pass in PASSES:
        plan = run_pass(plan)
    return plan
