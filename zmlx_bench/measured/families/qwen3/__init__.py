"""The family qwen3."""
