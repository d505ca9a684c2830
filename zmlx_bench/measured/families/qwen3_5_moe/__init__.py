"""The family qwen3_5_moe."""
