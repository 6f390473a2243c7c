"""Tensors: types, specs, and many requests as one batch."""
