// Stands before all device text of a graph: what MLX's own headers give a kernel of mx.fast.cuda_kernel.
#define IN_A_GRAPH
#include <cuda_bf16.h>
#include <cuda_fp16.h>

typedef unsigned int uint32_t;

namespace mlx::core::cu {

// As MLX 0.32.4 steps through it, every step rounded to T.
struct Sigmoid {
  template <typename T>
  __device__ T operator()(T x) {
    const T one = T(1.0f);
    const T y = one / (one + hexp(__habs(x)));
    return x < T(0.0f) ? y : one - y;
  }
};

} // namespace mlx::core::cu
