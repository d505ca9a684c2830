"""The family qwen3_next."""
