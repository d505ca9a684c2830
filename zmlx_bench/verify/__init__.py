"""`zmlx kernels verify`: every kernel and mode against the unpatched model's own steps, bit for bit."""
