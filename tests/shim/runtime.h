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

void barrier(int line);
const Meeting& meet(const char* what, uint64_t value, int line);
[[noreturn]] void fail(const char* format, ...);

}  // namespace shim

// Threadgroup memory is static: one threadgroup runs at a time. The section lets the runtime poison it.
#define SHIM_GROUP_MEMORY static __attribute__((section("shim_group_memory")))
