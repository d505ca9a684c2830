"""One process, one arm: load, patch, warm up, generate, report."""
