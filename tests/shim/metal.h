// Metal's words on the host: what mx.fast.metal_kernel's preamble and <metal_stdlib> give a kernel.
#pragma once
#include "simd.h"

#define device
#define constant
#define thread
#define threadgroup SHIM_GROUP_MEMORY
#define METAL_FUNC inline

enum class mem_flags { mem_none, mem_device, mem_threadgroup };
inline void threadgroup_barrier(mem_flags, int line = __builtin_LINE()) { shim::barrier(line); }
inline void simdgroup_barrier(mem_flags, int line = __builtin_LINE()) { shim::meet("simdgroup_barrier", 0, line); }

template <typename T>
inline T simd_sum(T x, int line = __builtin_LINE()) {
  return shim::reduce("simd_sum", x, [](T a, T b) { return T(a + b); }, line);
}
template <typename T>
inline T simd_max(T x, int line = __builtin_LINE()) {
  return shim::reduce("simd_max", x, [](T a, T b) { return a < b ? b : a; }, line);
}
template <typename T>
inline T simd_min(T x, int line = __builtin_LINE()) {
  return shim::reduce("simd_min", x, [](T a, T b) { return b < a ? b : a; }, line);
}
template <typename T>
inline T simd_shuffle(T x, ushort from, int line = __builtin_LINE()) {
  return shim::shuffle("simd_shuffle", x, from, line);
}
template <typename T>
inline T simd_broadcast(T x, ushort from, int line = __builtin_LINE()) {
  return shim::shuffle("simd_broadcast", x, from, line);
}
template <typename T>
inline T simd_shuffle_xor(T x, ushort mask, int line = __builtin_LINE()) {
  return shim::shuffle("simd_shuffle_xor", x, int(shim::lane() ^ mask), line);
}
template <typename T>
inline T simd_shuffle_down(T x, ushort delta, int line = __builtin_LINE()) {
  return shim::shuffle("simd_shuffle_down", x, int(shim::lane()) + delta, line);
}
template <typename T>
inline T simd_shuffle_up(T x, ushort delta, int line = __builtin_LINE()) {
  return shim::shuffle("simd_shuffle_up", x, int(shim::lane()) - delta, line);
}

template <typename To, typename From>
inline To as_type(From x) {
  return shim_bits<To>(x);
}

namespace metal {

#define SHIM_MATH(name, host) \
  inline float name(float x) { return host(x); }
#define SHIM_MATHS       \
  SHIM_MATH(exp, expf)   \
  SHIM_MATH(exp2, exp2f) \
  SHIM_MATH(log, logf)   \
  SHIM_MATH(log2, log2f) \
  SHIM_MATH(sqrt, sqrtf) \
  SHIM_MATH(sin, sinf)   \
  SHIM_MATH(cos, cosf)   \
  SHIM_MATH(tanh, tanhf) \
  SHIM_MATH(rsqrt, shim::rsqrtf)

namespace precise {
SHIM_MATHS
}
namespace fast {
#undef SHIM_MATH
// A GPU's fast functions are not its precise ones: apart, they differ far enough to be seen in half precision.
#define SHIM_MATH(name, host) \
  inline float name(float x) { return shim::fast_result(host(x)); }
SHIM_MATHS
}
using namespace precise;
#undef SHIM_MATH
#define SHIM_MATH(name, host) \
  inline float name(float x) { return host(x); }
SHIM_MATH(abs, fabsf)
#undef SHIM_MATHS
#undef SHIM_MATH
inline float fma(float a, float b, float c) { return fmaf(a, b, c); }
template <typename T>
inline T max(T a, T b) {
  return a < b ? b : a;
}
template <typename T>
inline T min(T a, T b) {
  return b < a ? b : a;
}

}  // namespace metal

namespace fast = metal::fast;
namespace precise = metal::precise;
