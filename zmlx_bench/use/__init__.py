"""The winner in use: a loaded mlx-lm model with the variant promoted for what it is and where it runs.

Imports nothing: a command says why MLX cannot be imported here before a module of this package imports it.
"""
