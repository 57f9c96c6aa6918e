"""A function on packets, without a kernel: the object's own bytecode, and what the kernel does
around it.

    simulator = Simulator(read_object(data), "tag", "endpoint")
    outcome = simulator.run(Packet(data))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nfc.bpf.facts import HOOKS
from nfc.bpf.helpers import BY_NAME
from nfc.bpf.object import LineInfo, MapDef, Object
from nfc.errors import ObjectError, UsageError
from nfc.kernel.maps import ARRAY, RDONLY_PROG
from nfc.vm import hooks
from nfc.vm.buffers import ProgArrayMap, RingMap
from nfc.vm.context import IFINDEX, MARK, PRIORITY
from nfc.vm.fib import Fib
from nfc.vm.helpers.failures import can_fail
from nfc.vm.image import Image, make_image
from nfc.vm.interpreter import Interpreter, Step
from nfc.vm.kinds import make_map
from nfc.vm.machine import BUDGET, TOO_LONG, Machine, TailCallError
from nfc.vm.maps import VmMap
from nfc.vm.memory import MAPS, MAX_REGIONS, FaultError, Region
from nfc.vm.nested import OuterMap

if TYPE_CHECKING:
    from nfc.vm.jit import Jit
    from nfc.vm.native import Bridge

CPUS = 4
MOST_OPTIMIZED = 4096  # instructions: a millisecond each at least, and more in longer programs
WARM_UP = 48  # packets that are interpreted before a program is compiled
DEFAULT_NOW = 1_750_000_000_000_000_000  # TAI, nanoseconds: some day in 2025


@dataclass(frozen=True)
class Packet:
    """A packet that reaches the router. `data` begins at the IPv6 header, as on the wire: before
    the kernel advances the SRH. `ingress` is an interface number."""

    data: bytes
    mark: int = 0
    priority: int = 0
    ingress: int = 0
    hash: int = 0
    cpu: int = 0


@dataclass(frozen=True)
class Fault:
    """What a verifier would have refused, or the simulator does not model: at an instruction, and
    at its source line where the object says so. A `slot` of -1: once the program had ended.
    `program` is the one that ran, which a tail call may have led to."""

    message: str
    slot: int
    line: LineInfo | None = None
    program: str = ""

    @property
    def limit(self) -> bool:
        """Whether the simulator's limits are the reason: a kernel may well run the program."""
        return self.message == TOO_LONG or any(
            word in self.message for word in ("simulator", "not modelled", "in each kernel")
        )

    def __str__(self) -> str:
        """`tag.nf:5: instruction 135 …`."""
        if self.slot < 0:
            return f"it {self.message}"
        place = f"{self.line.file}:{self.line.line}: " if self.line else ""
        return f"{place}instruction {self.slot} {self.message}"


@dataclass(frozen=True)
class Outcome:
    """What becomes of a packet.

    `fate`: `sent` by `link`; `dropped` by the program; `refused` by the kernel before the program
    runs; `lost` in the kernel after it; `fault`. `reason` says why in words. `packet` is what
    leaves, hop limit decremented, None where nothing does. `returned` is the program's return
    code, if it ran. `records` are (map, bytes) of ring and perf buffers, `clones` (link, packet) of
    bpf_clone_redirect. `steps` are there only when traced, with `programs`: which begins at which
    of them, the function's own, and those that tail calls led to. `link_header` is what the
    program has put before the IPv6 header for bpf_redirect, as it leaves. `runs` is how often the
    function has had the packet.
    """

    fate: str
    reason: str = ""
    link: str = ""
    packet: bytes | None = None
    returned: int | None = None
    records: tuple[tuple[str, bytes], ...] = ()
    mark: int = 0
    priority: int = 0
    steps: tuple[Step, ...] = ()
    programs: tuple[tuple[int, str], ...] = field(default=(), compare=False)
    fault: Fault | None = None
    clones: tuple[tuple[str, bytes], ...] = ()
    printed: tuple[str, ...] = ()
    link_header: bytes = b""
    runs: int = 1


