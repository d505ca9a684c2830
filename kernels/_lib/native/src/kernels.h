// The table of vector kernels. Each instruction set fills one table; dispatch.cpp picks one at run time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zmlx {

enum class Type : int { bf16 = 0, f16 = 1, f32 = 2 };

// How a matrix is packed, as mlx names it. affine: integers of so many bits, a scale and a bias of the activations' dtype
// for each group. mxfp4, nvfp4: floats of 4 bits (e2m1), a scale of 8 bits for 32 of them (e8m0, a power of two) or for
// 16 (e4m3). mxfp8: floats of 8 bits (e4m3), a scale of 8 bits (e8m0) for 32.
enum class Format : int { affine1, affine2, affine3, affine4, affine5, affine6, affine8, mxfp4, nvfp4, mxfp8 };
constexpr int formats = 10;

constexpr bool is_affine(Format f) {
  return int(f) < int(Format::mxfp4);
}

// Bits of a weight.
constexpr int bits_of(Format f) {
  constexpr int bits[formats] = {1, 2, 3, 4, 5, 6, 8, 4, 4, 8};
  return bits[int(f)];
}

// One quantised matrix (N, K), row-major as mlx stores it: `w` holds K * bits / 8 bytes a row, `scales` and, where affine,
// `biases` K / group elements a row.
struct Matrix {
  const uint8_t* w;
  const uint8_t* scales;
  const uint8_t* biases;
  int64_t n;
  int64_t k;
  int group;
};

// out[t][r - first] = dot(row r, x[t]) for rows first <= r < last and at most `max_tokens` vectors x, all float32
// holding values of the dtype. Rounds as mlx's CPU `quantized_matmul` does: affine after scale*q, +bias, *x and +=; else
// after x*q and += in a group, then after scale*sum and +=.
// `scratch` holds at least 2 * (k / group) * max_rows floats, 64-byte aligned.
using MatvecFn = void (*)(const Matrix& m, const float* const* x, int tokens, int64_t first, int64_t last,
                          float* const* out, float* scratch);

// The factor and the limit of mlx-lm's swiglu_oai, rounded to the dtype.
struct Clamp {
  float alpha;
  float limit;
};

// h = silu(gate) * up with the roundings of mlx's compiled swiglu; with a clamp mlx-lm's compiled swiglu_oai:
// (clip(up) + 1) * (g * sigmoid(alpha * g)) of g = min(gate, limit).
using SwigluFn = void (*)(const float* gate, const float* up, const Clamp* clamp, float* h, int64_t n);

// y[i] = round(y[i] + bias[i]).
using AddFn = void (*)(float* y, const float* bias, int64_t n);

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
  MatvecFn matvec[3][formats];  // [Type][Format]
  SwigluFn swiglu[3];
  AddFn add[3];
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
