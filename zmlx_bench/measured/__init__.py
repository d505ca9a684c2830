"""What runs inside a timed process: it imports the standard library, mlx and mlx-lm only."""
