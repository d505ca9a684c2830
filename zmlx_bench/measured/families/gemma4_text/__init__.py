"""The family gemma4_text."""
