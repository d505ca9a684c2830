// What a compiled kernel needs of the shim: where its lane is, and how lanes meet.
#pragma once
#include "types.h"

namespace shim {

constexpr uint SIMD = 32;

struct Where {
  uint3 in_grid, group, in_group;
  uint index;  // of the lane in its threadgroup
};

struct Launch {
  uint3 threads, group_size, groups;
};

struct Buffer {
  void* data;
  const int32_t* shape;
  const int64_t* strides;
  int ndim;
};

// What the lanes of one simdgroup brought to a simd operation.
struct Meeting {
  uint64_t value[SIMD];
  bool present[SIMD];
};

extern Where where;
extern Launch launch;
// Whether the functions of metal::fast give other bits than the precise ones.
extern bool fast_apart;

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }

inline float fast_result(float precise) {
  const uint32_t bits = shim_bits<uint32_t>(precise);
  const bool number = (bits & 0x7fffffff) != 0 && (bits & 0x7f800000) < 0x7f000000;
  return fast_apart && number ? shim_bits<float>(bits + 0x1555) : precise;
}

void barrier(int line);
const Meeting& meet(const char* what, uint64_t value, int line);
[[noreturn]] void fail(const char* format, ...);

}  // namespace shim

// Threadgroup memory is static: one threadgroup runs at a time. The section lets the runtime poison it.
#define SHIM_GROUP_MEMORY static __attribute__((section("shim_group_memory")))