class Simulator:
    """A program of an object at a hook. Maps keep their content from packet to packet."""

    def __init__(
        self,
        obj: Object,
        program: str,
        hook: str,
        *,
        fib: Fib | None = None,
        engine: str = "jit",
        seed: int = 0,
        failing: Mapping[str, int | None] | None = None,
        shared: Simulator | Mapping[str, VmMap] | None = None,
        cpus: int = CPUS,
        drain: bool = True,
        budget: int = BUDGET,
    ) -> None:
        """Link the program and make its maps, those of `shared` excepted.

        `failing`: helpers by name that fail, with the errno; None: the one that the kernel gives
        (`nfc.vm.helpers.failures`; null where they give pointers).
        `drain`: a reader takes ring buffer records after each packet; else they stay until
        somebody takes them, and the ring can be full. `budget`: instructions that loops may take
        for one packet. Raises ObjectError, UsageError.
        """
        if hook not in HOOKS:
            raise UsageError(f"no hook {hook!r}; there are: {', '.join(HOOKS)}")
        if engine not in ("jit", "interpreter"):
            raise UsageError(f"no engine {engine!r}; there are: jit, interpreter")
        self.obj, self.program, self.hook, self.engine = obj, program, hook, engine
        self.drain = drain
        self.maps: Mapping[str, VmMap] = _maps(obj, shared, cpus)
        self.machine = Machine(
            hook,
            fib or Fib.default(),
            dict(self.maps),
            cpus,
            _failing(failing or {}),
            random=_seeded(seed),
            limit=budget,
        )
        self.machine.clock.tai = DEFAULT_NOW
        given = shared.maps if isinstance(shared, Simulator) else shared or {}
        for definition in obj.maps:
            if definition.values and self.maps[definition.name] is not given.get(definition.name):
                self._fill(definition)
        self._images: dict[str, Image] = {}
        self._interpreters: dict[str, Interpreter] = {}
        self._compiled: dict[str, Jit] = {}
        self._bridge: Bridge | None = None
        self._runs: dict[str, int] = {}
        self.warm_up = WARM_UP
        self.image = self.image_of(program)

    @property
    def now(self) -> int:
        """TAI in nanoseconds; the other clocks go with it."""
        return self.machine.clock.tai

    @now.setter
    def now(self, value: int) -> None:
        self.machine.clock.tai = value

    def seed(self, seed: int) -> None:
        """Begin the random numbers again."""
        self.machine.random = _seeded(seed)

    def nest(self, outer: str, key: bytes, inner: str = "") -> VmMap:
        """Put a map into a map of maps: one of the object's by name, or a new one that looks as
        the maps there are to look. Raises UsageError, ObjectError, KernelError as the kernel."""
        table, one = self.maps.get(outer), self.maps.get(inner)
        if not isinstance(table, OuterMap) or (inner and one is None):
            raise UsageError(f"no map of maps is called '{outer}', or no map '{inner}'")
        if one is None:
            taken = self.machine.map_list
            free = next((n for n in reversed(range(MAX_REGIONS - MAPS)) if n not in taken), None)
            if free is None:
                raise UsageError(f"there are more than {MAX_REGIONS - MAPS} maps")
            one = make_map(table.template, free, MAPS + free, self.machine.cpus)
        table.put(key, one)
        self.machine.adopted(one)
        return one

    def _fill(self, definition: MapDef) -> None:
        """Put in what the object says that a map of maps or programs holds from the beginning."""
        table, programs = self.maps[definition.name], {p.name for p in self.obj.programs}
        for index, name in definition.values:
            where = f"map {definition.name}, value {index}"
            if index >= definition.max_entries:
                raise ObjectError(f"there are {definition.max_entries} places", where=where)
            if isinstance(table, ProgArrayMap) and name in programs:
                table.programs[index] = name
            elif definition.key_size == 4 and name in self.maps:
                self.nest(definition.name, index.to_bytes(4, "little"), name)
            else:
                raise ObjectError(f"{name} cannot be in it", where=where)

    def fail(self, helper: str, error: int | None = None) -> None:
        """Let a helper fail from here on, with that errno or the kernel's. Raises UsageError."""
        self.machine.failing = {**self.machine.failing, **_failing({helper: error})}

    @property
    def fib(self) -> Fib:
        """The router's forwarding table."""
        return self.machine.fib

    @fib.setter
    def fib(self, value: Fib) -> None:
        self.machine.fib = value
        if self._bridge is not None:
            self._bridge.rerouted()

    @property
    def draws(self) -> list[int]:
        """Random numbers (u32) that programs get before those of the generator."""
        return self.machine.draws

    @property
    def drawn(self) -> int:
        """How many random numbers programs have asked for so far."""
        return self.machine.drawn

    @property
    def regions(self) -> list[Region]:
        """The machine's memories by number, to show what an address means."""
        return self.machine.memory.regions

    def run(self, packet: Packet) -> Outcome:
        """What becomes of a packet. Raises UsageError for a CPU that is not there."""
        return self._run(packet, None)

    def trace(self, packet: Packet) -> Outcome:
        """The same, with every instruction that was executed, by the interpreter."""
        return self._run(packet, [])

    def _run(self, packet: Packet, steps: list[Step] | None) -> Outcome:
        machine = self.machine
        if not 0 <= packet.cpu < machine.cpus:
            raise UsageError(f"CPU {packet.cpu} where there are {machine.cpus}")
        machine.cpu = packet.cpu
        machine.arrival_mark, machine.arrival_hash = packet.mark, packet.hash
        machine.begin()
        machine.records, machine.clones, machine.printed, machine.stamps = [], [], [], []
        machine.context.reset(packet.mark, packet.priority, packet.ingress, packet.ingress,
                              packet.hash)  # fmt: skip
        stopped = hooks.before(machine, packet.data)
        if stopped is not None:
            return Outcome(stopped.fate, stopped.reason, mark=packet.mark, priority=packet.priority)
        if self.hook == "xmit":  # at out, ip6_output has not said yet which device it is
            machine.context.put(IFINDEX, machine.fib.links.get(machine.link, 0))
        return self.finish(None, steps)

    def finish(self, ran: Callable[[], int] | None, steps: list[Step] | None) -> Outcome:
        """What becomes of the packet that the machine holds: run the program (or have it be run by
        `ran`, once), then do what the kernel does."""
        machine = self.machine
        self._begun: list[tuple[int, str]] = []
        returned: int | None = None
        fault: Fault | None = None
        try:
            returned = self._execute(steps, ran) & 0xFFFFFFFF
            end = self._after(returned)
            while end.fate == "again":
                stopped = hooks.again(machine)
                if stopped is None:
                    returned = self._execute(steps) & 0xFFFFFFFF
                end = stopped or self._after(returned)
        except FaultError as error:
            fault = self._fault(error)
            end = hooks.End("fault", str(fault))
        records = tuple(machine.records)
        if self.drain:
            for one in machine.map_list.values():
                if isinstance(one, RingMap):
                    one.take()
        frame = machine.skb.read() if end.fate == "sent" else None
        return Outcome(
            end.fate,
            end.reason,
            end.link,
            frame[machine.network :] if frame is not None else None,
            returned,
            records,
            machine.context.get(MARK),
            machine.context.get(PRIORITY),
            tuple(steps or ()),
            tuple(self._begun),
            fault,
            tuple(machine.clones),
            tuple(machine.printed),
            frame[: machine.network] if frame is not None else b"",
            machine.runs,
        )

    def _after(self, returned: int) -> hooks.End:
        self._running = ""
        return hooks.after(self.machine, returned)

    def _execute(self, steps: list[Step] | None, ran: Callable[[], int] | None = None) -> int:
        self._running = self.program
        while True:
            if steps is not None:
                self._begun.append((len(steps), self._running))
            try:
                first, ran = ran, None
                returned = first() if first else self._run_one(self._running, steps)
                self.machine.finish()
                return returned
            except TailCallError as call:
                self._running = call.program
                machine = self.machine
                machine.depth = 0
                machine.stack.count = 1
            except FaultError:
                self.machine.abandon()
                raise

    def _run_one(self, program: str, steps: list[Step] | None) -> int:
        if (
            steps is None
            and self.engine == "jit"
            and (program in self._compiled or self._warmed_up(program))
        ):
            return self.compiled(program).run()
        engine = self._interpreter(program)
        engine.steps = steps
        return engine.run()

    def _warmed_up(self, program: str) -> bool:
        """Whether compiling pays: the first packets are interpreted, with the same results."""
        self._runs[program] = runs = self._runs.get(program, 0) + 1
        return runs > self.warm_up

    def compiled(self, program: str, *, optimized: bool = False) -> Jit:
        """A program of the object as native code, made soon, or so that it runs fast; a long one
        is made soon in any case."""
        optimized = optimized and len(self.image_of(program).code) <= MOST_OPTIMIZED
        found = self._compiled.get(program)
        if found is None or (optimized and not found.optimized):
            from nfc.vm.jit import Jit

            found = Jit(self.image_of(program), self.machine, self.bridge, optimized=optimized)
            self._compiled[program] = found
        return found

    @property
    def bridge(self) -> Bridge:
        """The machine as native code sees it."""
        if self._bridge is None:
            from nfc.vm.native import Bridge

            self._bridge = Bridge(self.machine, self.drain)
        return self._bridge

    def _interpreter(self, program: str) -> Interpreter:
        if program not in self._interpreters:
            self._interpreters[program] = Interpreter(self.image_of(program), self.machine)
        return self._interpreters[program]

    def image_of(self, program: str) -> Image:
        """A program of the object, linked. Raises ObjectError."""
        if program not in self._images:
            self._images[program] = make_image(self.obj, program, self.maps)
        return self._images[program]

    def _fault(self, error: FaultError) -> Fault:
        if not self._running:
            return Fault(error.message, -1)
        image = self._images[self._running]
        slot = error.slot if error.slot >= 0 else len(image.code) - 1
        return Fault(error.message, slot, image.line(slot), self._running)


