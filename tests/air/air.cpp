// What MLX's compiled kernels call on a Mac, `air.*`, over the runtime that runs our own texts: the same lanes, barriers,
// order of simd_sum and stand-ins for exp, sin and their like on both sides of a comparison.
#include "simd.h"

// Barriers and simd operations of compiled code have no line: the place that they return to tells them apart.
#define HERE int(reinterpret_cast<intptr_t>(__builtin_return_address(0)))
#define AIR(result, symbol, name, ...)            \
  extern "C" result name(__VA_ARGS__) asm(symbol); \
  extern "C" result name(__VA_ARGS__)

AIR(void, "air.wg.barrier", air_barrier, int, int) { shim::barrier(HERE); }
AIR(void, "air.simdgroup.barrier", air_simd_barrier, int, int) { shim::meet("simdgroup.barrier", 0, HERE); }

#define AIR_REDUCTIONS(type, suffix, short_name)                                                         \
  AIR(type, "air.simd_sum." suffix, air_sum_##short_name, type x) {                                      \
    return shim::reduce("simd_sum", x, [](type a, type b) { return type(a + b); }, HERE);                \
  }                                                                                                      \
  AIR(type, "air.simd_max." suffix, air_max_##short_name, type x) {                                      \
    return shim::reduce("simd_max", x, [](type a, type b) { return a < b ? b : a; }, HERE);              \
  }                                                                                                      \
  AIR(type, "air.simd_shuffle_down." suffix, air_down_##short_name, type x, ushort delta) {              \
    return shim::shuffle("simd_shuffle_down", x, int(shim::lane()) + delta, HERE);                       \
  }                                                                                                      \
  AIR(type, "air.simd_shuffle_xor." suffix, air_xor_##short_name, type x, ushort mask) {                 \
    return shim::shuffle("simd_shuffle_xor", x, int(shim::lane() ^ mask), HERE);                         \
  }
AIR_REDUCTIONS(float, "f32", f32)
AIR_REDUCTIONS(half, "f16", f16)
AIR_REDUCTIONS(uint, "u.i32", u32)

#define AIR_MATH(name, host)                                                                  \
  AIR(float, "air." #name ".f32", air_##name, float x) { return host(x); }                    \
  AIR(float, "air.fast_" #name ".f32", air_fast_##name, float x) { return shim::fast_result(host(x)); }
AIR_MATH(exp, expf)
AIR_MATH(exp2, exp2f)
AIR_MATH(log, logf)
AIR_MATH(log2, log2f)
AIR_MATH(sqrt, sqrtf)
AIR_MATH(sin, sinf)
AIR_MATH(cos, cosf)
AIR_MATH(rsqrt, shim::rsqrtf)

AIR(float, "air.fma.f32", air_fma, float a, float b, float c) { return fmaf(a, b, c); }
AIR(float, "air.fabs.f32", air_fabs, float x) { return fabsf(x); }
AIR(half, "air.fabs.f16", air_fabs_half, half x) { return x < 0 || (x == 0 && shim_bits<ushort>(x)) ? -x : x; }
AIR(float, "air.convert.f.f32.u.i32", air_float_of_uint, uint x) { return float(x); }
AIR(float, "air.convert.f.f32.s.i32", air_float_of_int, int x) { return float(x); }
AIR(short, "air.min.s.i16", air_min_short, short a, short b) { return b < a ? b : a; }
AIR(int, "air.min.s.i32", air_min_int, int a, int b) { return b < a ? b : a; }
AIR(int, "air.max.s.i32", air_max_int, int a, int b) { return a < b ? b : a; }
AIR(uint, "air.min.u.i32", air_min_uint, uint a, uint b) { return b < a ? b : a; }
AIR(int, "air.clamp.s.i32", air_clamp_int, int x, int low, int high) { return x < low ? low : high < x ? high : x; }

// LLVM asks for this where the processor has no instruction; the result comes in a float register.
extern "C" float bfloat_of_float(float) asm("__truncsfbf2");
extern "C" float bfloat_of_float(float x) { return shim_bits<float>(uint32_t(bfloat16_t(x).bits)); }

// a * b + c of 8 x 8 matrices, of which a lane holds two neighbours of a row each, as MLX's kernels fill them: their
// get_coord. Apple says nothing about the order of a row's eight products; here it is ascending, each fused.
extern "C" void air_multiply_accumulate(const float* a, const float* b, const float* c, float* out) {
  float left[8][8], right[8][8];
  auto row = [](uint lane) { return (lane / 4 & 4) + lane / 2 % 4; };
  auto column = [](uint lane) { return (lane / 4 & 2) * 2 + lane % 2 * 2; };
  auto spread = [&](const char* what, const float* own, float (&matrix)[8][8]) {
    uint64_t both;
    memcpy(&both, own, sizeof both);
    const shim::Meeting& met = shim::meet(what, both, 0);
    for (uint i = 0; i < shim::SIMD; ++i) memcpy(&matrix[row(i)][column(i)], &met.value[i], sizeof both);
  };
  spread("left matrix", a, left);
  spread("right matrix", b, right);
  for (uint j = 0; j < 2; ++j) {
    out[j] = c[j];
    for (uint k = 0; k < 8; ++k) out[j] = fmaf(left[row(shim::lane())][k], right[k][column(shim::lane()) + j], out[j]);
  }
}

// Where a lane is, by the order of PLACES in lower.py.
extern "C" uint air_place(int what, int axis) {
  using shim::launch, shim::where;
  const uint3 index = {where.index, 0, 0}, lane = {shim::lane(), 0, 0}, group = {where.index / shim::SIMD, 0, 0};
  const uint3 all[] = {where.group,       where.in_group, where.in_grid, launch.group_size, launch.groups,
                       launch.threads,    index,          lane,          group};
  const uint3& place = all[what];
  return axis == 0 ? place.x : axis == 1 ? place.y : place.z;
}
