"""What the GPU kernels share: words that make one source serve Metal and CUDA, and the launch of a source."""
