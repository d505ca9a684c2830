"""Pure functions from raw records to figures and verdicts. Imports no MLX and reads no file."""
