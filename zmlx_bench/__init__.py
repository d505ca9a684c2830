"""zmlx: does a kernel set make LLM decode in MLX faster without changing a token, and may it become the default?"""

__version__ = "0.1.0"
