"""Running an object's own bytecode on packets, without a kernel: the virtual machine.

`simulator` is what others use. `machine` is what a program sees (memory, context, packet, maps);
`interpreter` and `jit` execute instructions on it; `helpers` are the kernel's functions, `hooks`
what the kernel does before and after a program. Nothing here knows who compiled the object.
"""
