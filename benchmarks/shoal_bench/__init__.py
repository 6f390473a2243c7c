"""Benchmarks: each prints its figures, and says what they were compared with in the same run."""
