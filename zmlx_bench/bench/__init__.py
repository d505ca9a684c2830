"""Measures single kernels at the published shapes of a family, beside what the unpatched model does there."""
