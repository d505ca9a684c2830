"""The family qwen3_dense."""
