// The table of vector kernels. Each instruction set fills one table; dispatch.cpp picks one at run time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zmlx {

enum class Type : int { bf16 = 0, f16 = 1, f32 = 2 };

// One affine-quantised matrix (N, K), row-major as mlx stores it: `w` holds K * bits / 8 bytes a row,
// `scales` and `biases` K / group elements a row, in the activation dtype.
struct Matrix {
  const uint8_t* w;
  const uint8_t* scales;
  const uint8_t* biases;
  int64_t n;
  int64_t k;
  int group;
};

// out[t][r - first] = dot(row r, x[t]) for rows first <= r < last and at most `max_tokens` vectors x, all float32
// holding values of the dtype. Rounds as mlx's CPU `quantized_matmul` does: after scale*q, +bias, *x and +=.
// `scratch` holds at least 2 * (k / group) * max_rows floats, 64-byte aligned.
using MatvecFn = void (*)(const Matrix& m, const float* const* x, int tokens, int64_t first, int64_t last,
                          float* const* out, float* scratch);

// h = silu(gate) * up with the roundings of mlx's compiled swiglu.
using SwigluFn = void (*)(const float* gate, const float* up, float* h, int64_t n);

// out[i] = sum over k of round(y[k][i] * score[k]) in float32, rounded once. `product_f32`: the product is not rounded.
using CombineFn = void (*)(const float* y, int64_t stride, const float* score, int k, bool product_f32, float* out,
                           int64_t n);

using ConvertInFn = void (*)(const uint8_t* in, float* out, int64_t n);
// float32 -> the dtype's nearest value, kept as float32; any NaN stays a NaN.
using RoundFn = void (*)(const float* in, float* out, int64_t n);
using ConvertOutFn = void (*)(const float* in, uint8_t* out, int64_t n);

constexpr int max_tokens = 4;  // vectors one matvec call shares its dequantised weights between
constexpr int max_rows = 32;   // rows one pass of a matvec holds in registers

struct Table {
  const char* name;
  MatvecFn matvec[3][2];  // [Type][bits == 8]
  SwigluFn swiglu[3];
  CombineFn combine[3];
  ConvertInFn load[3];
  ConvertOutFn store[3];  // of values the dtype can hold
  RoundFn round[3];
  void (*exp)(const float* in, float* out, int64_t n);  // mlx's polynomial exp
};

const Table& portable_table();
#if defined(ZMLX_X86)
const Table& avx2_table();
const Table& avx512_table();
#endif

}  // namespace zmlx
