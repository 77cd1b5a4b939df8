"""What may be tried: parameters, search spaces, the paper's tables. Imports nothing of ours."""
