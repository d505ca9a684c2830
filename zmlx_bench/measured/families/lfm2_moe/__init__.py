"""The family lfm2_moe."""
