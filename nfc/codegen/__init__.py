"""From packet plan to BPF object, through LLVM IR. Knows nothing of the kernel it runs on."""
