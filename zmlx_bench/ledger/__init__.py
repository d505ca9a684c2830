"""Capsules, the matrix, promotions and the notebook: read, append, verify, import."""
