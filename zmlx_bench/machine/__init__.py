"""Reads what the platform says about itself. Whatever it does not say is None; nothing here imports MLX."""
