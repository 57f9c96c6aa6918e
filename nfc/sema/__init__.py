"""From tree to typed program: names, types, units, and what each hook allows."""
