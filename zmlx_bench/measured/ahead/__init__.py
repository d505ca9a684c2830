"""Compiles the CUDA kernels that variants give to MLX, before any process that measures needs them.

MLX compiles such a kernel in every process anew, and yet looks first among the files that it keeps of its own
kernels, by a name made of the kernel's and its text's. What is compiled here, from the text that MLX has made, with
its own headers and options, is put there: MLX loads it, and launches it as it would have launched its own.
"""
