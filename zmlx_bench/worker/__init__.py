"""The measured process: load, patch, warm up, generate, report; nothing else runs in it."""