def _maps(
    obj: Object, shared: Simulator | Mapping[str, VmMap] | None, cpus: int
) -> dict[str, VmMap]:
    given = shared.maps if isinstance(shared, Simulator) else shared or {}
    definitions = list(obj.maps)
    data = {section.name: section for section in obj.data}
    for section in obj.data:
        flags = RDONLY_PROG if section.readonly else 0
        definitions.append(MapDef(section.name, ARRAY, 4, len(section.content), 1, flags))
    found: dict[str, VmMap] = {}
    taken = {given[d.name].number for d in definitions if d.name in given}
    free = (n for n in range(MAX_REGIONS - MAPS) if n not in taken)
    if len(definitions) > MAX_REGIONS - MAPS:
        raise UsageError(f"the object has {len(definitions)} maps, more than the simulator takes")
    for definition in definitions:
        one = given.get(definition.name)
        if one is None or (one.info.type, one.info.key_size, one.info.value_size) != (
            definition.type,
            definition.key_size,
            definition.value_size,
        ):
            number = next(free)
            one = make_map(definition, number, MAPS + number, cpus)
            if definition.name in data:
                one.update(bytes(4), data[definition.name].content)
                if data[definition.name].readonly:
                    one.freeze()
        found[definition.name] = one
    return found


def _failing(failing: Mapping[str, int | None]) -> dict[int, int | None]:
    found = {}
    for name, number in failing.items():
        helper = BY_NAME.get(name) or BY_NAME.get(f"bpf_{name}")
        if helper is None:
            raise UsageError(f"no helper is called '{name}'")
        if number is None and not can_fail(helper.number):
            raise UsageError(f"{helper.name} does not fail in any kernel")
        found[helper.number] = number
    return found


def _seeded(seed: int) -> int:
    """A state of the generator out of any seed, never 0 (splitmix64, Steele 2014)."""
    state = (seed + 0x9E3779B97F4A7C15) & (1 << 64) - 1
    state = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & (1 << 64) - 1
    state = ((state ^ state >> 27) * 0x94D049BB133111EB) & (1 << 64) - 1
    return (state ^ state >> 31) or 1
