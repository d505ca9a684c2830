// Operations over the lanes of a simdgroup, from what the lanes brought.
#pragma once
#include "runtime.h"

namespace shim {

template <typename T>
inline uint64_t pack(T value) {
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof(T));
  return bits;
}

template <typename T>
inline T unpack(uint64_t bits) {
  T value;
  memcpy(&value, &bits, sizeof(T));
  return value;
}

inline uint lane() { return where.index % SIMD; }

// A butterfly with strides 16, 8, 4, 2, 1; lanes that do not exist take no part.
template <typename T, typename F>
inline T reduce(const char* what, T value, F combine, int line) {
  const Meeting& met = meet(what, pack(value), line);
  T values[SIMD];
  bool present[SIMD];
  for (uint i = 0; i < SIMD; ++i) {
    values[i] = unpack<T>(met.value[i]);
    present[i] = met.present[i];
  }
  for (uint stride = SIMD / 2; stride > 0; stride /= 2) {
    T next[SIMD];
    bool known[SIMD];
    for (uint i = 0; i < SIMD; ++i) {
      uint other = i ^ stride;
      known[i] = present[i] || present[other];
      if (present[i] && present[other]) next[i] = combine(values[i], values[other]);
      else next[i] = present[i] ? values[i] : values[other];
    }
    memcpy(values, next, sizeof(values));
    memcpy(present, known, sizeof(present));
  }
  return values[lane()];
}

// The value of lane `from`; of the own lane when it lies outside the simdgroup, as CUDA has it.
template <typename T>
inline T shuffle(const char* what, T value, int from, int line) {
  const Meeting& met = meet(what, pack(value), line);
  if (from < 0 || from >= int(SIMD)) return value;
  if (!met.present[from]) fail("line %d: %s reads lane %d, which does not exist", line, what, from);
  return unpack<T>(met.value[from]);
}

}  // namespace shim
