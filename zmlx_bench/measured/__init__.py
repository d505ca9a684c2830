"""What runs inside a timed process: it imports the standard library, mlx and mlx-lm only.

`zmlx_bench/__init__.py` and this folder on the path of any Python that has mlx-lm are all that a worker needs.
"""
