"""Measures a capsule's variant again and says whether it agrees."""
