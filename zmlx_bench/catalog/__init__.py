"""What a workspace declares: kernels and variants, read and resolved without importing MLX."""
