"""The fast engine: a program, translated (`nfc.vm.translate`) and compiled, on a machine."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from nfc.vm import helpers, ir
from nfc.vm.image import Image
from nfc.vm.interpreter import NOT_ATOMIC
from nfc.vm.machine import TOO_DEEP, TOO_LONG, Machine, TailCallError
from nfc.vm.memory import (
    CTX,
    PACKET,
    REGION_SHIFT,
    FaultError,
    address,
)
from nfc.vm.native import (
    FAULT_ATOMIC,
    FAULT_BUDGET,
    FAULT_DEEP,
    FAULT_LOAD,
    FAULT_RAISED,
    FAULT_SAID,
    FAULT_STORE,
    Bridge,
)
from nfc.vm.runtime import NO_SLOT, Compiled, function_type, runtime
from nfc.vm.translate import Function


class Jit:
    """A program as native code on a machine; runs as `Interpreter` does."""

    def __init__(
        self, image: Image, machine: Machine, bridge: Bridge, *, optimized: bool = False
    ) -> None:
        """Compile it: soon, or so that it runs fast."""
        runtime()
        self.optimized = optimized
        bridge.exact |= any(i is not None and i.calls_helper and i.imm == 134 for i in image.code)
        self.image, self.machine, self.bridge = image, machine, bridge
        module = ir.Module(image.name)
        for entry in sorted(image.functions):
            Function(image, machine, module, entry)
        self.native = Compiled(module, optimized=optimized)
        kind = function_type(6)
        self.entries = {e: kind(self.native.address(f"f{e}")) for e in image.functions}
        self._callback_type = function_type(6)
        self._helper: Callable[..., int] = self._callback_type(self._python)

    @property
    def address(self) -> int:
        """Where the program's first function is."""
        return self.native.address("f0")

    def prepare(self) -> None:
        """Make this the program that the machine runs."""
        native = self.bridge.native
        native.callback = ctypes.cast(self._helper, ctypes.c_void_p).value or 0  # type: ignore[arg-type]
        native.fault, native.fault_slot = 0, NO_SLOT
        self.bridge.pending = None
        self.machine.call = self._callback

    def run(self) -> int:
        """Run the program on the machine's packet: r0. Raises FaultError, TailCallError."""
        self.prepare()
        self.bridge.push()
        found = self._enter(0, (address(CTX), 0, 0, 0, 0))
        self.bridge.pull()
        self.raise_fault()
        return found

    def _enter(self, slot: int, arguments: tuple[int, ...]) -> int:
        found: int = self.entries[slot](self.bridge.address, *arguments)
        return found

    def _callback(self, slot: int, arguments: tuple[int, ...]) -> int:
        if slot not in self.entries:
            raise FaultError("calls back what is no function")
        self.machine.enter()
        try:
            self.bridge.push()
            found = self._enter(slot, arguments)
            self.bridge.pull()
            if self.bridge.native.fault:
                self.raise_fault()
            return found
        finally:
            self.machine.leave()

    def _python(self, number: int, *arguments: int) -> int:
        """A helper that is not native, called from native code."""
        bridge = self.bridge
        try:
            bridge.pull()
            found = helpers.call(self.machine, number, *arguments)
            bridge.push()
            return found
        except BaseException as error:  # it cannot pass through native code
            bridge.pending = error
            bridge.push()
            native = bridge.native
            if not native.fault:
                native.fault_slot = NO_SLOT
            native.fault = FAULT_RAISED
            if isinstance(error, FaultError) and error.slot >= 0:
                native.fault_slot = error.slot
            return 0

    def raise_fault(self) -> None:
        """Raise what native code has noted, if anything."""
        native, bridge = self.bridge.native, self.bridge
        kind = native.fault
        if not kind:
            return
        native.fault = 0
        slot = native.fault_slot
        pending, bridge.pending = bridge.pending, None
        if kind == FAULT_RAISED and pending is not None:
            if isinstance(pending, FaultError) and pending.slot < 0:
                pending.slot = slot
            raise pending
        raise FaultError(self._message(kind, slot), slot)

    def _message(self, kind: int, slot: int) -> str:
        native, machine = self.bridge.native, self.machine
        place, size = native.fault_address, native.fault_size
        if kind == FAULT_DEEP:
            return TOO_DEEP
        if kind == FAULT_BUDGET:
            return TOO_LONG
        if kind == FAULT_SAID:
            return self.image.problem(slot)
        if kind == FAULT_ATOMIC and place >> REGION_SHIFT in (CTX, PACKET):
            return NOT_ATOMIC
        if place >> REGION_SHIFT == CTX:
            return machine.context.complaint(
                place - (CTX << REGION_SHIFT), size, kind == FAULT_STORE
            )
        try:
            machine.memory.place(place, size, kind != FAULT_LOAD)
        except FaultError as error:
            return error.message
        return machine.memory.complaint(place, size, kind != FAULT_LOAD)


__all__ = ["Jit", "TailCallError"]
