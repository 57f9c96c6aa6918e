"""BPF without a kernel: instructions, objects, BTF, and tables of kernel facts."""
