"""The packet plan: reads, guards, edits and verdicts as bytes and bits. Knows nothing of LLVM."""
