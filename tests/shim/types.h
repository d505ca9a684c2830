// Scalar types of Metal and CUDA on the host: bfloat16 rounds to nearest even, as both do.
#pragma once
#include <stdint.h>
#include <string.h>

// Declared here because <cmath> takes half of the time that a kernel takes to compile.
extern "C" {
float cosf(float);
float exp2f(float);
float expf(float);
float fabsf(float);
float fmaf(float, float, float);
float fmaxf(float, float);
float log2f(float);
float logf(float);
float sinf(float);
float sqrtf(float);
float tanhf(float);
}

using uint = unsigned int;
using ushort = unsigned short;
using uchar = unsigned char;
using half = _Float16;

struct uint3 {
  uint x, y, z;
};

template <typename To, typename From>
inline To shim_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "bits of another size");
  To to;
  memcpy(&to, &from, sizeof(To));
  return to;
}

struct bfloat16_t {
  uint16_t bits;

  bfloat16_t() = default;
  // Neither language narrows float to bfloat by itself in Metal; a source has to say where it rounds.
  explicit bfloat16_t(float x) {
    uint32_t wide = shim_bits<uint32_t>(x);
    bits = x != x ? 0x7FC0 : uint16_t((wide + ((wide >> 16) & 1) + 0x7FFF) >> 16);
  }
  operator float() const { return shim_bits<float>(uint32_t(bits) << 16); }
};

#define SHIM_BFLOAT_OPERATOR(op) \
  inline bfloat16_t operator op(bfloat16_t a, bfloat16_t b) { return bfloat16_t(float(a) op float(b)); }
SHIM_BFLOAT_OPERATOR(+)
SHIM_BFLOAT_OPERATOR(-)
SHIM_BFLOAT_OPERATOR(*)
SHIM_BFLOAT_OPERATOR(/)
#undef SHIM_BFLOAT_OPERATOR
