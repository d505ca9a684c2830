// What kernels/_lib/gpu/cuda_device.h gives on a GPU, for the host: pairs of values, the tensor core's step as sums in
// double rounded to float32, copies into shared memory done at once.
#pragma once
#include "cuda.h"

#define __align__(n) __attribute__((aligned(n)))
#define DYNAMIC_SHARED(name) SHIM_GROUP_MEMORY unsigned char name[232448] __attribute__((aligned(16)))

struct uint2 {
  uint x, y;
};
struct uint4 {
  uint x, y, z, w;
};
struct float2 {
  float x, y;
};
struct __nv_bfloat162 {
  bfloat16_t x, y;
};
struct __half2 {
  half x, y;
};

inline uint2 make_uint2(uint x, uint y) { return {x, y}; }
inline uint4 make_uint4(uint x, uint y, uint z, uint w) { return {x, y, z, w}; }

inline uint __byte_perm(uint low, uint high, uint selector) {
  const uint64_t bytes = low | (uint64_t(high) << 32);
  uint out = 0;
  for (int i = 0; i < 4; ++i) out |= uint((bytes >> (8 * ((selector >> (4 * i)) & 7))) & 0xff) << (8 * i);
  return out;
}

// The float next to x whose last bit says whether x lay between floats: rounding it once more rounds x itself.
inline float shim_odd(double x) {
  float near = float(x);
  if (double(near) == x || x != x) return near;
  uint bits = shim_bits<uint>(near);
  const double size = near < 0 ? -double(near) : double(near);
  if (size > (x < 0 ? -x : x)) bits -= 1;
  return shim_bits<float>(bits | 1);
}

template <typename T>
inline T shim_fused(T a, T b, T c) {
  return T(shim_odd(double(float(a)) * double(float(b)) + double(float(c))));
}

inline __nv_bfloat16 __hfma(__nv_bfloat16 a, __nv_bfloat16 b, __nv_bfloat16 c) { return shim_fused(a, b, c); }
inline __half __hfma(__half a, __half b, __half c) { return shim_fused(a, b, c); }

template <typename P>
inline P shim_pair_fma(P a, P b, P c) {
  return {shim_fused(a.x, b.x, c.x), shim_fused(a.y, b.y, c.y)};
}
inline __nv_bfloat162 __hfma2(__nv_bfloat162 a, __nv_bfloat162 b, __nv_bfloat162 c) { return shim_pair_fma(a, b, c); }
inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) { return shim_pair_fma(a, b, c); }
inline float2 floats(__nv_bfloat162 p) { return {float(p.x), float(p.y)}; }
inline float2 floats(__half2 p) { return {float(p.x), float(p.y)}; }

template <typename T>
struct Pair;
template <>
struct Pair<bfloat16_t> {
  using type = __nv_bfloat162;
  static type from_nibbles(uint q) { return {bfloat16_t(float(q & 15)), bfloat16_t(float((q >> 16) & 15))}; }
  static type from_bytes(uint q) { return {bfloat16_t(float(q & 255)), bfloat16_t(float((q >> 8) & 255))}; }
  static type twice(ushort bits) { return {shim_bits<bfloat16_t>(bits), shim_bits<bfloat16_t>(bits)}; }
  static void mma(float (&c)[4], const uint (&a)[4], uint b0, uint b1, int line = __builtin_LINE());
};
template <>
struct Pair<half> {
  using type = __half2;
  static type from_nibbles(uint q) { return {half(float(q & 15)), half(float((q >> 16) & 15))}; }
  static type from_bytes(uint q) { return {half(float(q & 255)), half(float((q >> 8) & 255))}; }
  static type twice(ushort bits) { return {shim_bits<half>(bits), shim_bits<half>(bits)}; }
  static void mma(float (&c)[4], const uint (&a)[4], uint b0, uint b1, int line = __builtin_LINE());
};

// m16n8k16 by the layout of PTX: lane 4 g + t holds rows g and g + 8 of a, column g of b, and pairs of k from 2 t on.
template <typename T>
inline void shim_mma(float (&c)[4], const uint (&a)[4], uint b0, uint b1, int line) {
  const uint own[6] = {a[0], a[1], a[2], a[3], b0, b1};
  uint all[6][shim::SIMD];
  for (int i = 0; i < 6; ++i) {
    const shim::Meeting& met = shim::meet("mma", own[i], line);
    for (uint lane = 0; lane < shim::SIMD; ++lane) all[i][lane] = uint(met.value[lane]);
  }
  const auto value = [&](int which, uint lane, int k) {
    return double(float(shim_bits<T>(ushort(all[which][lane] >> (16 * (k % 2))))));
  };
  const uint lane = shim::lane();
  for (int i = 0; i < 4; ++i) {
    const uint row = lane / 4 + 8 * (i / 2), column = lane % 4 * 2 + i % 2;
    double sum = c[i];
    for (int k = 0; k < 16; ++k) {
      const uint t = k % 8 / 2;
      sum += value(row / 8 + 2 * (k / 8), row % 8 * 4 + t, k) * value(4 + k / 8, column * 4 + t, k);
    }
    c[i] = float(sum);
  }
}
inline void Pair<bfloat16_t>::mma(float (&c)[4], const uint (&a)[4], uint b0, uint b1, int line) {
  shim_mma<bfloat16_t>(c, a, b0, b1, line);
}
inline void Pair<half>::mma(float (&c)[4], const uint (&a)[4], uint b0, uint b1, int line) {
  shim_mma<half>(c, a, b0, b1, line);
}

inline void inputs_ready() {}
inline void prefetch_block(const void*, int) {}
inline void copy_16_bytes(void* to, const void* from) {
  if ((uintptr_t(to) | uintptr_t(from)) % 16 != 0) shim::fail("a copy of 16 bytes is not aligned");
  memcpy(to, from, 16);
}
inline void close_copies() {}
inline void await_copies(int) {}

namespace mlx::core::cu {
struct Sigmoid {
  template <typename T>
  T operator()(T x) const {
    const T grown = T(1.0f + float(T(expf(float(T(fabsf(float(x))))))));
    const T y = T(1.0f / float(grown));
    return float(x) < 0.0f ? y : T(1.0f - float(y));
  }
};
}  // namespace mlx::core::cu

template <typename T>
inline T swiglu(T gate, T up) {
  return T(float(T(float(gate) * float(mlx::core::cu::Sigmoid{}(gate)))) * float(up));
}
