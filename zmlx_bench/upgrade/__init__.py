"""Whether what is promoted here holds under another MLX or mlx-lm: a session for each promotion, both arms there."""
