"""From text to tree: grammar, spans, diagnostics. Knows nothing of types."""
