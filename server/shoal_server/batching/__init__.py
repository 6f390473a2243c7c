"""Which requests run together, and the answer that each is owed."""
