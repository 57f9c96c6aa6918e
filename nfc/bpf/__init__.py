"""BPF without a kernel: instructions, objects, BTF, and tables of kernel facts.

Start with `object` (what an ELF object holds, as values) and `reader` (bytes to those values).
Below the reader: `elf` is the container, `btf` and `btfext` the types and source lines, `maps`
and `functions` what sections mean, `raw` the checked access to bytes. `link` puts a program and
the functions it calls into one; `strip` rewrites an object so that loaders have nothing to
complain about. `isa` decodes, encodes and prints instructions. The facts are tables: `facts`
(hooks, limits, instruction set), `helpers`, `maptypes`, by `version`.
"""
