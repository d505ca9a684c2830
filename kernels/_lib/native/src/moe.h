// The loops over experts, rows and tokens; plain pointers, no mlx.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace zmlx {

// The quantised matrices of E experts, one after the other.
struct Experts {
  const uint8_t* w;
  const uint8_t* scales;
  const uint8_t* biases;
  int64_t experts;
  int64_t n;
  int64_t k;
  Format format;
  int group;
  Type type;
  const uint8_t* rows_bias = nullptr;  // (E, N) in the dtype, added to the product; or none

  Matrix matrix(uint32_t expert) const;
  // Adds rows first <= r < last of an expert's bias to y[r - first].
  void add_bias(uint32_t expert, int64_t first, int64_t last, float* y) const;
};

// h (tokens * top_k, I) = swiglu(gate(x), up(x)) of each token's experts; x (tokens, K) and h in float32.
void experts_swiglu(const Experts& gate, const Experts& up, const Clamp* clamp, const float* x, const uint32_t* indices,
                    int64_t tokens, int top_k, float* h);

// out (tokens, D) = sum over a token's experts of round(down(h) * score), rounded to the dtype.
void experts_down_combine(const Experts& down, const float* h, const uint32_t* indices, const float* scores,
                          bool product_f32, int64_t tokens, int top_k, float* out);

// y[r] = matrix(indices[r]) @ x[r] for each row r of x (rows, K); y (rows, N).
void matmul(const Experts& weights, const uint32_t* indices, const float* x, int64_t rows, float* y);

}  // namespace zmlx
