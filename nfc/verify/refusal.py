"""Why a program is refused: what the kernel would say, and what to do, for people."""

from __future__ import annotations


class Refused(Exception):
    """A kernel would refuse the program, at the instruction being looked at.

    `message` says what is wrong, `advice` what to do; `registers` are those that matter.
    """

    def __init__(self, message: str, advice: str = "", registers: tuple[int, ...] = ()) -> None:
        """Keep them."""
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.registers = registers
