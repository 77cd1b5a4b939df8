"""What is remembered: the spec, the storage, sampling and pruning, results and reports."""
