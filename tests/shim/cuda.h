// CUDA's words on the host, as far as mx.fast.cuda_kernel's preamble gives them to a kernel.
#pragma once
#include "simd.h"

#define __device__
#define __forceinline__ inline
#define __shared__ SHIM_GROUP_MEMORY
#define threadIdx (shim::where.in_group)
#define blockIdx (shim::where.group)
#define blockDim (shim::launch.group_size)
#define gridDim (shim::launch.groups)

using __nv_bfloat16 = bfloat16_t;
using __half = half;

inline uint3 make_uint3(uint x, uint y, uint z) { return {x, y, z}; }

inline void __syncthreads(int line = __builtin_LINE()) { shim::barrier(line); }
inline void __syncwarp(uint = ~0u, int line = __builtin_LINE()) { shim::meet("__syncwarp", 0, line); }

inline void __threadfence() {}
// Blocks run one after another and lanes take turns, so that a plain sum is atomic.
inline uint atomicAdd(uint* to, uint value) {
  const uint before = *to;
  *to = before + value;
  return before;
}

inline void shim_full_mask(uint mask, int line) {
  if (mask != ~0u) shim::fail("line %d: a shuffle names only some lanes", line);
}
template <typename T>
inline T __shfl_sync(uint mask, T x, int from, int = 32, int line = __builtin_LINE()) {
  shim_full_mask(mask, line);
  return shim::shuffle("__shfl_sync", x, from, line);
}
template <typename T>
inline T __shfl_xor_sync(uint mask, T x, int lanes, int = 32, int line = __builtin_LINE()) {
  shim_full_mask(mask, line);
  return shim::shuffle("__shfl_xor_sync", x, int(shim::lane()) ^ lanes, line);
}
template <typename T>
inline T __shfl_down_sync(uint mask, T x, uint delta, int = 32, int line = __builtin_LINE()) {
  shim_full_mask(mask, line);
  return shim::shuffle("__shfl_down_sync", x, int(shim::lane() + delta), line);
}
template <typename T>
inline T __shfl_up_sync(uint mask, T x, uint delta, int = 32, int line = __builtin_LINE()) {
  shim_full_mask(mask, line);
  return shim::shuffle("__shfl_up_sync", x, int(shim::lane()) - int(delta), line);
}

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __expf(float x) { return exp2f(x * 1.4426950408889634f); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline uint __float_as_uint(float x) { return shim_bits<uint>(x); }
inline float __uint_as_float(uint x) { return shim_bits<float>(x); }
