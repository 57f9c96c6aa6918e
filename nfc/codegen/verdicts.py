"""LLVM IR for verdicts: what becomes of the packet, as a function that acts and gives the code
to return."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from nfc.codegen import helpers as h
from nfc.codegen.buffers import fill, store_raw
from nfc.codegen.builder import BPF_OK, BPF_REDIRECT, FunctionBuilder, Packet
from nfc.codegen.reading import evaluator
from nfc.codegen.values import number
from nfc.plan import plan as p

# uapi/linux/bpf.h: enum bpf_lwt_encap_mode
BPF_LWT_ENCAP_SEG6, BPF_LWT_ENCAP_SEG6_INLINE, BPF_LWT_ENCAP_IP = 0, 1, 2
END_B6, END_B6_ENCAP = 9, 10  # SEG6_LOCAL_ACTION_*, uapi/linux/seg6_local.h


def emit_verdict(f: FunctionBuilder, verdict: p.Verdict, packet: Packet) -> Callable[[], int]:
    """Compute what the verdict needs; the function returned carries it out."""
    values = evaluator(f, packet)
    match verdict:
        case p.Return(_, code):
            return lambda: code
        case p.Action(_, action, _, argument):
            size = 16 if argument.bits == 128 else 4
            buffer = f.stack(size)
            if size == 16:
                wide = values.wide(argument)
                store_raw(f.b, buffer, 0, 8, wide.first, 0)
                store_raw(f.b, buffer, 8, 8, wide.last, 0)
            else:
                store_raw(f.b, buffer, 0, 4, values.narrow(argument), 0)

            def act() -> int:
                result = f.call(h.SEG6_ACTION, f.context, number(action), buffer, number(size))
                f.succeeded(result, "action_failed")
                return BPF_REDIRECT

            return act
        case p.Redirect(_, link, length, cells):
            frame = f.stack(length)
            fill(f.b, frame, cells, 0, values, None, 0)
            index = values.narrow(link)

            def send() -> int:
                size, none = number(length), number(0)
                grown = f.call(h.CHANGE_HEAD, f.context, size, none)
                f.succeeded(grown, "action_failed")
                written = f.call(h.STORE_BYTES, f.context, none, frame, size, none)
                f.succeeded(written, "action_failed")
                # It only takes note of the link; it fails for flags that it does not know.
                f.call(h.REDIRECT, index, none)
                return BPF_REDIRECT

            return send
        case p.Encap(_, inline, length, cells, outer):
            srh = f.stack(length)
            fill(f.b, srh, cells, 0, values, None, 0)
            kind = BPF_LWT_ENCAP_SEG6_INLINE if inline else BPF_LWT_ENCAP_SEG6

            if f.plan.hook == "endpoint":
                return lambda: _bind(f, srh, length, inline=inline)

            def push() -> int:
                result = f.call(
                    h.PUSH_ENCAP,
                    f.context,
                    number(BPF_LWT_ENCAP_IP if outer else kind),
                    srh,
                    number(length),
                )
                f.succeeded(result, "encap_failed")
                # The helper has looked the new destination up (bpf_push_seg6_encap,
                # net/core/filter.c). BPF_LWT_REROUTE would look it up again, and come back
                # here, without end, where the segment's route is the one we are on. At xmit no
                # route is looked up: the packet goes to the next hop that it was on its way to.
                return BPF_OK

            return push


def _bind(f: FunctionBuilder, srh: ir.Value, length: int, *, inline: bool) -> int:
    """End.B6 and End.B6.Encaps: the action looks the new destination up."""
    action = number(END_B6 if inline else END_B6_ENCAP)
    result = f.call(h.SEG6_ACTION, f.context, action, srh, number(length))
    f.succeeded(result, "encap_failed")
    return BPF_REDIRECT
