"""The Shoal benchmarks: open-loop load, full histograms, records that can be compared."""
