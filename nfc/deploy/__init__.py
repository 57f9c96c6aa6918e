"""Deployments: plans, transactions, state. Knows nothing of the compiler's insides."""
