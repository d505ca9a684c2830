"""Plugs kernels into a loaded mlx-lm model, and takes them out again without a trace."""
