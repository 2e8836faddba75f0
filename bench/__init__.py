"""The benchmarks: what the relay costs, beside references that are measured in the same run."""
