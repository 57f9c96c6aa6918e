"""Where things lie in the memory that a function has beside its stack: one entry of a per-CPU
map, which holds its counters, then room to rebuild TLVs in, then events with bytes of the packet.
"""

from __future__ import annotations

from nfc.codegen.values import bound
from nfc.plan import plan as p
from nfc.plan import values as v
from nfc.plan.uses import body_values, finds_srh, guard_values

INDEX_SIZE = 4  # bytes of an array's key
# Scratch memory, behind the counters of this CPU: words, then the bytes of the TLVs. Each step
# checks that it begins below MAX_AT and adds at most MAX_RUN, so it stays within SIZE.
RUN, OUT, AT, FORGET, BYTES = 0, 8, 16, 24, 256
MAX_FORGET = (BYTES - FORGET) // 8
MAX_AT = MAX_RUN = 2047
SCRATCH_SIZE = BYTES + MAX_AT + MAX_RUN + 10


def scratch_size(plan: p.Plan) -> int:
    """Bytes behind the counters to find the SRH and to rebuild its TLVs in."""
    if not finds_srh(plan):
        return 0
    return -(-SCRATCH_SIZE // 8) * 8 if plan.rebuilds else BYTES


def packets_at(plan: p.Plan) -> int:
    """Where events with bytes of the packet are made, in bytes from the first counter."""
    return plan.counter_count * 8 + scratch_size(plan)


def packets_size(plan: p.Plan) -> int:
    """Bytes for such events: as many as the rule has that needs most, and behind them as many as
    the verifier must think that the last one may have."""
    needed = max((sum(_sizes(rule)) for rule in plan.rules), default=0)
    emits = [e for rule in plan.rules for e in _emits(rule)]
    return needed + max((-(-_overhang(e) // 8) * 8 for e in emits), default=0)


def _sizes(rule: p.Rule) -> list[int]:
    return [-(-(e.size + 8 + e.packet_bytes) // 8) * 8 for e in _emits(rule)]


def _emits(rule: p.Rule) -> list[p.Emit]:
    return [e for e in rule.edits if isinstance(e, p.Emit) and e.packet_bytes]


def _overhang(emit: p.Emit) -> int:
    """How much less the packet's bytes, and the whole event, are than the verifier knows."""
    whole = emit.size + 8 + emit.packet_bytes
    return max(bound(size) - size for size in (emit.packet_bytes, whole))


def key_size(plan: p.Plan) -> int:
    """Bytes of the largest key that a function looks something up by."""
    values = [x for rule in plan.rules for x in (*guard_values(rule), *body_values(rule))]
    return max([INDEX_SIZE, *(x.key.size for x in values if isinstance(x, v.Lookup))])
